"""The guest of a session: what is loaded without saying where goes there, and nowhere else once it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpfnb
import bpfnb.bpftrace.process
import bpfnb.vm
from bpfnb import guest
from bpfnb.btf import Btf
from bpfnb.errors import BadValue, BpfnbError, MissingDependency, UnknownName
from bpfnb.kernel import hooks
from bpfnb.lab import places, workload
from bpfnb.lab.beginning import begin
from bpfnb.recording import session

RECORDED = Path(__file__).parents[2] / "notebooks/labs/recordings"

COUNT = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } calls SEC(".maps");
SEC("kprobe/vfs_mkdir") int BPF_KPROBE(made)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 one = 1, *n = bpf_map_lookup_elem(&calls, &pid);
    if (n)
        *n += 1;
    else
        bpf_map_update_elem(&calls, &pid, &one, BPF_ANY);
    return 0;
}"""
BY_ENVIRONMENT = f"""
import bpfnb
with bpfnb.load({COUNT!r}, name="io") as io:
    bpfnb.guest.current().run(["mkdir", "/tmp/a"], check=True)
    print(list(dict(io.calls.items()).values()), io.backend.release)
"""


@pytest.fixture
def vm() -> Iterator[bpfnb.vm.Vm]:
    try:
        machine = bpfnb.vm.start("6.12", name="session", folders=places.folders())
    except MissingDependency as error:
        pytest.skip(str(error))
    guest.use(machine)
    yield machine
    guest.use(None)
    machine.stop()


def test_cells_tools_and_workloads_go_to_the_guest_of_the_session(vm: bpfnb.vm.Vm) -> None:
    assert guest.wanted() == vm.kernel.release
    with bpfnb.load(COUNT, name="io") as io, bpfnb.tools.opensnoop(comm="cat") as opens:
        made = vm.popen(["mkdir", "/tmp/one", "/tmp/two", "/tmp/three"])
        made.wait(60).check_returncode()
        vm.run("cat /etc/hosts /etc/group", check=True)
        assert dict(io.calls.items()) == {made.pid: 3}
        assert opens.wait(2, timeout=60)
        assert {"/etc/hosts", "/etc/group"} <= set(opens.df["path"])
    work = workload("lab01")
    assert vm.system.path(f"/proc/{work.pid}/comm").read_text() == "child\n"
    work.run()
    assert not vm.system.path(f"/proc/{work.pid}").exists()
    with pytest.raises(BpfnbError, match="the workload of lab06 does not run in a disposable kernel"):
        workload("lab06.alone")


def test_hooks_and_types_are_those_of_the_guest(vm: bpfnb.vm.Vm) -> None:
    there = sorted(vm.run("cat /sys/kernel/tracing/available_events").stdout.split())
    with guest.meaning():
        assert hooks.tracepoints() == there
        assert [hook.name for hook in hooks.find("function/vfs_unlink")] == ["vfs_unlink"]
        size = Btf.kernel().size(Btf.kernel().find("task_struct", "struct"))
    assert size == vm.system.btf().size(vm.system.btf().find("task_struct", "struct"))
    assert hooks.tracepoints() != there, "this machine's kernel has others"
    with pytest.raises(BadValue, match="bpftrace traces this machine"):
        bpfnb.bpftrace.process.start("BEGIN { exit(); }")


def test_what_was_meant_for_a_guest_that_has_ended_is_not_loaded_here(vm: bpfnb.vm.Vm) -> None:
    vm.stop()
    with pytest.raises(bpfnb.vm.GuestGone):
        bpfnb.load(COUNT.replace("kprobe/vfs_mkdir", "tracepoint/syscalls/sys_enter_mkdir"), name="io")
    assert "io" not in bpfnb.objects


def test_what_a_workload_leaves_in_a_guest_that_has_ended_is_let_go_of(vm: bpfnb.vm.Vm) -> None:
    place = places.InGuest(vm)
    folder, remove = place.folder(["a", "b"])
    assert sorted(path.name for path in vm.system.path(folder).iterdir()) == ["a", "b"]
    process = place.start(["sh", "-c", "echo ready; sleep 1000"], env=None, background=True)
    vm.stop()
    with pytest.raises(bpfnb.vm.GuestGone):
        process.wait(60)
    process.end()
    remove()


def test_a_lab_is_begun_in_the_guest_that_is_there(vm: bpfnb.vm.Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(wanted: object) -> None:
        raise UnknownName(f"the mirror has no kernel {wanted}")

    with monkeypatch.context() as change:
        change.setattr(bpfnb.vm.kernels, "find", find)  # the guest's may be a kernel of one's own
        assert "In a disposable kernel, Linux 6.12" in repr(begin("lab02"))
    assert guest.current() is vm
    with pytest.raises(BadValue, match="lab05 does not run in a disposable kernel"):
        begin("lab05", on="6.12")
    session.replay_from(RECORDED)
    try:
        assert "In a disposable kernel, Linux 6.12" in repr(begin("lab02", on="6.12")), (
            "asked for, before recordings"
        )
        assert guest.current() is vm
        assert not bpfnb.replaying()
    finally:
        session.replay_from(None)
    assert "Live: its programs are loaded into the kernel" in repr(begin("lab05"))
    assert (guest.current(), guest.wanted()) == (None, None)
    assert "In a disposable kernel, Linux 6.12" in repr(begin("lab02")), "the session's, which was set aside"
    assert guest.current() is vm


def test_what_the_environment_asks_for_outlives_a_lab_that_runs_in_no_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guest, "_asked", "6.12")
    begun = repr(begin("lab05"))
    assert "Live: its programs are loaded into the kernel" in begun
    assert "The session's disposable kernel is for labs that run there" in begun
    assert (guest.chosen(), guest.wanted()) == (None, None), "what lab05 loads goes to this machine's kernel"
    guest.bring_back()
    assert (guest.current(), guest.wanted()) == (None, "6.12")
    begin("lab05")
    guest.use(None)
    guest.bring_back()
    assert guest.wanted() is None, "what was set aside before is not what is used now"


@pytest.mark.timeout(300)  # its first start boots it
def test_a_lab_in_a_kernel_of_ones_own_begins_again_when_its_guest_has_ended(tmp_path: Path) -> None:
    """By its path, also where the notebook has gone elsewhere; the release alone would be looked for at the mirror."""
    try:
        cached = bpfnb.vm.kernels.find("6.12")
    except MissingDependency as error:
        pytest.skip(str(error))
    path = tmp_path / "vmlinux"
    path.symlink_to(cached.vmlinux)
    (tmp_path / "modules").symlink_to(cached.folder / "modules")
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        begun = begin("lab02", on="./vmlinux")
        os.chdir(before)
        assert f"In a disposable kernel, Linux {cached.release}" in repr(begun)
        first = guest.current()
        assert first is not None
        assert guest.wanted() == str(path)
        begin("lab02")
        assert guest.current() is first
        first._machine.stop()  # as it ends by itself
        assert "In a disposable kernel" in repr(begin("lab02"))
        second = guest.current()
        assert second is not None
        assert second is not first
        assert second.running
        assert (second.name, second.kernel) == (first.name, first.kernel)
        assert second.kernel.folder != cached.folder
    finally:
        os.chdir(before)
        guest.use(None)
        for vm in list(bpfnb.vm.machines.values()):
            vm.stop()


def test_the_environment_names_a_kernel_for_the_whole_session() -> None:
    try:
        bpfnb.vm.kernels.find("6.12")
    except MissingDependency as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-c", BY_ENVIRONMENT],
        env={**os.environ, "BPFNB_ON": "6.12"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[1] 6.12")
