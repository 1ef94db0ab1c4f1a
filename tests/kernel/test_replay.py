"""Recorded on the live kernel, replayed as an ordinary user without it: every frame is what it was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import random
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nobody
import pandas as pd
import pytest
from looking import STREAMS, looked

import bpfnb
from bpfnb.errors import BpfnbError, MapError, ObjectClosed, UnknownName
from bpfnb.recording.replay import ReplayedObject

CELL = r"""
enum rp_state { RP_IDLE, RP_BUSY, RP_GONE = 7 };
struct rp_event {
    ktime_ns_t ts; pid_t pid; ipv4_t from; ip_t to; port_be_t port; errno_t err; enum rp_state state;
    u32 low : 3; s32 high : 5; bool odd; char comm[16]; u8 blob[6]; mac_t mac; syscall_t call; signal_t sig;
    union { u32 number; u16 half; } either;
    struct { s64 x; u64 y; } at; u64 ips[3] FORMAT(stack); u64 many[70]; stack_id_t stack; ktime_ns_t never; u64 secret HIDDEN;
};
struct rp_begin { ktime_ns_t ts; u32 pid; };
struct rp_end { ktime_ns_t ts; u32 pid; u64 took; char why[8]; };
struct rp_args { u64 n; char args[]; };
struct rp_value { u64 count; ktime_ns_t last; enum rp_state state; char name[8]; };
#define RING(name, size) struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, size); } name SEC(".maps")
#define MAP(kind, name, K, V, N) \
    struct { __uint(type, BPF_MAP_TYPE_##kind); __type(key, K); __type(value, V); __uint(max_entries, N); } name SEC(".maps")
RING(events, 1 << 20);
RING(mixed, 1 << 18);
RING(texts, 1 << 18);
RING(tiny, 4096);
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
MAP(HASH, structs, u32, struct rp_value, 64);
MAP(ARRAY, slots, u32, u64, 8) VIEW(hist, log2, ns);
MAP(PERCPU_HASH, counts, u32, u64, 16);
MAP(PERCPU_ARRAY, each, u32, struct rp_value, 2);
MAP(LRU_HASH, recent, u64, s32, 64);
MAP(HASH, emptied, u32, u32, 4);
MAP(HASH, full, u32, u32, 2);
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __type(value, u32); __uint(max_entries, 64); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __type(value, u32); __uint(max_entries, 100); } bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8);
         __uint(max_entries, 64); } stacks SEC(".maps");
struct rp_inner { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64);
               __uint(max_entries, 8); } inner_a SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __type(key, u32); __uint(max_entries, 1);
         __array(values, struct rp_inner); } outer SEC(".maps") = { .values = { &inner_a } };
const volatile u32 wanted = 0;
const volatile char words[16] = "recorded";
u64 hits = 0;
u32 limit UNIT(us) = 50;
struct rp_begin last;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u64 n = hits, one = 1, *sum;
    u32 key = n % 5, word = n;
    struct rp_value value = { .count = n, .last = bpf_ktime_get_ns(), .state = n % 8, .name = "value" }, *slot;
    struct rp_event *e;
    struct rp_args *t;
    if ((u32)bpf_get_current_pid_tgid() != wanted)
        return 0;
    hits += 1;
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (e) {
        __builtin_memset(e, 0, sizeof(*e));
        e->ts = bpf_ktime_get_ns(); e->pid = bpf_get_current_pid_tgid() >> 32; e->from = 0x0100007f + (word << 24);
        if (n & 1) { e->to[10] = e->to[11] = 0xff; e->to[12] = 10; e->to[15] = word; } else { e->to[0] = 0x20; e->to[15] = word; }
        e->port = bpf_htons(8000 + word); e->err = n % 3 ? -(s32)(word % 40) : word; e->state = n % 9; e->low = word; e->high = word;
        e->odd = n & 1; bpf_get_current_comm(e->comm, sizeof(e->comm)); e->blob[5] = word; e->mac[0] = word; e->call = word % 470;
        e->sig = word % 70; e->either.number = word << 8; e->at.x = -(s64)n; e->at.y = ~n; e->ips[0] = (u64)ctx; e->many[69] = n;
        e->stack = bpf_get_stackid(ctx, &stacks, 0); e->secret = n * n;
        last.ts = e->ts; last.pid = e->pid;
        bpf_ringbuf_submit(e, 0);
    }
    if (n % 3) {
        struct rp_begin b = { .ts = bpf_ktime_get_ns(), .pid = word };
        bpf_ringbuf_output(&mixed, &b, sizeof(b), 0);
    } else {
        struct rp_end d = { .ts = bpf_ktime_get_ns(), .pid = word, .took = n, .why = "done" };
        bpf_ringbuf_output(&mixed, &d, sizeof(d), 0);
    }
    struct { struct rp_args head; char text[24]; } line = { .head.n = n, .text = "ls\0-l\0/tmp" };
    bpf_ringbuf_output(&texts, &line, sizeof(line.head) + (n % 4) * 4, 0);
    bpf_ringbuf_output(&tiny, &value, sizeof(value), BPF_RB_NO_WAKEUP);
    struct rp_end sent = { .ts = bpf_ktime_get_ns(), .pid = word, .took = n };
    bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &sent, sizeof(sent));
    bpf_map_update_elem(&structs, &key, &value, BPF_ANY);
    if ((sum = bpf_map_lookup_elem(&slots, &key))) *sum += n;
    if ((sum = bpf_map_lookup_elem(&counts, &key))) *sum += 1; else bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
    key &= 1;
    if ((slot = bpf_map_lookup_elem(&each, &key))) *slot = value;
    bpf_map_update_elem(&recent, &n, &word, BPF_ANY);
    bpf_map_update_elem(&full, &word, &word, BPF_ANY);
    bpf_map_push_elem(&queue, &word, 0);
    bpf_map_push_elem(&bloom, &word, 0);
    return 0;
}
"""
CALLS = 300


@pytest.fixture
def home() -> Iterator[Path]:
    with nobody.folder() as path:
        yield path


@pytest.fixture(scope="module")
def live() -> Iterator[Any]:
    """What the live object held at its end, and its recording, which everybody may read."""
    with nobody.folder() as path:
        yield recorded(path / "io.bpfnb")


def recorded(path: Path) -> dict[str, Any]:
    io = bpfnb.load(CELL, name="io", globals={"wanted": threading.get_native_id()})
    began = time.time()
    with bpfnb.record(io, path, include=("*",), flush=0.2):
        io.emptied[1] = 1
        for n in range(CALLS):
            if n == CALLS // 2:
                io.events.wait_for(n)
                time.sleep(0.5)  # two moments for the replays that take their time
            os.getppid()
        io.vars.limit = 70
        io.events.wait_for(CALLS)
        del io.emptied[1]
        io.stop()
        found = looked(io)
    io.close()
    return {"path": path, "found": found, "began": began, "ended": time.time()}


def same(ours: Any, theirs: Any, where: Any) -> None:
    if isinstance(ours, pd.DataFrame):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True, obj=str(where))
        assert ours.equals(theirs) or where[1] == "arrow", where
    elif isinstance(ours, dict) and "window" in ours.get("bpfnb", {}):
        ours, theirs = ({**each["bpfnb"], **each, "bpfnb": 0} for each in (ours, theirs))
        if where[0] in STREAMS:
            assert ours["window"] == theirs["window"], where
        assert {**ours, "window": 0} == {**theirs, "window": 0}, where
    elif isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other, where)
    else:
        assert repr(ours) == repr(theirs), where


def test_every_frame_is_what_it_was_to_somebody_who_may_do_nothing(live: Any, home: Path) -> None:
    code = f"""
import pickle, sys
sys.path.append({str(Path(__file__).parent)!r})
import bpfnb
from looking import looked
io = bpfnb.replay(sys.argv[1])
with open("found", "wb") as file:
    pickle.dump(looked(io), file)
print(io)
print(io.state, io.status, repr(io.events), repr(io.structs))
"""
    text = nobody.run(code, str(live["path"]), home=home)
    found = pickle.loads((home / "found").read_bytes())
    assert found.keys() == live["found"].keys()
    for where, ours in live["found"].items():
        same(ours, found[where], where)
    events, attrs = found["events", "df"]
    assert len(events) == CALLS
    assert attrs["bpfnb"]["complete"]
    assert attrs["bpfnb"]["object"] == "io"
    assert events["never"].isna().all()
    assert events["err"].isin(["ENOENT"]).any()
    assert set(found["mixed", "df"][0]["type"]) == {"rp_begin", "rp_end"}
    assert found["tiny", "df"][1]["bpfnb"]["lost"] > 0, "a ring of a page was too small"
    assert found["full", "fill"][1] == CALLS - 2, "updates that found no room"
    assert found["vars"]["limit"] == 70
    assert "recorded 2" in text
    assert f"on kernel {os.uname().release}" in text
    assert "live" not in text
    assert "attached replayed" in text
    assert "do_syscall_64_[k]" in found["flames"], "named while it was recorded"
    assert "0xffff" not in found["flames"]


def test_a_replay_beside_the_live_object_has_a_name_of_its_own(live: Any) -> None:
    with bpfnb.replay(live["path"]) as one, bpfnb.load(CELL, name="two", attach=False) as two:
        again = bpfnb.replay(live["path"])
        assert again.name == "io"
        assert one.state == "closed", "replaying the same file again takes its place"
        third = bpfnb.replay(live["path"], name="third")
        assert bpfnb.objects == {"io": again, "two": two, "third": third}
        pd.testing.assert_frame_equal(again.events.df, third.events.df)
        again.close()
        third.close()
        with pytest.raises(UnknownName, match="has io, but no 'other'"):
            bpfnb.replay(live["path"], object="other")


def test_programs_of_this_kernel_are_listed_beside_a_replay(live: Any) -> None:
    with bpfnb.replay(live["path"]) as replayed, bpfnb.tools.bpftop() as seen:
        listed = set(seen.df["object"].dropna())
    assert seen.object.name in listed
    assert replayed.name not in listed


def test_what_a_recording_cannot_do_says_so(live: Any) -> None:
    with bpfnb.replay(live["path"]) as io:
        assert isinstance(io, ReplayedObject)
        with pytest.raises(MapError, match="'slots' is recorded: it cannot be written"):
            io.slots[1] = 5
        with pytest.raises(BpfnbError, match="recorded, and nothing can be taken out of 'queue'"):
            io.queue.pop()
        with pytest.raises(MapError, match="'bloom' is a bloom_filter, whose entries were not recorded"):
            5 in io.bloom  # noqa: B015
        with pytest.raises(BpfnbError, match=r"the entries of the inner map \d+ are not known"):
            io.outer.inner(0)
        with pytest.raises(BpfnbError, match="recorded, and 'count' cannot be run"):
            io.programs["count"].test_run()
        io.vars.limit = 5
        assert io.vars.limit == 5, "kept here"
        assert io.vars.hits == CALLS
        io.pause()
        io.resume()
        io.detach()
        io.attach()
        assert len(io.events.df) == CALLS
        stats = io.stats()
        assert list(stats.index) == ["count"]
    assert len(io.events.df) == CALLS, "streams keep their rows"
    with pytest.raises(ObjectClosed):
        io.slots.df  # noqa: B018


def test_at_its_own_speed_rows_come_as_they_came(live: Any) -> None:
    io = bpfnb.replay(live["path"], speed=0.25)
    assert isinstance(io, ReplayedObject)
    seen: list[int] = []
    io.events.on(lambda rows: seen.append(len(rows)))
    assert io.status == "replaying"
    assert io.events.total < CALLS
    assert io.events.wait_for(1, timeout=20)
    assert io.events.total < CALLS, "the second half arrived half a second later: here two"
    early = io.structs.df["count"].max() if len(io.structs) else 0
    io.pause()
    at = io.replay.position
    assert (io.state, io.status) == ("paused", "paused")
    total = io.events.total
    assert not io.replay.wait_for(0.3)
    assert (io.replay.position, io.events.total) == (at, total), "it stands"
    io.resume()

    async def ends() -> bool:
        return await io.replay

    assert asyncio.run(ends())
    assert io.events.wait_for(CALLS, timeout=20)
    assert io.replay.ended
    assert io.status == "replayed"
    assert "the end of the recording" in io.note
    assert io.structs.df["count"].max() == CALLS - 1 > early
    assert len(io.emptied.df) == 0
    same(live["found"]["mixed", "df"], (io.mixed.df, io.mixed.df.attrs), ("mixed", "df"))
    io.close()
    assert sum(seen) <= CALLS


def test_stopped_on_its_way_it_keeps_what_has_come(live: Any) -> None:
    io = bpfnb.replay(live["path"], speed=0.1)
    assert io.events.wait_for(1, timeout=20)
    io.stop()
    total = io.events.total
    assert 0 < total < CALLS
    assert len(io.events.df) == total
    assert (io.state, io.status) == ("stopped", "stopped")
    assert not io.replay.ended
    io.close()


def test_who_asks_for_rows_after_they_came_gets_them(live: Any) -> None:
    with bpfnb.replay(live["path"]) as io:
        seen: list[pd.DataFrame] = []
        io.events.on(seen.append)
        assert [len(rows) for rows in seen] == [CALLS]

        async def all_of() -> list[int]:
            assert await io.events.wait()
            return [len(rows) async for rows in io.events]

        assert asyncio.run(all_of()) == [CALLS]
        assert not io.events.wait_for(CALLS + 1, timeout=60), "no more will come"


LIES = (
    None,
    0,
    -1,
    7,
    1 << 31,
    1 << 40,
    "",
    "hash",
    "percpu_hash",
    "stack_trace",
    "ringbuf",
    [],
    {},
    [[]],
    True,
    -1e18,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all members of what JSON holds."""
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in members:
        yield (*path, key)
        yield from places(inner, (*path, key))


def test_a_manifest_or_types_that_lie_are_refused_or_make_sense(live: Any, home: Path) -> None:
    with zipfile.ZipFile(live["path"]) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    manifest = json.loads(entries["manifest.json"])
    known = list(places(manifest["objects"], ("objects",)))
    chosen = random.Random(11)
    refused = 0
    for _ in range(60):
        lying, types = json.loads(entries["manifest.json"]), bytearray(entries["objects/io/types.btf"])
        *path, last = chosen.choice(known)
        inner = lying
        for key in path:
            inner = inner[key]
        inner[last] = chosen.choice(LIES)
        if chosen.random() < 0.3:
            types[chosen.randrange(24, len(types))] = chosen.randrange(256)
        wrong = home / "wrong.bpfnb"
        with zipfile.ZipFile(wrong, "w") as file:
            changed = {"manifest.json": json.dumps(lying).encode(), "objects/io/types.btf": bytes(types)}
            for name, data in (entries | changed).items():
                file.writestr(name, data)
        try:
            with bpfnb.replay(wrong, object="io") as io:
                assert isinstance(repr(io), str)
                for stream in io.streams.values():
                    assert len(stream.df) == len(stream.frame(raw=True))
                for frame in io.maps.values():
                    with contextlib.suppress(MapError):  # entries that were not recorded
                        assert len(frame.df) == len(frame)
        except BpfnbError:
            refused += 1
    assert 0 < refused < 60
