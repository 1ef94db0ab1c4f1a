"""Nothing of a guest outlives its notebook; a panic and a hang are said; several guests at once; snapshots."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nobody
import pytest

import bpfnb
import bpfnb.vm
from bpfnb.compile.cache import cache_dir
from bpfnb.errors import MissingDependency
from bpfnb.vm import channel, command, initramfs, kernels, process, qemu, template

GETPGID = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, u64); } events SEC(".maps");
u64 calls = 0;
SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx)
{
    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);
    calls++;
    if (e) { *e = calls; bpf_ringbuf_submit(e, 0); }
    return 0;
}
"""

UPROBE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
u64 calls = 0;
SEC("uprobe/libbpf.so.1:libbpf_version_string") int on_call(void *ctx) { calls++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module", autouse=True)
def _template() -> None:
    """The template is there before the first test, so that each starts a resumed guest."""
    try:
        bpfnb.vm.start("6.12").stop()
    except MissingDependency as error:
        pytest.skip(str(error))


def descendants(pid: int) -> list[int]:
    """The processes below *pid*, of its session or not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" (")
            parent = int(rest.rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found += [int(number), *descendants(int(number))]
    return found


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def files() -> set[Path]:
    return {path for path in (cache_dir() / "vm" / "templates").rglob("*") if path.is_file()}


def sockets() -> int:
    """Open sockets and pipes of this process."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(path).startswith(("socket", "pipe"))
        except FileNotFoundError:  # the listing's own
            continue
    return found


def test_stopping_leaves_no_process_descriptor_or_file(tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    before, open_before = files(), sockets()
    with bpfnb.vm.start("6.12") as vm:
        pids = [vm._machine.pid, *descendants(vm._machine.pid)]
        assert any("qemu" in Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
        bpfnb.load(GETPGID, name="life", on=vm)
        with bpfnb.load(UPROBE, name="uprobe", on=vm) as probe:  # its library is looked at here
            assert list(copies.glob("bpfnb-vm-*/*libbpf*"))
            vm._remote.call("libbpf_version_string")
            assert probe.vars.calls == 1
    assert not list(copies.iterdir())
    assert gone(pids)
    assert files() == before
    assert sockets() == open_before
    assert bpfnb.vm.machines == {}
    assert "life" not in bpfnb.objects


def test_a_killed_notebook_takes_its_guest_with_it():
    before = files()
    code = "import bpfnb.vm, time; vm = bpfnb.vm.start('6.12'); print(vm._machine.pid, flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        supervisor = int(process.stdout.readline())
        pids = [supervisor, *descendants(supervisor)]
        assert len(pids) >= 3
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(pids)
    assert files() == before


def test_a_fork_of_the_notebook_does_not_keep_its_guest():
    vm = bpfnb.vm.start("6.12")
    pids = [vm._machine.pid, *descendants(vm._machine.pid)]
    child = os.fork()
    if not child:
        try:
            vm.run("true")
        except bpfnb.vm.GuestGone:
            signal.pause()
        os._exit(1)
    try:
        assert vm.run("echo here").stdout == "here\n"
        vm.stop()
        assert gone(pids)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it lives, and was refused
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_panic_is_said_with_its_reason():
    with bpfnb.vm.start("6.12") as vm:
        loaded = bpfnb.load(GETPGID, name="panicking", on=vm)
        pids = [vm._machine.pid, *descendants(vm._machine.pid)]
        with pytest.raises(bpfnb.vm.GuestGone, match="kernel panicked: not syncing: sysrq triggered crash"):
            vm.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
        assert not vm.running
        assert gone(pids[1:])
        with pytest.raises(bpfnb.vm.GuestGone, match="panicked"):
            vm.features()
        loaded.close()
        assert "Call Trace" in vm.console


def test_a_hang_is_said(monkeypatch):
    with bpfnb.vm.start("6.12") as vm:
        qemu = next(pid for pid in descendants(vm._machine.pid) if "qemu" in os.readlink(f"/proc/{pid}/exe"))
        os.kill(qemu, signal.SIGSTOP)
        monkeypatch.setattr(channel, "PATIENCE", 0.2)
        with pytest.raises(bpfnb.vm.GuestGone, match="has not answered for 0 s: its kernel hangs") as caught:
            vm.run("true")
        assert caught.value.hints == ("stop it and start another: bpfnb.vm.get('6.12').stop()",)
    assert gone([qemu])
    assert vm._channel.hints == ("start another: bpfnb.vm.start()",)


def test_what_runs_in_a_kernel_that_hangs_can_be_interrupted(monkeypatch):
    with bpfnb.vm.start("6.12") as vm:
        qemu = next(pid for pid in descendants(vm._machine.pid) if "qemu" in os.readlink(f"/proc/{pid}/exe"))

        def interrupt() -> None:
            while "begun" not in vm.run("cat /tmp/state 2>/dev/null").stdout:
                time.sleep(0.02)
            os.kill(qemu, signal.SIGSTOP)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        monkeypatch.setattr(command, "_AFTER_INTERRUPT", 0.1)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            vm.sh("echo begun > /tmp/state; sleep 1000")
        thread.join()
    assert gone([qemu])


def test_two_guests_have_their_own_names_clocks_and_random_numbers():
    with bpfnb.vm.start("6.12") as one, bpfnb.vm.start("6.12") as two:
        assert (one.name, two.name) == ("6.12", "6.12-2")
        assert bpfnb.vm.get("6.12-2") is two
        for vm in (one, two):
            assert abs(int(vm.run("date +%s").stdout) - time.time()) < 30
        random = [vm.run("head -c 16 /dev/urandom | od -A n -t x1").stdout for vm in (one, two)]
        assert random[0] != random[1]
        with (
            bpfnb.load(GETPGID, name="one", on=one) as first,
            bpfnb.load(GETPGID, name="two", on=two) as second,
        ):
            one._remote.call("getpgid", 0)
            assert (first.vars.calls, second.vars.calls) == (1, 0)


def test_the_rate_of_a_guests_clock_is_that_of_this_machine():
    """Its kernel is told; by its own timers it is wrong where this machine is busy, and a snapshot keeps that."""
    with bpfnb.vm.start("6.12") as vm:
        told = re.search(r"tsc_early_khz=(\d+)", vm.read("/proc/cmdline").decode())
        assert told is not None
        detected = re.findall(r"tsc: Detected (\d+)\.(\d{3}) MHz (?:processor|TSC)", vm.run("dmesg").stdout)
        # the counter's is told last, and by itself only where what the kernel found of the processor differs
        assert "".join(detected[-1]) == told[1], detected


def test_a_damaged_snapshot_is_made_again():
    with bpfnb.vm.start("6.12") as vm:
        folder = template_of(vm)
    (folder / "state").write_bytes(b"no machine")
    with bpfnb.vm.start("6.12") as vm:
        assert vm.run("echo again").stdout == "again\n"
    assert (folder / "state").stat().st_size > 1000


def test_a_snapshot_of_a_machine_with_another_clock_is_made_again():
    with bpfnb.vm.start("6.12") as vm:
        folder = template_of(vm)
    own, made = int((folder / "khz").read_text()), (folder / "state").stat().st_mtime_ns
    (folder / "khz").write_text(str(own * 2))
    with bpfnb.vm.start("6.12") as vm:
        assert vm.run("echo again").stdout == "again\n"
    again = (folder / "state").stat().st_mtime_ns
    assert again > made
    assert abs(int((folder / "khz").read_text()) - own) < own / 200
    with bpfnb.vm.start("6.12") as vm:
        assert template_of(vm) == folder
    assert (folder / "state").stat().st_mtime_ns == again


def test_a_snapshot_is_of_one_qemu_kernel_and_agent(own_cache, tmp_path, monkeypatch):
    """Whatever of them changes, the snapshot is another; what did not change finds its own again."""
    kernel = kernels.find("6.12")

    def of(kernel: kernels.Kernel = kernel) -> Path:
        return template._folder(kernel, initramfs.initramfs(kernel, shares=False), 512, "tcg", 0)

    found = [of()]
    with monkeypatch.context() as change:
        other = tmp_path / "qemu-system-x86_64"
        shutil.copy(qemu.emulator().path, other)
        change.setattr(template, "emulator", lambda: qemu.Emulator(other))
        found.append(of())
    with monkeypatch.context() as change:
        agent = tmp_path / "agent.c"
        agent.write_bytes(initramfs._SOURCE.read_bytes() + b"/* another */\n")
        change.setattr(initramfs, "_SOURCE", agent)
        found.append(of())
    own = tmp_path / kernel.release
    shutil.copytree(kernel.folder, own)
    (own / "vmlinux").write_bytes((kernel.folder / "vmlinux").read_bytes() + b"\0")
    found.append(of(kernels.Kernel(kernel.release, own)))
    assert len(set(found)) == 4
    assert of() == found[0]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache with the packages and kernels of the usual one, and nothing else."""
    (tmp_path / "vm").mkdir()
    for shared in ("packages", "kernels"):
        (tmp_path / "vm" / shared).symlink_to(cache_dir() / "vm" / shared)
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path))
    monkeypatch.delenv("BPFNB_VM_ACCEL", raising=False)
    return tmp_path


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm that may be opened")
def test_where_kvm_boots_nothing_guests_are_emulated(own_cache, monkeypatch):
    """It is tried by the first machine only; by the next one after the host's restart, and with another qemu."""
    tried = own_cache / "tried"
    program = own_cache / "qemu-system-x86_64"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *"-accel kvm"*) echo >>{tried}; exit 1; esac\nexec {qemu.emulator().path} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(qemu, "emulator", lambda: qemu.Emulator(program))
    monkeypatch.setattr(template, "emulator", qemu.emulator)
    monkeypatch.setattr(process, "emulator", qemu.emulator)
    for _ in range(2):
        with bpfnb.vm.start("6.12") as vm:
            assert vm.run("echo emulated").stdout == "emulated\n"
        assert len(tried.read_text().split("\n")) == 2
        assert qemu.accelerator() == "tcg"
    monkeypatch.setattr(qemu, "_host", lambda: "another boot")
    assert qemu.accelerator() == "kvm"


def test_a_kernel_that_boots_with_nothing_does_not_forbid_kvm(own_cache, monkeypatch):
    program = own_cache / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    before = qemu.accelerator()
    for module in (qemu, template, process):
        monkeypatch.setattr(module, "emulator", lambda: qemu.Emulator(program))
    with pytest.raises(bpfnb.vm.GuestGone, match="qemu has ended"):
        bpfnb.vm.start("6.12")
    assert qemu.accelerator() == before
    assert not bpfnb.vm.machines


def template_of(vm: bpfnb.vm.Vm) -> Path:
    """The folder of the snapshot whose memory its qemu maps."""
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(vm._machine.pid)]
    return next(Path(found[1]) for line in lines if (found := re.search(r"mem-path=([^,\0]*)/ram,", line)))


ORDINARY = """
import os
import shutil
assert os.getuid() == 65534 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
import bpfnb, bpfnb.vm
with bpfnb.vm.start("6.12") as vm:
    source = 'u64 seen = 0; SEC("kprobe/vfs_unlink") int go(void *ctx) { seen++; return 0; }'
    with bpfnb.load(source, name="ordinary", on=vm) as obj:
        vm.run("touch /tmp/a; rm /tmp/a", check=True)
        print(obj.vars.seen, vm.run("id -u").stdout.strip())
"""


def test_an_ordinary_user_without_capabilities_traces_a_guest():
    with nobody.folder() as home:
        cached = kernels.find("6.12").folder
        shutil.copytree(cached, home / ".cache" / "bpfnb" / "vm" / "kernels" / cached.name)
        (home / "script.py").write_text(ORDINARY)
        for path in (home, *home.rglob("*")):
            os.chown(path, nobody.NOBODY, nobody.NOBODY)
        done = subprocess.run(
            nobody.command(sys.executable, str(home / "script.py")),
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", "TMPDIR": str(home)},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 0\n"
