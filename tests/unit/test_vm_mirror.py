"""A mirror of packages that BPFNB_VM_MIRROR names: what apt asks of it, and what becomes of packages that are not the
ones it lists.
"""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bpfnb.errors import MissingDependency, UnknownName
from bpfnb.vm import apt, kernels

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb") and shutil.which("gpg")),
    reason="apt, dpkg-deb, gpg",
)

RELEASE = "9.1.2+deb12-amd64"
SUITES = [*apt._SUITES.split(), *apt._SECURITY.split()]


@dataclass
class Mirror:
    """A repository of one suite's layout in *folder*, signed by its own key, and what was asked of it."""

    folder: Path
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def publish(self, package: Path) -> None:
        """List it, in bookworm and nowhere else."""
        pool = self.folder / "debian" / "pool" / package.name
        pool.parent.mkdir(parents=True, exist_ok=True)
        data = package.read_bytes()
        pool.write_bytes(data)
        control = subprocess.run(
            ["dpkg-deb", "-f", package], check=True, capture_output=True, text=True
        ).stdout
        entry = (
            f"{control.strip()}\nFilename: pool/{package.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        for suite in SUITES:
            root = "debian-security" if "-security" in suite else "debian"
            self._suite(self.folder / root / "dists" / suite, suite, entry if suite == "bookworm" else "")

    def _suite(self, place: Path, suite: str, entry: str) -> None:
        packages = place / "main" / "binary-amd64" / "Packages"
        packages.parent.mkdir(parents=True, exist_ok=True)
        packages.write_text(entry)
        digest = hashlib.sha256(packages.read_bytes()).hexdigest()
        (place / "Release").write_text(
            f"Origin: test\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
            f"Date: Sat, 01 Jan 2022 00:00:00 UTC\n"
            f"SHA256:\n {digest} {len(entry)} main/binary-amd64/Packages\n"
        )
        self._gpg("--clearsign", "--output", str(place / "InRelease"), str(place / "Release"))

    def _gpg(self, *words: str) -> None:
        home = self.folder / "gpg"
        home.mkdir(exist_ok=True, mode=0o700)
        options = ["--homedir", str(home), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]
        subprocess.run(["gpg", *options, "--passphrase", "", *words], check=True, capture_output=True)

    def key(self) -> Path:
        """A new key, by which it is signed; the file for ``Signed-By``."""
        self._gpg("--quick-generate-key", "bpfnb test", "ed25519", "sign", "never")
        target = self.folder / "key.gpg"
        self._gpg("--export", "--output", str(target))
        return target

    def end(self) -> None:
        """gpg leaves an agent."""
        subprocess.run(
            ["gpgconf", "--homedir", str(self.folder / "gpg"), "--kill", "all"],
            check=True,
            capture_output=True,
        )


class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, mirror: Mirror, *args: Any) -> None:
        self._mirror = mirror
        super().__init__(*args, directory=str(mirror.folder))

    def log_request(self, code: object = "", size: object = "") -> None:
        self._mirror.asked.append(urllib.parse.unquote(self.path))

    def log_message(self, *_: object) -> None:
        """Not to stderr."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "mirror")
    made.folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, made))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/debian"
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BPFNB_VM_MIRROR", made.url)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(apt, "_KEYRING", made.key())
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        made.end()


def package(folder: Path, content: bytes) -> Path:
    """A package of a kernel with one file."""
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "boot").mkdir()
    (root / "boot" / f"vmlinuz-{RELEASE}").write_bytes(content)
    (root / "DEBIAN" / "control").write_text(
        f"Package: linux-image-{RELEASE}\nVersion: 9.1.2-1\nArchitecture: amd64\nMaintainer: test <t@example.org>\n"
        "Description: kernel\n"
    )
    target = folder / f"linux-image-{RELEASE}_9.1.2-1_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", "--root-owner-group", root, target], check=True, capture_output=True)
    return target


def test_kernels_are_those_of_the_mirror(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish(package(tmp_path, b"the kernel"))
    assert kernels.offered() == [RELEASE]
    asked = [path for path in mirror.asked if path.endswith("/InRelease")]
    assert sorted(asked) == sorted(
        f"/{'debian-security' if '-security' in suite else 'debian'}/dists/{suite}/InRelease"
        for suite in SUITES
    )
    folder = tmp_path / "got"
    folder.mkdir()
    name = f"linux-image-{RELEASE}"
    assert mirror.asked.count(f"/debian/pool/{name}_9.1.2-1_amd64.deb") == 0
    apt.unpack(apt.file_of(name, folder), folder / "files")
    assert (folder / "files/boot" / f"vmlinuz-{RELEASE}").read_bytes() == b"the kernel"
    assert mirror.asked.count(f"/debian/pool/{name}_9.1.2-1_amd64.deb") == 1
    with pytest.raises(UnknownName, match=r"the mirror has no kernel 6\.12"):
        kernels.find("6.12")


def test_a_package_that_is_not_the_one_listed_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    listed = package(tmp_path, b"the kernel")
    mirror.publish(listed)
    pool = mirror.folder / "debian" / "pool" / listed.name
    changed = bytearray(pool.read_bytes())
    changed[-1] ^= 1
    pool.write_bytes(bytes(changed))
    with pytest.raises(MissingDependency, match=r"apt could not do 'apt-get download") as caught:
        kernels.find("9.1")
    assert f"{mirror.url}/pool/linux-image-9.1.2" in caught.value.message
    assert "Hash Sum mismatch" in caught.value.message
    assert caught.value.hints[0].startswith("another mirror: BPFNB_VM_MIRROR=")
    assert hashlib.sha256(bytes(changed)).hexdigest() in caught.value.log
    assert kernels.cached() == []
    assert not list((tmp_path / "cache/vm/kernels").glob("*"))


def test_a_list_that_was_not_signed_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish(package(tmp_path, b"the kernel"))
    place = mirror.folder / "debian/dists/bookworm/InRelease"
    place.write_text(place.read_text().replace("Codename: bookworm", "Codename: bookwork"))
    with pytest.raises(MissingDependency, match=r"apt could not do 'apt-get update"):
        kernels.offered()
    assert mirror.asked.count("/debian/dists/bookworm/main/binary-amd64/Packages") == 0


def test_a_mirror_that_is_not_there_is_said(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFNB_VM_MIRROR", f"{mirror.url}/elsewhere")
    with pytest.raises(MissingDependency, match="apt could not do 'apt-get update") as caught:
        kernels.offered()
    assert "elsewhere" in caught.value.log
