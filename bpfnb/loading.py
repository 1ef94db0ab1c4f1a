"""From source to a live object: compile, load, attach, and take the place of the object that had the name before."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bpfnb.compile import BpfElf, Source
from bpfnb.compile import compile as compile_source
from bpfnb.errors import AttachError, BpfnbError, LoadError, Location, UnknownName, VerifierError
from bpfnb.kernel.attach import FAMILIES, takes
from bpfnb.kernel.backend import Backend, LoadedObject, LoadSettings
from bpfnb.kernel.features import check_section
from bpfnb.kernel.local import LocalBackend
from bpfnb.kernel.verifier import explain
from bpfnb.object import BpfObject, objects
from bpfnb.variables import encode_globals

__all__ = ["close_all", "load"]

_Error = TypeVar("_Error", bound=BpfnbError)

OPTIONS = sorted(
    {option for family in FAMILIES for option in family.options}
)  # every family's attach options

_numbers = itertools.count()
_loading = threading.RLock()


def load(
    source: str | Path | Source | BpfElf,
    *,
    name: str | None = None,
    attach: bool = True,
    globals: Mapping[str, object] | None = None,  # noqa: A002
    max_entries: Mapping[str, int] | None = None,
    pins: Mapping[str, str] | None = None,
    defines: Sequence[str] = (),
    include_dirs: Sequence[str | Path] = (),
    flags: Sequence[str] = (),
    directory: str | Path | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    rows: int | None = None,
    watchdog: float | None = 0.2,
    backend: Backend | None = None,
    **attach_options: Any,
) -> BpfObject:
    """Compile *source*, load it into the kernel, attach it, and return the object.

    *source* is eBPF C as text, a path of a ``.c`` file or of a compiled object, or what :mod:`bpfnb.compile` made.
    An object of the same *name* is replaced: the new one is attached before the old one is closed, so no event falls
    between them; when anything fails the old one goes on.

    :param globals: initial values of global variables by name, ``const volatile`` ones too.
    :param max_entries: sizes of maps by name, instead of those in the source.
    :param pins: paths in a BPF file system by map name.
    :param defines: ``NAME`` or ``NAME=VALUE``.
    :param include_dirs: searched after *directory*, where local headers are.
    :param options: attach options by program name; *attach_options* go to every program whose section takes them
        (``interface=``, ``cgroup=``, ``pid=``, ``binary=``, ``frequency=`` ...: see :mod:`bpfnb.kernel.attach`).
    :param rows: bound on the rows that each stream keeps.
    :param watchdog: share of one CPU over five seconds above which the object is stopped; ``None`` for no limit.
    :raises CompileError, VerifierError, LoadError, AttachError, KernelFeatureMissing, NotPermitted, MissingDependency:
        nothing stays loaded or attached after any of them.
    """
    elf = _compiled(source, name, defines, include_dirs, flags, directory)
    name = name or _name_of(source)
    wanted = _options(elf, options or {}, attach_options)
    if attach:
        for _, section in elf.programs:
            missing = check_section(section)
            if missing is not None:
                raise _in_cell(missing, elf, section)
    kernel: Backend = backend or LocalBackend()
    settings = LoadSettings(
        name=name,
        globals=encode_globals(elf.btf, globals or {}),
        max_entries=dict(max_entries or {}),
        pins=dict(pins or {}),
    )
    with _loading:
        elf, loaded = _load(elf, settings, kernel)
        try:
            obj = BpfObject(name, elf, loaded, kernel, options=wanted, rows=rows, watchdog=watchdog)
        except BaseException:
            loaded.close()
            raise
        old = objects.get(name)
        try:
            if attach:
                obj.attach(instead_of=old)
        except BaseException as error:
            obj.close()
            if isinstance(error, AttachError):
                raise _in_cell(error, elf, error.section) from None
            raise
        objects[name] = obj
        if old is not None:
            try:
                old.close()
            except KeyboardInterrupt:  # no name leads to it any more, so nobody could close it later
                old.close()
                raise
    return obj


def close_all() -> None:
    """Close every object of this process, newest first."""
    for obj in reversed(list(objects.values())):
        obj.close()


def _compiled(
    source: str | Path | Source | BpfElf,
    name: str | None,
    defines: Sequence[str],
    include_dirs: Sequence[str | Path],
    flags: Sequence[str],
    directory: str | Path | None,
) -> BpfElf:
    if isinstance(source, BpfElf):
        return source
    if isinstance(source, Path):
        if source.suffix != ".c":
            return BpfElf.from_file(source)
        directory = directory or source.parent
        text, label = source.read_text(), source.name
    elif isinstance(source, Source):
        return compile_source(source)
    else:
        text, label = source, name or "cell"
    return compile_source(
        Source(
            text=text,
            name=label,
            directory=Path(directory) if directory else Path.cwd(),
            defines=tuple(defines),
            include_dirs=tuple(Path(d) for d in include_dirs),
            flags=tuple(flags),
        )
    )


def _name_of(source: str | Path | Source | BpfElf) -> str:
    if isinstance(source, Path):
        return source.name.split(".")[0]
    if isinstance(source, BpfElf):
        source = source.source
    if isinstance(source, Source) and source.name != "cell":
        return source.name.split(".")[0]
    return f"bpf{next(_numbers)}"


def _options(
    elf: BpfElf, by_program: Mapping[str, Mapping[str, Any]], for_all: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Each program's attach options: those for all that its section takes, then its own. Raises AttachError."""
    sections = dict(elf.programs)
    for name in for_all:
        if name not in OPTIONS:
            raise UnknownName.among(OPTIONS, name, f"there is no attach option '{name}'")
        if not any(name in takes(section) for section in sections.values()):
            raise AttachError(
                f"no program of this object takes the option '{name}'",
                hints=[
                    f"{program} ({section}) takes {', '.join(sorted(takes(section))) or 'no options'}"
                    for program, section in sections.items()
                ],
            )
    for program in by_program:
        if program not in sections:
            raise UnknownName.among(sections, program, f"there is no program '{program}'")
    return {
        program: {
            **{name: value for name, value in for_all.items() if name in takes(section)},
            **by_program.get(program, {}),
        }
        for program, section in sections.items()
    }


def _in_cell(error: _Error, elf: BpfElf, section: str) -> _Error:
    """The same error, pointing at the line of the cell that names the section."""
    if error.where is None and section:
        for number, line in enumerate(elf.source.text.splitlines(), 1):
            column = line.find(f'"{section}"')
            if column >= 0:
                error.where = Location(elf.source.name, number, column + 2)
                error.source = elf.source.text
                break
    return error


def _load(elf: BpfElf, settings: LoadSettings, backend: Backend) -> tuple[BpfElf, LoadedObject]:
    """Load; where the verifier refuses, try clang's other code for the same source before giving up.

    Each of the two ``-mcpu`` levels makes programs that only the other lets pass, and a program at the verifier's
    limits may pass without the counting of losses.
    """
    try:
        return elf, backend.load(elf.data, settings)
    except VerifierError as error:
        refusal = error
    except LoadError as error:
        named = (section for _, section in elf.programs if f"'{section}'" in error.message)
        raise _in_cell(error, elf, next(named, "")) from None
    if elf.source.text:
        for variant in ({"cpu": "v2"}, {"count_drops": False}):
            other = compile_source(elf.source, **variant)
            with contextlib.suppress(VerifierError):
                return other, backend.load(other.data, settings)
    raise explain(refusal, elf) from None


os.register_at_fork(after_in_child=objects.clear)
atexit.register(close_all)
