"""Streams on the live kernel: every record once, in order, with its exact values, and losses counted to the one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bpfnb.compile import BpfElf, Source
from bpfnb.compile import compile as compile_source
from bpfnb.frames import Stream, pump
from bpfnb.frames.layout import Layout
from bpfnb.kernel import ringbuf
from bpfnb.kernel.backend import LoadSettings
from bpfnb.kernel.local import LocalBackend, LocalObject
from bpfnb.kernel.perfbuf import online_cpus
from bpfnb.kernel.ringbuf import RingReader

CELL = r"""
struct event { ktime_ns_t ts; u64 seq; u32 pid; s32 small; char comm[16]; u64 a, b, c; };
struct tiny { u64 seq; u16 kind; };
struct arguments { u32 count, mode; };

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } tails SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
u64 seq = 0, lost = 0;

static long put(u32 i, u32 *mode)
{
    if (*mode == 1 && (seq & 1)) {
        struct tiny *t = bpf_ringbuf_reserve(&ring, sizeof(*t), 0);
        if (!t) { lost++; return 0; }
        t->seq = seq++;
        t->kind = 7;
        bpf_ringbuf_submit(t, 0);
        return 0;
    }
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) { lost++; return 0; }
    e->seq = seq++;
    e->ts = bpf_ktime_get_ns();
    e->pid = e->seq * 3;
    e->small = -(s32)e->seq;
    __builtin_memset(e->comm, 0, 16);
    e->comm[0] = 'a' + e->seq % 26;
    e->a = e->seq << 40;
    e->b = e->c = ~0ull;
    if (*mode == 2 && e->seq % 3 == 0) bpf_ringbuf_discard(e, 0); else bpf_ringbuf_submit(e, 0);
    return 0;
}

SEC("syscall") int produce(struct arguments *arguments)
{
    u32 mode = arguments->mode;
    bpf_loop(arguments->count, put, &mode, 0);
    return 0;
}

static long put_tail(u32 i, void *unused)
{
    char buffer[64] = {};
    *(u64 *)buffer = i;
    for (int at = 0; at < 32; at++) buffer[8 + at] = i + at;
    u32 size = 8 + (i & 31);
    if (bpf_ringbuf_output(&tails, buffer, size, 0)) __sync_fetch_and_add(&lost, 1);
    return 0;
}

SEC("syscall") int produce_tails(struct arguments *arguments)
{
    bpf_loop(arguments->count, put_tail, 0, 0);
    return 0;
}

SEC("raw_tp/sys_enter") int produce_perf(void *ctx)
{
    struct event e = {};
    for (int i = 0; i < 500; i++) {
        e.seq = __sync_fetch_and_add(&seq, 1);
        e.pid = bpf_get_smp_processor_id();
        e.ts = bpf_ktime_get_ns();
        bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof(e));
    }
    return 0;
}
"""
EVENT = 64
RING = 1 << 18


@pytest.fixture(scope="module")
def elf() -> BpfElf:
    return compile_source(Source(CELL, "streams"))


@pytest.fixture
def loaded(elf: BpfElf) -> Iterator[LocalObject]:
    with LocalBackend().load(elf.data, LoadSettings("streams")) as loaded:
        yield loaded


def layout(elf: BpfElf, name: str) -> Layout:
    return Layout.of(elf.btf, elf.btf.find(name, "struct").id)


def produce(loaded: LocalObject, count: int, mode: int = 0, program: str = "produce") -> None:
    loaded.test_run(program, ctx=struct.pack("=II", count, mode))


def produce_perf(loaded: LocalObject, cpu: int, runs: int = 1) -> None:
    for _ in range(runs):
        loaded.test_run("produce_perf", flags=1, cpu=cpu)


def counted(loaded: LocalObject) -> tuple[int, int]:
    """The program's own counts: (records made, records it found no room for)."""
    elf_bss = next(info.name for info in loaded.maps.values() if info.internal == ".bss")
    size = loaded.maps[elf_bss].value_size
    seq, lost = struct.unpack("=QQ", loaded.read_bytes(elf_bss, 0, size)[:16])
    return seq, lost


@contextlib.contextmanager
def opened(
    elf: BpfElf, loaded: LocalObject, name: str, *structs: str, pumped: bool = False
) -> Iterator[Stream]:
    stream = Stream(
        name, loaded.reader(name), [layout(elf, s) for s in structs], provenance={"object": "streams"}
    )
    try:
        if pumped:
            pump.add(stream)
        yield stream
    finally:
        stream.close()


def check(df: pd.DataFrame, first: int, count: int, step: int = 1) -> None:
    seq = np.arange(first, first + count * step, step, dtype=np.uint64)
    assert df["seq"].dtype == np.uint64
    np.testing.assert_array_equal(df["seq"], seq)
    np.testing.assert_array_equal(df["pid"], (seq * 3).astype(np.uint32))
    np.testing.assert_array_equal(df["small"], -seq.astype(np.int64))
    np.testing.assert_array_equal(df["a"], seq << np.uint64(40))
    assert (df["b"] == (1 << 64) - 1).all()
    assert df["comm"].tolist() == [chr(97 + int(n) % 26) for n in seq]


def test_exact_rows_in_order(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        produce(loaded, 1000)
        df = stream.df
        assert len(df) == len(stream) == stream.total == 1000
        check(df, 0, 1000)
        assert df["ts"].is_monotonic_increasing
        assert abs(df["ts"].iloc[-1] - pd.Timestamp.now("UTC")) < pd.Timedelta("5s")
        attrs = df.attrs["bpfnb"]
        assert (attrs["rows"], attrs["lost"], attrs["complete"], attrs["object"]) == (
            1000,
            0,
            True,
            "streams",
        )
        assert attrs["fill"] == round(1000 * (EVENT + 8) / RING, 4)
        assert attrs["window"] == sorted(attrs["window"])


def test_a_frame_is_a_value(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        produce(loaded, 100)
        before = stream.df
        before.loc[:, "seq"] = 0
        produce(loaded, 100)
        check(stream.df, 0, 200)
        assert len(before) == 100


def test_the_ring_wraps_many_times(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        batch = RING // (EVENT + 8) - 1
        rounds = 40
        for _ in range(rounds):
            produce(loaded, batch)
            assert stream.drain() == batch
        check(stream.df, 0, rounds * batch)
        assert counted(loaded) == (rounds * batch, 0)


def test_discarded_records_are_left_out(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        for _ in range(5):
            produce(loaded, 2000, mode=2)
            stream.drain()
        seq = stream.df["seq"].to_numpy()
        expected = np.arange(10_000, dtype=np.uint64)
        np.testing.assert_array_equal(seq, expected[expected % 3 != 0])


def test_two_structs_in_one_buffer(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event", "tiny") as stream:
        for _ in range(3):
            produce(loaded, 1000, mode=1)
            stream.drain()
        produce(loaded, 500)
        df = stream.df
        np.testing.assert_array_equal(df["seq"], np.arange(3500))
        assert df["type"].tolist() == ["event", "tiny"] * 1500 + ["event"] * 500
        assert str(df["kind"].dtype) == "UInt16"
        assert df["kind"].isna().sum() == 2000
        assert list(stream.by_type) == ["event", "tiny"]
        assert set(stream["tiny"].df["kind"]) == {7}
        assert (stream["tiny"].total, stream["struct event"].total) == (1500, 2000)
        check(stream["event"].df.head(1500), 0, 1500, 2)
        assert stream.arrow().num_rows == 3500
        assert stream.arrow()["seq"].to_pylist() == list(range(3500))


def test_records_without_a_known_struct_are_bytes(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring") as stream:
        assert list(stream.df.columns) == ["data"]
        produce(loaded, 10, mode=1)
        df = stream.df
        assert list(df.columns) == ["data"]
        assert [len(data) for data in df["data"]] == [EVENT, 16] * 5
        assert struct.unpack_from("=Q", df["data"][3])[0] == 3


def test_tails_are_kept_and_short_records_counted(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "tails", "tiny") as stream:
        produce(loaded, 640, program="produce_tails")
        df = stream.df
        np.testing.assert_array_equal(df["seq"], np.arange(640))
        bodies = [bytes((i + at) & 0xFF for at in range(i & 31)) for i in range(640)]
        kinds = [int.from_bytes(body[:2], "little") for body in bodies]
        np.testing.assert_array_equal(df["kind"], kinds)
        assert df["payload"].tolist() == [body[8:] for body in bodies]
        assert df.attrs["bpfnb"]["short"] == 640 // 32 * 8


def test_bounds_hold_and_the_newest_stay(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        stream.limit(rows=2500)
        for _ in range(10):
            produce(loaded, 1000)
            stream.drain()
        df = stream.df
        check(df, 7500, 2500)
        assert (stream.total, stream.rows, df.attrs["bpfnb"]["evicted"]) == (10_000, 2500, 7500)
        stream.limit(nbytes=100_000)
        for _ in range(10):
            produce(loaded, 1000)
            stream.drain()
            assert stream.nbytes <= 100_000
        assert stream.df["seq"].iloc[-1] == 19_999
        assert 0 < len(stream) <= 100_000 // EVENT
        stream.clear()
        assert len(stream.df) == stream.nbytes == 0
        assert stream.total == 20_000


def test_a_slice_is_rows_by_their_number_and_nothing_else(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event", "tiny") as stream:
        stream.limit(rows=2000)
        for _ in range(3):
            produce(loaded, 1000)
            stream.drain()
        assert stream.span() == (1000, 3000)
        part = stream.slice(995, 1010, ["comm", "seq"])
        assert part.columns.tolist() == ["seq", "comm"]
        assert part.index.tolist() == part["seq"].tolist() == list(range(1000, 1010))
        assert part["comm"].iloc[0] == chr(97 + 1000 % 26)
        assert stream.slice(2998).index.tolist() == [2998, 2999]
        assert stream.slice(5, 10).empty
        pd.testing.assert_frame_equal(stream.slice().reset_index(drop=True), stream.df)

        produce(loaded, 100, mode=1)  # every second record is a tiny one
        stream.drain()
        mixed = stream.slice(3000, 3006, ["type", "seq", "kind"])
        assert mixed.index.tolist() == mixed["seq"].tolist() == [3000, 3001, 3002, 3003, 3004, 3005]
        assert mixed["type"].tolist() == ["event", "tiny"] * 3
        assert mixed["kind"].tolist() == [pd.NA, 7] * 3
        tiny = stream["tiny"].slice(3000, 3006)
        assert tiny.index.tolist() == tiny["seq"].tolist() == [3001, 3003, 3005]


def test_rows_age_out(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        produce(loaded, 100)
        assert len(stream.df) == 100
        stream.limit(seconds=0.2)
        deadline = time.monotonic() + 10
        while len(stream) == 100 and time.monotonic() < deadline:
            stream.wait_for(timeout=0.05)
        assert len(stream) == 0


def test_nothing_missing_from_a_producer_at_full_speed(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        stream.limit(rows=10_000_000, nbytes=1 << 30)
        for _ in range(300):
            produce(loaded, 1000)
        made, lost = counted(loaded)
        assert made + lost == 300_000
        assert stream.wait_for(rows=made, timeout=20)
        check(stream.df, 0, made)


def test_two_producers_and_a_reader_that_spins(elf: BpfElf, loaded: LocalObject) -> None:
    reader = loaded.reader("tails")
    done = threading.Event()

    def work() -> None:
        for _ in range(100):
            produce(loaded, 1000, program="produce_tails")

    threads = [threading.Thread(target=work) for _ in range(2)]
    seen = np.zeros(1000, np.int64)
    try:
        for thread in threads:
            thread.start()
        while not done.is_set():
            if not any(thread.is_alive() for thread in threads):
                done.set()
            for batch in reader.drain():
                numbers = np.ascontiguousarray(batch.data[:, :8]).view(np.uint64).ravel()
                np.testing.assert_array_equal(np.asarray(batch.lengths), 8 + (numbers & np.uint64(31)))
                seen += np.bincount(numbers.astype(np.int64), minlength=1000)
    finally:
        for thread in threads:
            thread.join()
        reader.close()
    assert int(seen.sum()) + counted(loaded)[1] == 200_000


def test_drain_takes_about_the_limit(loaded: LocalObject) -> None:
    reader = RingReader(loaded.maps["ring"].fd, RING)
    try:
        produce(loaded, 1000)
        assert reader.fill() == 1000 * (EVENT + 8) / RING
        assert sum(map(len, reader.drain(limit=100 * (EVENT + 8)))) == 100
        assert sum(map(len, reader.drain(limit=1))) == 1
        assert sum(map(len, reader.drain())) == 899
        assert reader.fill() == 0
    finally:
        reader.close()


@pytest.mark.parametrize("compiled", [True, False])
def test_many_records_become_columns_at_once(
    elf: BpfElf, loaded: LocalObject, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    """Straight from the ring where a compiler is at hand, through a copy where none is: the same rows."""
    if not compiled:
        monkeypatch.setattr(ringbuf, "library", lambda: None)
    with opened(elf, loaded, "ring", "event") as stream:
        stream.drain()
        plan = [(3000, 0), (2000, 0), (2500, 2), (3000, 0), (900, 0), (3600, 0)]
        for count, mode in plan:
            produce(loaded, count, mode)
            stream.drain()
        df = stream.frame(raw=True)
    every = np.arange(sum(count for count, _ in plan), dtype=np.uint64)
    thirds = (every >= 5000) & (every < 7500) & (every % 3 == 0)
    kept = every[~thirds]
    np.testing.assert_array_equal(df["seq"], kept)
    np.testing.assert_array_equal(df["pid"], kept * 3)
    np.testing.assert_array_equal(df["small"], -kept.astype(np.int32))
    np.testing.assert_array_equal(df["a"], kept << np.uint64(40))
    assert df["comm"].tolist() == [chr(97 + n % 26) for n in kept.tolist()]
    assert (df["ts"].diff()[1:] >= 0).all()
    assert counted(loaded)[1] == 0


def test_writing_into_a_frame_leaves_the_stream_alone(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "ring", "event") as stream:
        stream.drain()
        for batches in (1, 2, 3):
            produce(loaded, 3000)
            df = stream.frame(raw=True)
            np.testing.assert_array_equal(df["seq"], np.arange(3000 * batches))
            kept = [batch.columns for lanes in stream._store._lanes.values() for batch in lanes]
            assert not any(
                np.shares_memory(df[name].to_numpy(), columns[name])
                for columns in kept
                for name in ("ts", "seq", "pid", "small", "a", "b", "c")
            )
            for name in df.columns:
                df.iloc[:, df.columns.get_loc(name)] = df[name].iloc[0]


def test_columns_stay_when_the_ring_moves_on(elf: BpfElf, loaded: LocalObject) -> None:
    reader = RingReader(loaded.maps["ring"].fd, RING)
    try:
        produce(loaded, 3000)
        assert reader.columns(EVENT, [(8, 8)], least=3001) == (0, [])
        got, (seq, pid) = reader.columns(EVENT, [(8, 8), (16, 4)], least=3000)
        assert (got, reader.fill()) == (3000, 0)
        produce(loaded, 3000)
        assert reader.columns(EVENT - 8, [(8, 8)])[0] == 0
        assert reader.columns(EVENT, [])[0] == 3000
        np.testing.assert_array_equal(seq.view(np.uint64), np.arange(3000))
        np.testing.assert_array_equal(pid.view(np.uint32), np.arange(3000) * 3)
    finally:
        reader.close()


# Perf buffers


def test_perf_buffers_merge_by_time(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "perf", "event") as stream:
        stream.drain()
        for _ in range(3):
            for cpu in online_cpus():
                produce_perf(loaded, cpu)
        df = stream.df
        assert len(df) == 1500 * len(online_cpus())
        assert list(df.columns) == ["ts", "seq", "pid", "small", "comm", "a", "b", "c"]
        np.testing.assert_array_equal(df["seq"], np.arange(len(df)))
        assert set(df["pid"]) == set(online_cpus())
        assert df.attrs["bpfnb"]["complete"]


def test_a_perf_reader_that_stalls_counts_every_loss(elf: BpfElf, loaded: LocalObject) -> None:
    with opened(elf, loaded, "perf", "event") as stream:
        cpu = online_cpus()[0]
        produce_perf(loaded, cpu, 20)
        rows = len(stream.df)
        assert 0 < rows < 10_000
        assert stream.lost == 10_000 - rows
        df = stream.df
        assert (df.attrs["bpfnb"]["lost_by"], df.attrs["bpfnb"]["complete"]) == (
            {"buffer": 10_000 - rows},
            False,
        )
        np.testing.assert_array_equal(df["seq"], np.arange(rows))
        for _ in range(30):  # around the buffer several times
            produce_perf(loaded, cpu, 2)
            assert stream.drain() == 1000
        assert stream.total == rows + 30_000
        assert stream.lost == 10_000 - rows


# Waiting, callbacks, the end


def test_waiting(elf: BpfElf, loaded: LocalObject) -> None:
    async def main(stream: Stream) -> tuple[bool, bool, int]:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, produce, loaded, 100)
        early = await stream.wait(rows=100, timeout=10)
        late = await stream.wait(rows=1_000_000, timeout=0.05)
        sizes: list[int] = []
        loop.call_later(0.05, produce, loaded, 10)
        async for batch in stream:
            assert batch["seq"].iloc[0] == 100 + sum(sizes)
            sizes.append(len(batch))
            if sum(sizes) >= 10:  # in one piece, unless the reader came while they were made
                break
        return early, late, sum(sizes)

    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        assert asyncio.run(main(stream)) == (True, False, 10)


def test_callbacks_get_every_row_once_and_may_fail(
    elf: BpfElf, loaded: LocalObject, capsys: pytest.CaptureFixture[str]
) -> None:
    got: list[pd.DataFrame] = []
    enough, failed = threading.Event(), threading.Event()
    traits: list[int] = []

    def good(batch: pd.DataFrame) -> None:
        got.append(batch)
        if sum(map(len, got)) >= 5000:
            enough.set()

    def bad(batch: pd.DataFrame) -> None:
        if len(stream.errors) == 1:
            failed.set()  # the second time
        raise RuntimeError("broken callback")

    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        end = stream.on(good)
        stream.on(bad)
        stream.observe(lambda change: traits.append(change["new"]), "total")
        for _ in range(5):
            produce(loaded, 1000)
            assert stream.drain() >= 0
        assert enough.wait(20)
        produce(loaded, 1)
        assert failed.wait(20)
        end()
        delivered = sum(map(len, got))
        produce(loaded, 1000)
        assert len(stream.df) == 6001
    assert sum(map(len, got)) == delivered
    check(pd.concat(got, ignore_index=True), 0, delivered)
    assert {str(error) for error in stream.errors} == {"broken callback"}
    assert capsys.readouterr().err.count("RuntimeError: broken callback") == 1
    assert traits == sorted(traits)


def test_data_outlives_the_object(elf: BpfElf) -> None:
    loaded = LocalBackend().load(elf.data, LoadSettings("streams"))
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        produce(loaded, 300)
        stream.close()
        loaded.close()
        check(stream.df, 0, 300)
        assert stream.closed
        assert stream.wait_for(rows=301, timeout=5) is False
        table = pa.table(stream)
        assert table.num_rows == 300
        assert b"bpfnb" in table.schema.metadata


def test_a_forked_child_reads_what_was_there_and_leaves_the_buffer_alone(
    elf: BpfElf, loaded: LocalObject
) -> None:
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        produce(loaded, 10)
        assert len(stream.df) == 10
        produce(loaded, 5)
        assert stream.wait_for(rows=15, timeout=10)
        child = os.fork()
        if not child:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if len(stream.df) == 15 and stream.closed else 2
            os._exit(code)
        produce(loaded, 5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        check(stream.df, 0, 20)


def test_a_pump_that_has_become_quiet_is_woken(
    elf: BpfElf, loaded: LocalObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a record, by a buffer that does not wake (it is looked at often again), and by the end of all streams."""
    monkeypatch.setattr(pump, "QUIET", 600)
    monkeypatch.setattr(pump, "_SILENCE", -1)
    monkeypatch.setattr(pump, "_pump", own := pump._Pump())
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        for rows in (5, 10, 15):
            produce(loaded, 5)
            assert stream.wait_for(rows=rows, timeout=30)
        with opened(elf, loaded, "perf", "event", pumped=True) as perf:
            produce_perf(loaded, 0)
            assert perf.wait_for(rows=5, timeout=30)
        thread = own._thread
        assert thread is not None
    thread.join(30)
    assert not thread.is_alive()


def test_an_error_while_draining_stops_that_stream_only(elf: BpfElf, loaded: LocalObject) -> None:
    class Broken:
        def __init__(self) -> None:
            self.reader = loaded.reader("tails")

        def drain(self, limit: int | None = None) -> list:
            raise OSError(5, "broken reader")

        def __getattr__(self, name: str) -> object:
            return getattr(self.reader, name)

    broken = Stream("tails", Broken(), [])
    with opened(elf, loaded, "ring", "event", pumped=True) as stream:
        pump.add(broken)
        produce(loaded, 10)
        assert stream.wait_for(rows=10, timeout=10)
        deadline = time.monotonic() + 10
        while not broken.errors and time.monotonic() < deadline:
            stream.wait_for(timeout=0.02)
        assert [str(error) for error in broken.errors] == ["[Errno 5] broken reader"]
        produce(loaded, 10)
        assert stream.wait_for(rows=20, timeout=10)
    broken._reader.reader.close()
