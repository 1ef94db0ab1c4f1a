"""Programs as they are written for bcc, run as they are after ``enable()``, beside frames of the same tables."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bpfnb.bcc
from bpfnb import frames
from bpfnb.errors import MapError
from bpfnb.frames import MapFrame, Stream

pytestmark = pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning")  # bcc's, of itself

TEXT = r"""
#include <linux/sched.h>
struct data_t { u64 ts; u32 pid; char comm[TASK_COMM_LEN]; u32 number; };
struct key_t { u32 pid; u64 slot; };
typedef struct { char name[8]; u64 slot; } disk_t;
BPF_HASH(counts, u32, u64);
BPF_HISTOGRAM(dist);
BPF_HISTOGRAM(linear, int, 8);
BPF_HISTOGRAM(by_pid, struct key_t);
BPF_ARRAY(calls, u64, 1);
BPF_HASH(infos, u32, struct data_t);
BPF_PERCPU_ARRAY(percpu, u64, 1);
BPF_PERF_OUTPUT(events);
BPF_RINGBUF_OUTPUT(ring, 8);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;
    int zero = 0;
    u64 *call = calls.lookup(&zero);
    if (!call) return 0;
    u32 number = (*call)++;
    struct data_t data = {};
    data.ts = bpf_ktime_get_ns();
    data.pid = bpf_get_current_pid_tgid() >> 32;
    data.number = number;
    bpf_get_current_comm(&data.comm, sizeof(data.comm));
    events.perf_submit(args, &data, sizeof(data));
    ring.ringbuf_output(&data, sizeof(data), 0);
    u32 key = number % 3;
    counts.increment(key);
    infos.update(&key, &data);
    percpu.increment(zero);
    dist.increment(bpf_log2l(number + 1));
    linear.increment(number % 4);
    struct key_t both = { .pid = data.pid, .slot = bpf_log2l(number + 1) };
    by_pid.increment(both);
    bpf_trace_printk("call %d of %d\n", number, TOKEN);
    return 0;
}
"""
CALLS = 8
TOKENS = itertools.count(os.getpid() * 100)  # the trace pipe has what others wrote as well


@pytest.fixture(scope="module")
def bcc(bcc_installed: None) -> Iterator[ModuleType]:
    yield bpfnb.bcc.enable()
    bpfnb.bcc.disable()


@pytest.fixture
def made(bcc: ModuleType) -> Iterator[Any]:
    flags = [f"-DMY_TID={threading.get_native_id()}", f"-DTOKEN={next(TOKENS)}"]
    program = bcc.BPF(text=TEXT, cflags=flags)
    program.token = int(flags[1].partition("=")[2])
    yield program
    end(program)


def end(program: Any) -> None:
    """cleanup() closes the maps, from which bcc's tables then want to take their buffers out."""
    for table in program.tables.values():
        for cpu in list(getattr(table, "_open_key_fds", ())):
            del table[cpu]
    program.cleanup()


def call(times: int = CALLS) -> None:
    for _ in range(times):
        ctypes.CDLL(None).getppid()


def stream_of(table: Any) -> Stream:
    stream = frames.of(table)
    assert isinstance(stream, Stream)
    stream.drain()
    return stream


# Tables


def test_items_lookups_and_leaves(made: Any) -> None:
    call()
    counts = made["counts"]
    assert {key.value: leaf.value for key, leaf in counts.items()} == {0: 3, 1: 3, 2: 2}
    assert dict(counts.items_lookup_batch()) == {0: 3, 1: 3, 2: 2}
    assert counts[counts.Key(2)].value == 2
    info = made["infos"][ctypes.c_uint(1)]
    assert (info.number, info.pid) == (7, os.getpid())
    assert info.comm.decode() == Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip()
    assert made["percpu"].sum(0).value == CALLS
    frame = frames.of(counts)
    assert frame.df.set_index("key")["value"].to_dict() == {0: 3, 1: 3, 2: 2}
    assert frames.of(made["infos"]).df.set_index("key").loc[1, "number"] == 7
    del counts[ctypes.c_uint(0)]
    assert sorted(frame.df["key"]) == [1, 2]
    counts.clear()
    assert len(frame.df) == 0


def test_histograms_are_printed_as_ever(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    frames.of(made["dist"])  # a frame taken before changes nothing
    call()
    made["dist"].print_log2_hist("calls")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["calls", ":", "count", "distribution"]
    rows = [line.replace("|", " ").replace(":", " ").split()[:4] for line in lines[1:]]
    assert [(int(low), int(high), int(count)) for low, _, high, count in rows] == [
        (0, 1, 1), (2, 3, 2), (4, 7, 4), (8, 15, 1),
    ]  # fmt: skip
    made["linear"].print_linear_hist("number")
    rows = [line.replace(":", " ").split()[:2] for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(int(value), int(count)) for value, count in rows] == [(0, 2), (1, 2), (2, 2), (3, 2)]
    made["by_pid"].print_log2_hist("calls", "pid")
    assert f"pid = {os.getpid()}" in capsys.readouterr().out
    made["dist"].print_json_hist("calls")
    shown = json.loads(capsys.readouterr().out.replace("'", '"'))
    assert [part["count"] for part in shown["data"]] == [1, 2, 4, 1]
    frame = frames.of(made["dist"]).df["value"]
    assert {slot: count for slot, count in frame.items() if count} == {1: 1, 2: 2, 3: 4, 4: 1}


# Buffers


def test_a_perf_buffer_read_by_bcc(made: Any) -> None:
    assert len(frames.of(made["counts"]).df) == 0  # a frame of another table
    seen: list[tuple[int, int, bytes]] = []
    events = made["events"]

    def take(_cpu: int, data: Any, _size: int) -> None:
        event = events.event(data)
        seen.append((event.number, event.pid, event.comm))

    events.open_perf_buffer(take)
    call()
    while len(seen) < CALLS:
        made.perf_buffer_poll(timeout=1000)
    comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_bytes().strip()
    assert seen == [(number, os.getpid(), comm) for number in range(CALLS)]
    with pytest.raises(MapError, match=r"bcc reads 'events' since open_perf_buffer was called") as refused:
        frames.of(events)
    assert refused.value.hints
    made.perf_buffer_poll(timeout=0)
    call(1)
    while len(seen) == CALLS:  # it was not taken away
        made.perf_buffer_poll(timeout=1000)
    assert seen[-1][0] == CALLS


def test_a_ring_buffer_read_by_bcc(made: Any) -> None:
    seen: list[int] = []
    ring = made["ring"]
    ring.open_ring_buffer(lambda _context, data, _size: seen.append(ring.event(data).number))
    call()
    made.ring_buffer_consume()
    assert seen == list(range(CALLS))
    call(2)
    made.ring_buffer_poll(timeout=1000)
    assert seen == list(range(CALLS + 2))
    with pytest.raises(MapError, match=r"bcc reads 'ring' since open_ring_buffer was called"):
        frames.of(ring)


@pytest.mark.parametrize(("name", "way"), [("events", "open_perf_buffer"), ("ring", "open_ring_buffer")])
def test_a_buffer_has_one_reader_until_its_frame_is_closed(made: Any, name: str, way: str) -> None:
    stream = stream_of(made[name])
    with pytest.raises(MapError, match=f"{way}: bpfnb reads '{name}'"):
        getattr(made[name], way)(print)
    call(3)
    stream.drain()
    assert stream.df["number"].tolist() == [0, 1, 2]
    stream.close()
    seen: list[int] = []
    table = made[name]
    getattr(table, way)(lambda _from, data, _size: seen.append(table.event(data).number))
    call(2)
    while len(seen) < 2:
        (made.perf_buffer_poll if name == "events" else made.ring_buffer_poll)(timeout=1000)
    assert seen == [3, 4]
    assert stream.df["number"].tolist() == [0, 1, 2]


def test_both_kinds_of_reading_side_by_side(made: Any) -> None:
    stream = stream_of(made["events"])
    seen: list[int] = []
    ring = made["ring"]
    ring.open_ring_buffer(lambda _context, data, _size: seen.append(ring.event(data).number))
    call()
    made.ring_buffer_consume()
    stream.drain()
    assert stream.df["number"].tolist() == seen == list(range(CALLS))


# The trace pipe, symbols, files


def test_trace_printk(made: Any) -> None:
    call(2)
    found: list[tuple[int, bytes]] = []
    while len(found) < 2:
        _task, pid, _cpu, _flags, _ts, message = made.trace_fields()
        if message.endswith(b" of %d" % made.token):
            found.append((pid, message))
    assert found == [(threading.get_native_id(), b"call %d of %d" % (n, made.token)) for n in range(2)]
    call(1)
    while b"call 2 of %d" % made.token not in (line := made.trace_readline()):
        pass
    assert f"-{threading.get_native_id()}".encode() in line


def test_trace_print(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It never ends by itself: behind the second line it is ended here, as a Control-C does."""
    original, seen = made.trace_readline, 0

    def readline(nonblocking: bool = False) -> bytes:
        nonlocal seen
        if seen == 2:
            raise KeyboardInterrupt
        line: bytes = original(nonblocking)
        seen += line.endswith(b" of %d" % made.token)
        return line

    made.trace_readline = readline
    call(2)
    with pytest.raises(KeyboardInterrupt):
        made.trace_print()
    printed = capsys.readouterr().out
    assert [f"call {n} of {made.token}" in printed for n in range(3)] == [True, True, False]


def test_symbols_of_the_kernel(bcc: ModuleType) -> None:
    address = next(
        int(line.split()[0], 16)
        for line in Path("/proc/kallsyms").read_text().splitlines()
        if line.split()[2] == "vfs_read"
    )
    assert bcc.BPF.ksym(address) == b"vfs_read"
    assert bcc.BPF.ksym(address + 4, show_offset=True) == b"vfs_read+0x4"
    assert bcc.BPF.ksymname(b"vfs_read") == address
    assert (
        bcc.BPF.sym(ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value, os.getpid()) == b"getppid"
    )


def test_a_file_with_a_header_of_its_own(
    bcc: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.h").write_text("struct pair { u32 low; u32 high; };\n#define ANSWER 42\n")
    (tmp_path / "mine.c").write_text(
        '#include "mine.h"\nBPF_HASH(pairs, u32, struct pair);\nBPF_PERF_OUTPUT(out);\n'
        "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {\n"
        "    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;\n"
        "    u32 key = 1; struct pair pair = { ANSWER, 7 }; pairs.update(&key, &pair);\n"
        "    out.perf_submit(args, &pair, sizeof(pair)); return 0; }\n"
    )
    monkeypatch.chdir(tmp_path)
    program = bcc.BPF(src_file="mine.c", cflags=[f"-DMY_TID={threading.get_native_id()}"])
    stream = stream_of(program["out"])
    call(1)
    stream.drain()
    assert stream.df.to_dict("records") == [{"low": 42, "high": 7}]
    frame = frames.of(program["pairs"])
    assert isinstance(frame, MapFrame)
    assert frame.df.to_dict("records") == [{"key": 1, "low": 42, "high": 7}]
    (leaf,) = program["pairs"].values()
    assert (leaf.low, leaf.high) == (42, 7)
    end(program)


# Units

UNITS = """
struct ev { ktime_ns_t ts; ns_t delta; ipv4_t saddr; port_be_t port; errno_t error; ipv6_t six; bytes_t size; };
BPF_PERF_OUTPUT(out);
BPF_HASH(spent, ipv4_t, us_t);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;
    struct ev e = { .delta = 1500, .saddr = 0x0100007f, .port = 0x5000, .error = -13, .size = 4096 };
    e.ts = bpf_ktime_get_ns();
    e.six[15] = 1;
    out.perf_submit(args, &e, sizeof(e));
    ipv4_t key = e.saddr;
    us_t value = 7;
    spent.update(&key, &value);
    return 0;
}
"""


def test_typedefs_that_say_what_a_field_means(bcc: ModuleType) -> None:
    program = bcc.BPF(text=UNITS, cflags=[f"-DMY_TID={threading.get_native_id()}"])
    stream = stream_of(program["out"])
    call(1)
    stream.drain()
    frame = stream.df
    assert str(frame["ts"].dtype) == "datetime64[ns, UTC]"
    row = frame.drop(columns="ts").to_dict("records")[0]
    assert row == {
        "delta": 1500, "saddr": "127.0.0.1", "port": 80, "error": "EACCES", "six": "::1", "size": 4096,
    }  # fmt: skip
    assert frame.attrs["bpfnb_columns"]["delta"] == {"unit": "ns", "format": "duration"}
    spent = frames.of(program["spent"]).df
    assert spent.to_dict("records") == [{"key": "127.0.0.1", "value": 7}]
    assert spent.attrs["bpfnb_columns"]["value"] == {"unit": "us", "format": "duration"}
    end(program)


def test_bccs_own_event_class_knows_the_typedefs(bcc: ModuleType) -> None:
    program = bcc.BPF(text=UNITS, cflags=[f"-DMY_TID={threading.get_native_id()}"])
    out, seen = program["out"], []
    out.open_perf_buffer(lambda _cpu, data, _size: seen.append(out.event(data)))
    call(1)
    while not seen:
        program.perf_buffer_poll(timeout=1000)
    assert (seen[0].delta, seen[0].error, seen[0].size, seen[0].six[15]) == (1500, -13, 4096, 1)
    end(program)


def test_a_programs_own_typedef_of_that_name_wins(bcc: ModuleType) -> None:
    text = "typedef u32 ns_t; #define us_t u16\nBPF_HASH(h, ns_t, us_t);".replace("; #", ";\n#")
    program = bcc.BPF(text=text)
    assert (program["h"].Key, program["h"].Leaf) == (ctypes.c_uint, ctypes.c_ushort)
    end(program)


# Headers


def test_a_misspelt_kernel_header_is_remarked_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux/tpc.h").write_text("")  # the program's own
    monkeypatch.chdir(tmp_path)
    text = "#include <linux/sched.h>\n#include <linux/shced.h>\n#include <linux/tpc.h>\n#include <linux/sched/mm.h>\n"
    program = bpfnb.bcc.compile(text + "#include <net/scok.h>\nBPF_HASH(h);")
    assert [(one.message, one.where and one.where.line) for one in bpfnb.bcc.diagnostics(program)] == [
        ("no kernel is known to have linux/shced.h; did you mean linux/sched.h?", 2),
        ("no kernel is known to have net/scok.h; did you mean net/sock.h?", 5),
    ]
    end(program)
