"""Ready-made tools in guests: facts are the guest's, and older kernels tell the same by other hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from bpfnb.bpf import TOOLS

import bpfnb
import bpfnb.vm
from bpfnb.errors import BadValue, UnknownName
from bpfnb.symbols.maps import Mapping, Mappings
from bpfnb.vm import Vm
from bpfnb.vm.symbols import GuestSymbols
from tests.matrix.cases import STARVES, TCP


@pytest.fixture(scope="module", params=("6.1", "6.12"))
def vm(request: pytest.FixtureRequest) -> Iterator[Vm]:
    with bpfnb.vm.start(request.param, name=f"tools-{request.param}") as started:
        yield started


def await_true(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_connections_have_their_owners_and_bytes(vm):
    with (
        bpfnb.tools.tcptop(on=vm) as top,
        bpfnb.tools.tcplife(on=vm) as lives,
        bpfnb.tools.flows(on=vm) as flows,
    ):
        vm.run(TCP, check=True)
        await_true(lambda: len(lives.df) == 2)
        ends = top.df.set_index("rport")
        client = ends.loc[7000]
        assert (client["comm"], client["rx_bytes"], client["tx_bytes"]) == ("nc", 6, 6)
        assert set(lives.df["comm"]) == {"nc"}
        assert set(lives.df["tx_bytes"]) == {6}
        assert set(flows.df["comm"]) == {"nc"}
        dated = flows.df["first"].max().timestamp()
        assert abs(dated - time.time()) < 60


def test_processes_of_the_guest_are_told_of(vm):
    with bpfnb.tools.opensnoop(on=vm, add=["parent", "cmdline", "user"], uid="root") as opens:
        waits = "echo told >/tmp/told; until [ -e /tmp/heard ]; do sleep 0.05; done; rm /tmp/heard"
        process = vm.popen(["sh", "-c", waits, "guest-words"])
        await_true(lambda: (opens.df["path"] == "/tmp/told").any())
        vm.run("touch /tmp/heard", check=True)
        process.wait(60).check_returncode()
        row = opens.df.loc[lambda frame: frame["path"] == "/tmp/told"].iloc[0]
        assert row["user"] == "root"
        assert "guest-words" in row["cmdline"]
    with pytest.raises(UnknownName, match="there is no user 'nobody-there'"):
        bpfnb.tools.opensnoop(on=vm, uid="nobody-there")
    with pytest.raises(BadValue, match="there is no process 99999"):
        bpfnb.tools.funccount("libc.so.6:getpgid", on=vm, pid=99999)


def test_functions_of_its_programs_are_found_and_named(vm):
    with (
        bpfnb.tools.funccount("libc.so.6:getpgi*", on=vm) as counts,
        bpfnb.tools.stackcount("uprobe:libc.so.6:getpgid", on=vm) as stacks,
    ):
        for _ in range(3):
            vm._remote.call("getpgid", 0)
        await_true(lambda: len(counts.df) and len(stacks.df))
        assert dict(zip(counts.df["function"], counts.df["count"], strict=True)) == {"getpgid": 3}
        assert stacks.df["count"].sum() == 3
        assert stacks.df["user_stack"].astype(str).str.endswith("getpgid").all()


def test_a_file_that_was_replaced_is_still_that_of_who_runs_it(vm):
    vm.run("cp /bin/busybox /tmp/busybox", check=True)
    process = vm.popen(["/tmp/busybox", "sleep", "1000"])

    def mapped() -> list[Mapping]:
        rows = Mappings.parse(vm.read(f"/proc/{process.pid}/maps").decode()).rows
        return [row for row in rows if row.path == "/tmp/busybox"]

    await_true(mapped)
    (mapping,) = mapped()
    vm.run("rm /tmp/busybox; echo other > /tmp/busybox", check=True)
    copies = GuestSymbols(vm.system)._binaries
    copy = copies._copy(process.pid, mapping)
    assert copy.read_bytes() == vm.read("/bin/busybox")
    assert copy.name.endswith("-busybox")
    process.kill()
    process.wait(60)
    with pytest.raises(FileNotFoundError):
        copies._copy(process.pid, mapping)
    vm.run("rm /tmp/busybox", check=True)


def test_tracepoints_have_the_fields_of_its_kernel(vm):
    with bpfnb.tools.trace("sched:sched_process_exec", filter="filename ~ '*/sh'", on=vm) as execs:
        vm.run("true")
        await_true(lambda: len(execs.df))
        assert set(execs.df["filename"].str.rpartition("/")[2]) == {"sh"}


def test_programs_of_its_kernel_are_listed(vm):
    with bpfnb.tools.execsnoop(on=vm) as execs, bpfnb.tools.bpftop(on=vm) as top:
        vm.run("true")
        frame = top.df
        own = frame[frame["object"] == execs.object.name]
        assert set(own["program"]) == set(execs.object.programs)
        assert (own["comm"] == "init").all()


def test_the_log_of_its_kernel(vm):
    with bpfnb.tools.kmsg(on=vm) as log:
        vm.run("echo said in the guest >/dev/kmsg")
        await_true(lambda: (log.df["text"] == "said in the guest").any())
        row = log.df.loc[lambda frame: frame["text"] == "said in the guest"].iloc[0]
        assert row["comm"] == "sh"
        assert abs(row["time"].timestamp() - time.time()) < 60


def test_capabilities_are_told_by_tracepoint_or_function(vm):
    with bpfnb.tools.capable(on=vm, comm="mount") as checks:
        vm.run("mount -t tmpfs none /mnt; umount /mnt", check=True)
        await_true(lambda: (checks.df["cap"] == "CAP_SYS_ADMIN").any())
        assert set(checks.df["ret"]) == {"0"}


@pytest.mark.parametrize("defines", [(), ("BY_FUNCTION",)])
def test_who_is_killed_for_memory(vm, defines):
    path = TOOLS / "oomkill.bpf.c"
    with bpfnb.load(path, name="oom", directory=TOOLS, defines=defines, on=vm) as made:
        vm.run(STARVES, check=True)
        kills = made.streams["events"]
        await_true(lambda: len(kills.df))
        row = kills.df.iloc[0]
        assert row["tcomm"] == "tail"
        assert row["total_vm"] > row["anon_rss"] > 100
