"""The report of a machine that works, and of processes from which something was taken away."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpfnb import doctor
from bpfnb.bcc import find
from bpfnb.doctor import Report, Row, permitted, report
from bpfnb.errors import BpfnbError, MissingDependency

_DROP = """
import ctypes
def drop(*keep):
    mask = sum(1 << n for n in keep)
    words = (ctypes.c_uint32 * 6)(mask & 0xffffffff, mask & 0xffffffff, 0, mask >> 32, mask >> 32, 0)
    assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), words) == 0
"""
_SHOW = """
import json
from bpfnb.doctor import permitted, report
refused = permitted()
print(json.dumps(None if refused is None else [refused.message, refused.missing, refused.hints, refused.render()]))
"""
_SECCOMP = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
deny = b"".join(struct.pack("=HBBI", *row) for row in [
    (0x20, 0, 0, 0),            # A = system call number
    (0x15, 0, 1, NUMBER),       # bpf?
    (0x06, 0, 0, 0x50000 | 1),  # then EPERM
    (0x06, 0, 0, 0x7fff0000),   # else allow
])
code = ctypes.create_string_buffer(deny, len(deny))
program = ctypes.create_string_buffer(struct.pack("=H6xQ", 4, ctypes.addressof(code)), 16)
arguments = [ctypes.c_ulong(n) for n in (0, 0, 0)]
assert libc.prctl(38, ctypes.c_ulong(1), *arguments) == 0
assert libc.prctl(22, ctypes.c_ulong(2), ctypes.c_ulong(ctypes.addressof(program)), *arguments[:2]) == 0
"""


def child(code: str) -> list[object] | None:
    done = subprocess.run([sys.executable, "-c", code + _SHOW], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("user namespaces cannot be made here (a chroot, or forbidden)")
    assert done.returncode == 0, done.stderr
    result: list[object] | None = json.loads(done.stdout)
    return result


def test_permitted_here():
    assert permitted() is None


def test_without_capabilities_it_says_which_and_how_to_get_them():
    found = child(_DROP + "drop()\n")
    assert found is not None
    message, missing, hints, text = found
    assert missing == ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
    assert "it lacks CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN" in str(message)
    assert "sudo" in str(hints) or "--cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN" in str(hints)
    assert "cap_bpf,cap_perfmon,cap_net_admin+ep" in str(hints) or "--cap-add" in str(hints)
    assert str(text).startswith("NotPermitted: This process (root")


def test_cap_bpf_alone_is_not_enough_for_tracing():
    found = child(_DROP + "drop(39)\n")
    assert found is not None
    assert found[1] == ["CAP_PERFMON", "CAP_NET_ADMIN"]


def test_cap_bpf_and_cap_perfmon_are_enough_to_trace():
    assert child(_DROP + "drop(38, 39)\n") is None


def test_cap_sys_admin_stands_for_both():
    assert child(_DROP + "drop(21)\n") is None


def test_a_seccomp_filter_is_named():
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    found = child(_SECCOMP.replace("NUMBER", str(number)))
    assert found is not None
    assert found[0] == "A seccomp filter forbids the bpf system call to this process."
    assert "--security-opt seccomp=unconfined" in str(found[2])


def test_root_in_a_user_namespace_is_told_so():
    enter = """
import ctypes, os, sys
uid = os.getuid()
if ctypes.CDLL(None).unshare(0x10000000):
    sys.exit(77)
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
open("/proc/self/gid_map", "w").write("0 0 1")
"""
    found = child(enter)
    assert found is not None
    assert "user namespace" in str(found[0])


def test_the_report_has_a_row_for_everything():
    rows = {row.what: row for row in report().rows}
    assert rows["kernel"].found == f"Linux {os.uname().release} ({platform.machine()})"
    for what in (
        "kernel types (BTF)",
        "permission",
        "capabilities",
        "lockdown",
        "unprivileged BPF",
        "JIT compiler",
        "program types",
        "map types",
        "attach kinds",
        "clang",
        "libbpf",
        "libbpf headers",
        "bcc",
        "tracefs",
        "bpffs",
        "cgroup v2",
    ):
        assert rows[what].found
        assert rows[what].ok in ("ok", "warn", "missing")
        assert rows[what].ok != "missing" or rows[what].remedy
    assert rows["permission"].ok == "ok"
    assert "tracepoint" in rows["attach kinds"].found


def test_text_is_aligned_and_coloured_only_on_request():
    made = Report((Row("a", "x", "ok"), Row("longer", "y " * 60, "missing", "do this\nor that")))
    plain = made.text(color=False, width=60)
    assert "\x1b" not in plain
    lines = plain.splitlines()
    assert lines[0] == "ok      a       x"
    assert lines[1].startswith("missing longer  y y y")
    assert lines[-2].endswith("-> do this")
    assert lines[-1].endswith("-> or that")
    assert max(len(line) for line in lines) <= 60
    assert "\x1b[32mok" in made.text(color=True)
    assert "\x1b" not in str(made)  # not a terminal


def test_html_is_escaped():
    text = Report((Row("a", "<b>", "warn", "x & y"),)).html()
    assert "&lt;b&gt;" in text
    assert "x &amp; y" in text
    assert text.startswith("<table")


def test_a_process_that_may_not_is_reported_with_the_remedy():
    code = _DROP + "drop()\nfrom bpfnb.doctor import report\nprint(report().text())\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "missing permission" in done.stdout
    assert "not tried, since BPF is not permitted" in done.stdout
    assert "lacks CAP_BPF" in done.stdout


@pytest.mark.parametrize("name", ["BPFNB_CLANG"])
def test_a_missing_compiler_is_a_row_and_not_an_error(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "/nonexistent/clang")
    row = next(row for row in report().rows if row.what == "clang")
    assert row.ok == "missing"
    assert row.remedy


def bcc_rows() -> dict[str, Row]:
    return {row.what: row for row in doctor._bcc()}


def test_bcc_is_described_with_what_it_needs():
    rows = bcc_rows()
    try:
        folder = find.find_package()
    except BpfnbError:
        pytest.skip("bcc is not installed")
    assert re.match(
        rf"\d+\.\d+\S* in {re.escape(str(folder.parent))} with /\S+/libbcc\.so", rows["bcc"].found
    )
    assert f"this Python {platform.python_version()}" in rows["bcc"].found
    assert rows["bcc"].ok == rows["bcc's kernel headers"].ok == "ok"
    assert rows["bcc's kernel headers"].found.startswith("made from BTF")
    assert "bcc of another project" not in rows
    tools = len(list(Path("/usr/sbin").glob("*-bpfcc")))
    assert rows["bcc's tools"].found == (
        f"{tools} in /usr/sbin, to run with %bpf script" if tools else "not installed, nor needed"
    )


def test_without_bcc_nothing_is_missing(monkeypatch: pytest.MonkeyPatch):
    def absent() -> Path:
        raise MissingDependency("bcc is not installed.", hints=["apt-get install python3-bpfcc"])

    monkeypatch.setattr(find, "find_package", absent)
    (row,) = bcc_rows().values()
    assert (row.what, row.ok, row.remedy) == ("bcc", "warn", "apt-get install python3-bpfcc")


def test_what_is_optional_is_never_missing(monkeypatch: pytest.MonkeyPatch):
    there = {row.what: row for row in doctor._optional()}
    assert there["bpftrace"].found.startswith(shutil.which("bpftrace") or "not installed")
    assert there["lines of stacks"].found.startswith("by symbolic")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    absent = {row.what: row for row in doctor._optional()}
    assert absent["bpftrace"].found == "not installed; only %%bpftrace cells need it"
    assert absent["lines of stacks"].remedy == "pip install 'bpfnb[lines]'"
    assert {row.ok for row in (*there.values(), *absent.values())} == {"ok"}


def test_the_unrelated_bcc_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("lattice = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rows = bcc_rows()
    row = rows["bcc of another project"]
    assert (row.ok, row.remedy) == ("warn", "pip uninstall bcc")
    assert str(tmp_path / "bcc") in row.found
    assert rows["bcc"].ok == "ok", "the distribution's is found all the same"


def test_headers_of_another_kernel_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    generated = tmp_path / "include/generated"
    generated.mkdir(parents=True)
    (generated / "utsrelease.h").write_text('#define UTS_RELEASE "5.4.0-1-amd64"\n')
    (generated / "asm-offsets.h").write_text("")
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    row = bcc_rows()["bcc's kernel headers"]
    assert row.ok == "warn"
    assert "they are of kernel 5.4.0-1-amd64" in row.found
    assert row.remedy.startswith("unset BCC_KERNEL_SOURCE")


def test_a_bcc_without_its_library_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(find, "_ATTEMPT", "raise OSError('libbcc.so.0: cannot open shared object file')")
    row = bcc_rows()["bcc"]
    assert row.ok == "warn"
    assert "libbcc.so.0: cannot open shared object file" in row.found
    assert "libbpfcc" in row.remedy
