"""stackcount, bpftop and kmsg on the live kernel: exact counts by stack, exact runs, the log's own lines."""

from __future__ import annotations

import os
import time

import pytest
from workloads import Worker, await_true, object_ids, probe_library

import bpfnb
from bpfnb import tools
from bpfnb.errors import BadValue, KernelFeatureMissing, UnknownName
from bpfnb.kernel.features import check_section
from bpfnb.kernel.stats import enable_stats


@pytest.fixture(scope="module")
def worker():
    with Worker() as made:
        yield made


def test_a_tracepoint_is_counted_by_stack_exactly(worker):
    with Worker() as other, tools.stackcount("syscalls:sys_enter_getppid", pid=worker.pid) as tool:
        worker.call("getppid(1234)")
        other.call("getppid(100)")
        frame = tool.df
        tool.stop()
    assert frame["count"].sum() == 1234
    assert set(frame["pid"]) == {worker.pid}
    assert list(frame.columns) == ["comm", "pid", "count", "user_stack", "kernel_stack"]
    assert all(
        stack.startswith("entry_SYSCALL_64") and "do_syscall_64" in stack for stack in frame["kernel_stack"]
    )
    assert any("getppid" in stack for stack in frame["user_stack"])
    assert tool.df["count"].sum() == 1234
    assert frame.attrs["bpfnb"]["complete"]


def test_several_places_and_a_filter(worker, tmp_path):
    with tools.stackcount("syscalls:sys_enter_lseek", "syscalls:sys_enter_getppid", pid=worker.pid) as tool:
        worker.run("fd = os.open('/', 0)\nfor i in range(10): os.lseek(fd, i, 0)\ngetppid(20)")
        by_event = tool.df.groupby("event", observed=True)["count"].sum().to_dict()
    assert by_event == {"syscalls:sys_enter_lseek": 10, "syscalls:sys_enter_getppid": 20}
    with tools.stackcount(
        "syscalls:sys_enter_lseek", filter="offset == 5 || offset > 7", pid=worker.pid, kernel_only=True
    ) as tool:
        worker.run("fd = os.open('/', 0)\nfor i in range(10): os.lseek(fd, i, 0)")
        assert tool.df["count"].sum() == 3
        assert tool.df["user_stack"].isna().all()
        assert tool.save(tmp_path / "x.folded").read_text().strip().endswith(" 3")


def test_a_function_of_a_library_is_counted(worker):
    library = probe_library()
    with tools.stackcount(f"uprobe:{library}:bpfnb_step", pid=worker.pid) as tool:
        worker.run(f"ctypes.CDLL({str(library)!r}).work(250)")
        assert tool.df["count"].sum() == 250
        assert tool.used == (f"uprobe/{library}:bpfnb_step",)


def test_functions_of_the_kernel_where_it_has_probes():
    refused = check_section("kprobe/vfs_read") if check_section("fentry/vfs_read") is not None else None
    if refused is None:
        with tools.stackcount("vfs_read", pid=os.getpid()) as tool:
            os.read(os.open("/etc/passwd", os.O_RDONLY), 1)
            assert tool.df["count"].sum() >= 1
    else:
        with pytest.raises(KernelFeatureMissing) as caught:
            tools.stackcount("vfs_read")
        assert "syscalls/sys_exit_read" in " ".join(caught.value.hints)


@pytest.mark.parametrize(
    ("events", "options", "error", "said"),
    [
        (("sched:sched_swich",), {}, UnknownName, "did you mean sched:sched_switch"),
        (("vfs_raed",), {}, UnknownName, "no tracepoint or function 'vfs_raed'"),
        ((), {}, BadValue, "takes a tracepoint or a function"),
        (("uprobe:libc.so.6:malloc",), {"filter": "x == 1"}, BadValue, "functions have none"),
    ],
)
def test_mistakes_of_stackcount(events, options, error, said):
    with pytest.raises(error) as caught:
        tools.stackcount(*events, **options)
    assert said in str(caught.value)


COUNTER = """
SEC("uprobe") int count_steps(struct pt_regs *ctx) { return 0; }
"""


def test_a_program_of_this_test_has_its_exact_runs_and_owner(worker):
    library = probe_library()
    with (
        tools.bpftop() as top,
        bpfnb.load(COUNTER, name="steps", binary=str(library), symbol="bpfnb_step") as steps,
    ):
        worker.run(f"ctypes.CDLL({str(library)!r}).work(777)")
        (number,) = object_ids(steps.loaded)["program"]
        row = top.df.set_index("id").loc[number]
        assert row["run_count"] == 777
        assert row["run_time"] > 0
        assert row["average"] == pytest.approx(row["run_time"] / 777)
        assert row["events"] > 0
        assert (row["program"], row["object"]) == ("count_steps", "steps")
        assert (row["pid"], row["comm"], row["processes"]) == (os.getpid(), comm(), 1)
        assert row["memory"] > 0
        await_true(
            lambda: top.df.set_index("id").loc[number, "events"] == 0
        )  # once the span of rates is over
        top.stop()
    assert number in set(top.df["id"])
    frame = top.df
    assert list(frame.columns) == list(tools.bpftop.columns)
    assert frame["cpu"].is_monotonic_decreasing


def comm() -> str:
    with open("/proc/self/comm") as file:
        return file.read().strip()


def test_bpftop_of_one_type_and_of_one_process():
    with (
        enable_stats(),
        bpfnb.load('SEC("tp/syscalls/sys_enter_umask") int x(void *ctx) { return 0; }', name="one"),
    ):
        with tools.bpftop(type="tracepoint", pid=os.getpid()) as top:
            assert "x" in top.df["program"].tolist()
            assert set(top.df["type"]) == {"tracepoint"}
            assert set(top.df["pid"]) == {os.getpid()}
        with tools.bpftop(pid=1) as top:
            assert os.getpid() not in top.df["pid"].tolist()


def say(text: str) -> None:
    with open("/dev/kmsg", "wb", buffering=0) as log:
        log.write(text.encode() + b"\n")


def test_lines_that_the_test_writes_to_the_log(worker):
    mark = f"bpfnb-test-{os.getpid()}-{time.monotonic_ns()}"
    with tools.kmsg() as log, tools.kmsg(pid=worker.pid, level="err") as theirs:
        say(f"<12>{mark} caf\u00e9 one")
        worker.run(f"open('/dev/kmsg', 'w').write('<3>{mark} two\\n')")
        worker.run(f"open('/dev/kmsg', 'w').write('<6>{mark} three\\n')")
        await_true(lambda: log.df["text"].str.startswith(mark).sum() == 3)
        await_true(lambda: theirs.df["text"].str.startswith(mark).any())
        frame = log.df
        mine = frame[frame["text"].str.startswith(mark)]
        assert theirs.df["text"].tolist() == [f"{mark} two"]
        picture = log.view(filters={"text": {"contains": mark}}).html()
        assert picture.index(f"{mark} three") < picture.index(f"{mark} two"), "the newest first"
    assert mine["text"].tolist() == [f"{mark} caf\u00e9 one", f"{mark} two", f"{mark} three"]
    assert mine["level"].tolist() == ["warning", "err", "info"]
    assert set(mine["facility"]) == {"user"}
    assert mine["pid"].tolist() == [os.getpid(), worker.pid, worker.pid]
    assert mine["comm"].iloc[0] == comm()
    ago = mine["time"].iloc[-1].timestamp() - time.time()
    assert -60 < ago < 1, "the kernel's clock as a date"
    assert len(frame) > 3 or frame["facility"].eq("user").all(), "what the log still had before"
    assert list(frame.columns) == list(tools.kmsg.columns)
    assert log.df["text"].str.startswith(mark).sum() == 3  # what was seen stays


def test_a_level_that_there_is_not():
    with pytest.raises((UnknownName, BadValue), match="level"):
        tools.kmsg(level="loud")
