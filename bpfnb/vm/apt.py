"""Debian packages by name, for a user who may not install: apt with lists, caches and state of the user's own.

The mirror is the one that this machine's apt is configured with, or ``BPFNB_VM_MIRROR`` where that has none of Debian's
(on Ubuntu), and apt checks signatures and hashes as always. On top of the machine's own suites stand those of the same
mirror that hold other kernels.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bpfnb.compile.cache import cache_dir
from bpfnb.errors import MissingDependency

__all__ = ["file_of", "library_packages", "names", "unpacked"]

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SUITES = "bookworm bookworm-updates bookworm-backports trixie-backports"
_SECURITY = "bookworm-security bullseye-security"
_FRESH = 24 * 3600  # seconds that package lists are believed
_HINT = ["use a kernel of your own: bpfnb.vm.start(path_of_vmlinux)"]


def _folder() -> Path:
    return cache_dir() / "vm" / "apt"


def _run(*args: str, cwd: Path | None = None) -> str:
    """apt's output. Raises MissingDependency."""
    folder = _folder()
    options = {
        "Dir::State": folder / "state",
        "Dir::State::status": "/dev/null",  # nothing is installed: every dependency is named
        "Dir::Cache": folder / "cache",
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": folder / "sources",
        "Acquire::Languages": "none",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",  # the files are this user's, also where that is root
    }
    given = [f"-o{name}={value}" for name, value in options.items()]
    try:
        done = subprocess.run(
            [args[0], *given, *args[1:]], cwd=cwd, capture_output=True, text=True, timeout=900
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise MissingDependency(
            f"packages for virtual machines come from apt, which does not serve: {error}", hints=_HINT
        ) from None
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))] or [done.stderr]
        raise MissingDependency(
            f"apt could not do '{' '.join(args)}': {last[-1].strip()}",
            hints=["another mirror: BPFNB_VM_MIRROR=http://deb.debian.org/debian", *_HINT],
            log=done.stderr,
        )
    return done.stdout


@contextlib.contextmanager
def _lists() -> Iterator[None]:
    """Fresh package lists, held against other processes that would renew them."""
    folder = _folder()
    for name in ("state/lists/partial", "cache/archives/partial", "sources"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = folder / "updated", _sources()
        sources = folder / "sources" / "debian.sources"
        same = sources.exists() and sources.read_text() == wanted
        if not (same and stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH):
            sources.write_text(wanted)
            _run("apt-get", "update", "-qq")
            stamp.touch()
        yield


def _sources() -> str:
    """Suites of Debian at the mirrors that this machine's apt uses. Raises MissingDependency where it uses none."""
    try:
        sites = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.splitlines()
    except FileNotFoundError:
        sites = []
    found: dict[str, str] = {}
    for line in sites:
        site, _, release = line.partition(" ")
        kind = "security" if "security" in release else "main"
        if re.fullmatch(r"(bookworm|bullseye|trixie|forky)(-\w+)*", release):
            found.setdefault(kind, site)
    if chosen := os.environ.get("BPFNB_VM_MIRROR"):
        found = {"main": chosen}
    if "main" not in found:
        raise MissingDependency(
            "this machine's apt has no Debian mirror to take kernels from",
            hints=[
                "BPFNB_VM_MIRROR=http://deb.debian.org/debian, with the package debian-archive-keyring",
                *_HINT,
            ],
        )
    if "security" not in found:
        found["security"] = found["main"].removesuffix("/") + "-security"
    signed = f"Signed-By: {_KEYRING}\n" if _KEYRING.exists() else ""
    return "\n".join(
        f"Types: deb\nURIs: {found[kind]}\nSuites: {suites}\nComponents: main\n{signed}"
        for kind, suites in (("main", _SUITES), ("security", _SECURITY))
    )


def names(pattern: str) -> list[str]:
    """The names of packages that a regular expression matches."""
    with _lists():
        lines = _run("apt-cache", "search", "--names-only", pattern).splitlines()
    return [line.split(" ", 1)[0] for line in lines]


def library_packages(package: str) -> list[str]:
    """*package* and all that it depends on, recommended ones left out."""
    with _lists():
        text = _run(
            "apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
            "--no-breaks", "--no-replaces", "--no-enhances", package,
        )  # fmt: skip
    return [line for line in text.splitlines() if line and line[0] not in " <"]


def file_of(package: str, folder: Path) -> Path:
    """The package's file, downloaded to *folder*; apt has compared its hash."""
    with _lists():
        _run("apt-get", "download", "-qq", package, cwd=folder)
    return next(folder.glob(f"{package}_*.deb"))


def unpacked(package: str) -> Path:
    """The files of a package, unpacked once into the user's cache."""
    target = cache_dir() / "vm" / "packages" / package
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        part = Path(scratch) / "files"
        unpack(file_of(package, Path(scratch)), part)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(target)
    return target


def unpack(package: Path, target: Path) -> None:
    """The files of a .deb into a new folder."""
    if not shutil.which("dpkg-deb"):
        raise MissingDependency("dpkg-deb is needed to unpack packages", hints=_HINT)
    subprocess.run(["dpkg-deb", "-x", package, target], check=True, timeout=600)  # noqa: S607
