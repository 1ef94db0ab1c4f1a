"""trace: any tracepoint as a table, and its filter within the program: exact rows of known calls."""

from __future__ import annotations

import subprocess

import pytest
from workloads import Worker, await_true

from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import BadValue, UnknownName
from bpfnb.kernel.stats import enable_stats

SEEK = "syscalls:sys_enter_lseek"
SEEKS = "fd = os.open('/etc/passwd', os.O_RDONLY)\nfor i in range(100):\n    try: os.lseek(fd, i - 10, i % 3)\n    except OSError: pass"


@pytest.fixture(scope="module")
def worker():
    with Worker() as made:
        yield made


def settled(tool: tools.tool.Tool, rows: int) -> None:
    assert tool.wait(rows, 30)
    await_true(lambda: tool.frames.fill == 0)


def test_the_filter_runs_in_the_kernel_and_lets_through_exactly_what_it_says(worker):
    with (
        enable_stats(),
        tools.trace(SEEK, pid=worker.pid, filter="offset >= 40 && offset < 60 && (whence & 1) == 0") as some,
        tools.trace(SEEK, pid=worker.pid) as every,
    ):
        worker.run(SEEKS)
        settled(every, 100)
        expected = [i - 10 for i in range(100) if 40 <= i - 10 < 60 and not (i % 3) & 1]
        settled(some, len(expected))
        frame = some.df
        (stats,) = some.object.read_stats().values()
    assert stats.run_count >= 100, "the program ran for every call"
    assert frame["offset"].tolist() == expected
    assert some.frames.total == len(expected), "no other row ever reached the ring buffer"
    assert every.df["offset"].tolist() == [i - 10 for i in range(100)]
    assert every.df["whence"].tolist() == [i % 3 for i in range(100)]
    assert list(frame.columns) == ["time", "cpu", "comm", "pid", "tid", "fd", "offset", "whence"]
    assert set(frame["pid"]) == {worker.pid}
    assert frame["time"].is_monotonic_increasing
    assert frame["offset"].dtype == "int64"
    assert frame.attrs["bpfnb"]["complete"]


# Over i from 0 to 99: offset is i - 10, whence i % 3. Each beside what Python says of it.
CONDITIONS = {
    "offset == -10 || offset == 0x1e": lambda o, w: o in (-10, 30),
    "!(offset > -5) || offset == whence": lambda o, w: o <= -5 or o == w,
    "offset < 0 && !whence": lambda o, w: o < 0 and w == 0,
    "offset + whence >= 90": lambda o, w: o + w >= 90,
    "(offset ^ 1) == 3 || (offset << 1) == 84 || (offset >> 1) == 44": lambda o, w: o in (2, 42, 88, 89),
    "offset & 0x40": lambda o, w: bool(o & 0x40),
    "offset > 0xfffffffffffffff0": lambda o, w: False,
    "whence != 1 && fd < 1000000 && -offset == 7": lambda o, w: w != 1 and o == -7,
}


def test_conditions_mean_what_python_says(worker):
    made = [tools.trace(SEEK, pid=worker.pid, filter=text, columns="offset") for text in CONDITIONS]
    try:
        worker.run(SEEKS)
        for tool, (text, holds) in zip(made, CONDITIONS.items(), strict=True):
            expected = [i - 10 for i in range(100) if holds(i - 10, i % 3)]
            settled(tool, len(expected))
            assert tool.df["offset"].tolist() == expected, text
            assert list(tool.df.columns) == ["offset"]
    finally:
        for tool in made:
            tool.close()


def test_texts_of_any_length_by_pattern_and_whole(worker):
    paths = ["/etc/passwd", "/etc/hostname", "/usr/nosuch.so.1", "/usr/nosuch.so.x", "/etc/" + "y" * 300]
    opens = f"for path in {paths!r}:\n    try: os.close(os.open(path, os.O_RDONLY))\n    except OSError: pass"
    filters = {
        "filename ~ '/etc/*'": [paths[0], paths[1], "/etc/" + "y" * 122],
        "filename == '/etc/hostname'": [paths[1]],
        "filename ~ '*.so.[0-9]' || filename ~ '/e?c/p*'": [paths[0], paths[2]],
        "filename ~ '/*' && filename !~ '*etc*' && comm == current_comm": paths[2:4],
    }
    made = [
        tools.trace("syscalls:sys_enter_openat", pid=worker.pid, filter=text, columns=["filename"])
        for text in filters
    ]
    whole = tools.trace(
        "syscalls:sys_enter_openat",
        pid=worker.pid,
        filter="filename ~ '*yyy' && comm ~ '*'",
        string_bytes=1024,
    )
    try:
        worker.run(opens)
        for tool, expected in zip(made, filters.values(), strict=True):
            settled(tool, len(expected))
            assert tool.df["filename"].tolist() == expected
        settled(whole, 1)
        assert whole.df["filename"].tolist() == [paths[4]]
    finally:
        for tool in [*made, whole]:
            tool.close()


def test_texts_behind_the_record_and_names_that_the_event_has_too():
    with tools.trace("sched:sched_process_exec", filter="filename ~ '*/true' && pid == old_pid") as tool:
        assert tool.current["pid"] == "current_pid"
        pids = []
        for program in ("/bin/true", "/bin/echo", "/bin/true"):
            process = subprocess.Popen([program], stdout=subprocess.DEVNULL)
            process.wait()
            pids += [process.pid] * (program == "/bin/true")
        settled(tool, 2)
        frame = tool.df
    mine = frame[frame["pid"].isin(pids)]
    assert mine["pid"].tolist() == pids
    assert mine["current_pid"].tolist() == pids
    assert set(mine["filename"]) == {"/bin/true"}


def test_values_have_the_names_of_the_print_format(worker):
    with tools.trace(
        "sock:inet_sock_set_state",
        filter="newstate == TCP_ESTABLISHED && oldstate == 'TCP_SYN_SENT' && family == AF_INET",
    ) as tool:
        port = worker.call("tcp(5)")
        await_true(lambda: (tool.df["dport"] == port).sum() == 5)
        frame = tool.df
    mine = frame[frame["dport"] == port]
    assert set(mine["newstate"]) == {"TCP_ESTABLISHED"}
    assert frame["newstate"].dtype == "category"
    assert set(mine["protocol"]) == {"IPPROTO_TCP"}
    assert set(mine["saddr"]) == {"127.0.0.1"}
    with tools.trace("sched:sched_switch", pid=worker.pid, filter="prev_state == S") as tool:
        worker.run("for _ in range(20): time.sleep(0.001)")
        settled(tool, 20)
        assert set(tool.df["prev_state"]) == {"S"}
        assert set(tool.df["prev_pid"]) == {worker.pid}


def test_several_events_are_one_table_and_a_frame_each(worker):
    events = (SEEK, "syscalls:sys_enter_getppid", "syscalls:sys_exit_getppid")
    with tools.trace(*events, pid=worker.pid) as tool:
        worker.run(
            "fd = os.open('/etc/passwd', os.O_RDONLY)\nfor i in range(10):\n    os.lseek(fd, i, 0)\n    os.getppid()"
        )
        settled(tool, 30)
        frame, each = tool.df, {event: len(tool[event].df) for event in events}
        with pytest.raises(UnknownName, match="not traced here"):
            tool["sched:sched_switch"]
    assert each == dict.fromkeys(events, 10)
    assert frame["event"].tolist() == list(events) * 10
    seeks = frame[frame["event"] == SEEK]
    assert seeks["offset"].tolist() == list(range(10))
    assert frame["offset"].isna().sum() == 20
    assert frame.loc[frame["event"] == events[2], "ret"].nunique() == 1


def test_patterns_are_all_events_that_fit():
    with tools.trace("sched:sched_process_*", filter="comm == 'nosuchcommand'") as tool:
        names = [str(event) for event in tool.events]
        assert {"sched:sched_process_fork", "sched:sched_process_exec", "sched:sched_process_exit"} <= set(
            names
        )
        assert len(tool.used) == len(names)
        assert tool.df.empty
        assert list(tool.df.columns[:2]) == ["event", "time"]


@pytest.mark.parametrize(
    ("events", "options", "error", "said"),
    [
        (("sched:sched_swich",), {}, UnknownName, "did you mean sched:sched_switch"),
        (("sched_switc",), {}, UnknownName, "did you mean sched:sched_switch"),
        ((SEEK,), {"columns": "ofset"}, UnknownName, "did you mean offset"),
        ((SEEK,), {"filter": "ofset == 1"}, UnknownName, "did you mean offset"),
        (
            (SEEK, "sched:sched_switch"),
            {"filter": "offset == 1"},
            UnknownName,
            "sched:sched_switch has no field",
        ),
        (("syscalls:*",), {}, BadValue, "tracepoints are too many"),
        ((), {}, BadValue, "takes a tracepoint"),
        ((SEEK,), {"string_bytes": 8}, BadValue, "from 16 to 4096"),
    ],
)
def test_mistakes(events, options, error, said):
    with pytest.raises(error) as caught:
        tools.trace(*events, **options)
    assert said in str(caught.value)


def test_the_terminal(worker, capsys):
    child = subprocess.Popen(["sh", "-c", "while sleep 0.1; do /bin/true; done"])  # however late it looks
    words = [
        "trace",
        "sched:sched_process_exec",
        "--filter",
        "filename == '/bin/true'",
        "--columns",
        "filename,pid",
    ]
    try:
        assert main([*words, "--duration", "1"]) == 0
    finally:
        child.kill()
        child.wait()
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["FILENAME", "PID"]
    assert rows
    assert {row.split()[0] for row in rows} == {"/bin/true"}
    assert main(["trace", SEEK, "--filter", "whence == 1 && ofset > 3"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[2].index("ofset") == said[3].index("^")
    assert main(["trace", "--list", "sched:sched_process_*"]) == 0
    assert "sched:sched_process_exec" in capsys.readouterr().out
