"""The distribution's ``bcc`` module, found from inside any virtual environment and any Python 3.

The BPF Compiler Collection's Python part is pure Python over libbcc.so.0 and is packaged for the system's own
Python; a virtual environment does not see it. Just that one package is imported here, without the rest of the
directory it lies in. PyPI's project of the same name is unrelated and never taken for it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from bpfnb.errors import BpfnbError, MissingDependency

__all__ = ["attempt", "find_package", "module", "other_project", "packaged_tools"]

_ROOTS = (Path("/usr/lib"), Path("/usr/local/lib"), Path("/usr/lib64"))
_TOOLS = (("/usr/sbin", "*-bpfcc"), ("/usr/share/bcc/tools", "*"))  # Debian's, Fedora's
_INSTALL = "apt-get install python3-bpfcc  (Fedora: dnf install python3-bcc; never `pip install bcc`)"


def module() -> ModuleType:
    """The ``bcc`` package, imported; ``import bcc`` and ``from bcc import BPF`` find it from then on.

    Raises MissingDependency where it or its library is not installed, BpfnbError where the unrelated project of
    that name was imported before.
    """
    imported = sys.modules.get("bcc")
    if imported is not None:
        if _is_bcc(Path(getattr(imported, "__file__", None) or "/nonexistent").parent):
            return imported
        raise BpfnbError(
            f"The module 'bcc' of this process is not the BPF Compiler Collection ({imported.__file__}).",
            hints=["pip uninstall bcc, and start the kernel anew: PyPI's project of that name is unrelated"],
        )
    folder = find_package()
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules["bcc"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
    except BaseException as error:
        for name in [name for name in sys.modules if name == "bcc" or name.startswith("bcc.")]:
            del sys.modules[name]
        if isinstance(error, OSError):  # ctypes, of a library that is not there
            raise MissingDependency(f"bcc's library cannot be loaded: {error}", hints=[_INSTALL]) from error
        raise
    return found


def find_package(roots: Sequence[Path] = _ROOTS) -> Path:
    """The directory of the distribution's ``bcc`` package. Raises MissingDependency."""
    for folder in _candidates(roots):
        if _is_bcc(folder):
            return folder
    raise MissingDependency("bcc (the BPF Compiler Collection) is not installed.", hints=[_INSTALL])


def other_project() -> Path | None:
    """The directory of the unrelated ``bcc``, where that is what ``import bcc`` means to this Python by itself."""
    spec = importlib.machinery.PathFinder.find_spec("bcc")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((folder for folder in folders if not _is_bcc(folder)), None)


_ATTEMPT = """
import json
from bpfnb.bcc.find import module
from bpfnb.bcc.virtual import library
found = module()
print(json.dumps([str(getattr(found, "__version__", "")), str(library())]))
"""


def attempt() -> tuple[str, Path]:
    """bcc's version and its library's path, from a child of this Python that imports it: LLVM is large.

    Raises MissingDependency where bcc is not installed, BpfnbError where it cannot be imported.
    """
    find_package()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ATTEMPT], capture_output=True, text=True, timeout=60, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BpfnbError(f"bcc could not be tried: {error}") from error
    if done.returncode:
        raise BpfnbError((done.stderr.strip().splitlines() or ["it ends without a message"])[-1])
    version, library = json.loads(done.stdout)
    return version, Path(library)


def packaged_tools() -> list[Path]:
    """The distribution's bcc tools, by name."""
    found = (path for folder, pattern in _TOOLS for path in sorted(Path(folder).glob(pattern)))
    return [path for path in found if path.is_file() and os.access(path, os.X_OK)]


def _candidates(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        # Debian's is for every Python 3; others have one for each minor version, the newest first.
        yield root / "python3/dist-packages/bcc"
        for kind in ("dist-packages", "site-packages"):
            yield from sorted(root.glob(f"python3.*/{kind}/bcc"), key=_version, reverse=True)


def _version(folder: Path) -> tuple[int, ...]:
    digits = folder.parent.parent.name.removeprefix("python").split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def _is_bcc(folder: Path) -> bool:
    return (folder / "libbcc.py").is_file() and (folder / "table.py").is_file()
