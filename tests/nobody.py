"""Python as an ordinary user without any capability, on a machine that has no /sys/kernel and no libbpf."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ALONE", "command", "folder", "run"]

NOBODY = 65534
ALONE = f"""
import ctypes, os
from pathlib import Path
_open = ctypes.CDLL
def _without(name, *more, **options):
    if name is not None and any(word in str(name) for word in ("bpf", "bcc")):
        raise OSError(f"{{name}}: cannot open shared object file")
    return _open(name, *more, **options)
ctypes.CDLL = _without
assert os.getuid() == {NOBODY} and not list(Path("/sys/kernel").iterdir())
assert "CapEff:\\t0000000000000000" in Path("/proc/self/status").read_text()
"""
"""What a script begins with: it cannot open libbpf, and makes sure that it may do nothing."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that everybody can come to, as pytest's are not, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="bpfnb-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def command(*words: str) -> list[str]:
    """*words* as such a user, in a mount namespace of its own, in which Python can be read wherever it is."""
    drop = [
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]
    steps = ["mount -t tmpfs none /sys/kernel"]
    base = Path(sys.base_prefix)
    closed = next((one for one in reversed(base.parents) if not one.stat().st_mode & 0o001), None)
    if closed is not None:  # such as /root: nothing but Python is left in it
        steps += [
            "mount --bind $0 /mnt",
            f"mount -t tmpfs -o mode=755 none {closed}",
            "mkdir -p $0",
            "mount --bind /mnt $0",
        ]
    steps.append('exec "$@"')
    shell = ["sh", "-c", " && ".join(steps), str(base)]
    return ["unshare", "--mount", *shell, "setpriv", *drop, "--no-new-privs", *words]


def run(code: str, *words: str, home: Path, timeout: float = 100, **environment: str) -> str:
    """What a script prints. *home* is a folder that it may write to."""
    os.chown(home, NOBODY, NOBODY)
    known = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        command(sys.executable, "-c", ALONE + code, *words),
        env={**known, **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
