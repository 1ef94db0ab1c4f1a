"""What programs in bcc's dialect lose is counted: with what arrived it adds up to what was sent."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import bpfnb
import bpfnb.bcc
from bpfnb import frames
from bpfnb.bcc import hook
from bpfnb.errors import CompileError, VerifierError
from bpfnb.frames import MapFrame, Stream, completeness, pump
from bpfnb.views.objectpanel.facts import facts

pytestmark = pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning")  # bcc's, of itself

CALLS = 600
RING = 4096 - 1  # bytes that one page takes; each record has 8 more for its header
SENT = "struct data { u64 number; u64 more[3]; };"
PROBE = """
BPF_ARRAY(calls, u64, 1);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if ((u32)bpf_get_current_pid_tgid() != MY_TID) return 0;
    int zero = 0;
    u64 *call = calls.lookup(&zero);
    if (!call) return 0;
    u64 number = (*call)++;
    BODY
    return 0;
}
"""


@pytest.fixture(autouse=True)
def bcc(bcc_installed: None) -> Iterator[None]:
    yield
    bpfnb.bcc.disable()


def compiled(declarations: str, body: str) -> Any:
    """A program whose *body* runs at each getppid() of this thread, with ``number`` from 0 on."""
    text = SENT + declarations + PROBE.replace("BODY", body)
    return bpfnb.bcc.compile(text, cflags=[f"-DMY_TID={threading.get_native_id()}"])


def call(times: int = CALLS) -> None:
    getppid = ctypes.CDLL(None).getppid
    for _ in range(times):
        getppid()


def stream_of(program: Any, name: str = "events") -> Stream:
    stream = frames.of(program[name])
    assert isinstance(stream, Stream)
    stream.drain()
    return stream


def numbers(stream: Stream) -> list[int]:
    """The first field of each record; one that is no struct is bytes."""
    first = stream.df.iloc[:, 0]
    return [int.from_bytes(one, "little") if isinstance(one, bytes) else int(one) for one in first]


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ("struct data d = { number }; events.ringbuf_output(&d, sizeof(d), 0);", 32),
        (
            "struct data *d = events.ringbuf_reserve(sizeof(struct data)); if (!d) return 0;"
            "d->number = number; events.ringbuf_submit(d, 0);",
            32,
        ),
        ("u64 d = number; if (events.ringbuf_output(&d, sizeof(d), 0)) return 0;", 8),
    ],
)
def test_a_ring_that_overflows_counts_what_it_lost(body: str, size: int) -> None:
    program = compiled("BPF_RINGBUF_OUTPUT(events, 1);", body)
    call()
    stream = stream_of(program)
    kept = RING // (size + 8)
    frame = stream.df
    assert numbers(stream) == list(range(kept))
    assert stream.lost_by() == {"program": CALLS - kept, "buffer": 0}
    assert frame.attrs["bpfnb"]["lost"] == CALLS - kept
    assert not frame.attrs["bpfnb"]["complete"]
    stream.close()
    program.cleanup()


def test_each_ring_has_a_counter_of_its_own_whatever_stands_between_them() -> None:
    program = compiled(
        'BPF_RINGBUF_OUTPUT(a, 1); BPF_HASH(h, u32, u64); BPF_TABLE("array", int, u64, between, 2);'
        "BPF_RINGBUF_OUTPUT(b, 2); BPF_PERF_OUTPUT(p); BPF_RINGBUF_OUTPUT(c, 64); BPF_QUEUE(q, u64, 4);",
        "a.ringbuf_output(&number, sizeof(number), 0); b.ringbuf_output(&number, sizeof(number), 0);"
        "c.ringbuf_output(&number, sizeof(number), 0); p.perf_submit(args, &number, sizeof(number));",
    )
    call()
    lost = {name: stream_of(program, name).lost for name in "abc"}
    assert lost == {"a": CALLS - 255, "b": CALLS - 511, "c": 0}
    assert stream_of(program, "c").df.attrs["bpfnb"]["complete"]
    program.cleanup()


def test_calls_in_every_shape_are_counted_once() -> None:
    """In conditions, over several lines, with nested parentheses and commas, behind comments and strings."""
    program = compiled(
        """
#define SIZE(x) (sizeof(x))
// events.ringbuf_output(nothing, 0, 0) in a comment
static inline int helper(u64 *number) {
    return events.ringbuf_output(number, SIZE(*number), (0));
}
""".replace("static", "BPF_RINGBUF_OUTPUT(events, 1);\nstatic", 1),
        r"""
    /* events.ringbuf_output( */ char text[] = "events.ringbuf_output(";
    u64 more = text[0];
    if (events.ringbuf_output(&number, sizeof(number), 0) < 0)
        more++;
    events
        .ringbuf_output(
            ({ &number; }),
            ((sizeof(number))), /* ) */
            BPF_RB_NO_WAKEUP
        );
    for (int i = 0; i < 2; i++) events.ringbuf_output(&number, sizeof(number), i ? 0 : BPF_RB_FORCE_WAKEUP);
    helper(&number);
    u64 *reserved;
    if ((reserved = events.ringbuf_reserve(sizeof(u64)))) { *reserved = more; events.ringbuf_submit(reserved, 0); }
    u64 *dropped = events.ringbuf_reserve(sizeof(u64));
    if (dropped) events.ringbuf_discard(dropped, 0);
""",
    )
    assert hook.counts(program)
    call()
    stream = stream_of(program)
    counted = stream.lost
    rows = len(stream.df)
    dropped = RING // 16 - rows  # took their place in the ring and were no records
    assert dropped > 0
    assert rows + dropped + counted == 7 * CALLS
    program.cleanup()


def test_a_ring_that_is_read_meanwhile_adds_up_too() -> None:
    program = compiled("BPF_RINGBUF_OUTPUT(events, 1);", "events.ringbuf_output(&number, sizeof(number), 0);")
    stream = stream_of(program)
    times = 40_000
    call(times)
    stream.drain()
    assert len(stream.df) + stream.lost == times
    assert numbers(stream) == sorted(set(numbers(stream)))
    stream.close()
    program.cleanup()


def test_a_perf_buffer_adds_up_by_the_kernels_own_count() -> None:
    program = compiled(
        "BPF_PERF_OUTPUT(events);", "struct data d = { number }; events.perf_submit(args, &d, sizeof(d));"
    )
    stream = stream_of(program)
    pump.remove(stream)  # nobody reads while the program runs
    times = 20_000
    call(times)
    stream.drain()
    assert stream.lost_by()["buffer"] == times - len(stream.df) > 0
    assert stream.lost_by()["program"] == 0
    stream.close()
    program.cleanup()


def test_what_was_sent_before_a_perf_buffer_had_a_reader_is_not_of_its_time() -> None:
    program = compiled("BPF_PERF_OUTPUT(events);", "events.perf_submit(args, &number, sizeof(number));")
    call(7)
    stream = stream_of(program)
    call(5)
    stream.drain()
    assert numbers(stream) == list(range(7, 12))
    assert stream.lost == 0
    stream.close()
    program.cleanup()


def test_a_submission_that_fails_for_another_reason_is_counted() -> None:
    """The kernel takes no record of more than 64 KiB; bpf_perf_event_output then answers -E2BIG."""
    program = compiled(
        "BPF_PERF_OUTPUT(events); struct page { char data[32768]; }; BPF_ARRAY(pages, struct page, 4);",
        "struct page *p = pages.lookup(&zero); if (!p) return 0;"
        "events.perf_submit(args, p, number % 2 ? 65536 / 2 : 16);",
    )
    stream = stream_of(program)
    pump.remove(stream)
    times = 40
    call(times)
    stream.drain()
    assert len(stream.df) + stream.lost == times
    stream.close()
    program.cleanup()


@pytest.mark.parametrize(
    "update",
    [
        "h.increment(key);",
        "h.atomic_increment(key, 2);",
        "h.update(&key, &number);",
        "h.insert(&key, &number);",
        "u64 *found = h.lookup_or_try_init(&key, &number); if (found) (*found)++;",
        "h.lookup_or_init(&key, &number);",
    ],
)
@pytest.mark.parametrize("table", ["BPF_HASH(h, u32, u64, 16);", 'BPF_TABLE("hash", u32, u64, h, 16);'])
def test_updates_that_found_a_map_full(table: str, update: str) -> None:
    program = compiled(table, f"u32 key = number % 100; {update}")
    call(300)
    frame = frames.of(program["h"])
    assert isinstance(frame, MapFrame)
    held = set(frame.df["key"])
    assert len(held) == 16
    missed = sum(number % 100 not in held for number in range(300))
    assert missed == frame.lost == 300 - 16 * 3
    attrs = frame.df.attrs["bpfnb"]
    assert attrs["lost_by"] == {"full": missed}
    assert not attrs["complete"]
    program.cleanup()


def test_maps_of_other_kinds_that_are_full_or_cannot_be() -> None:
    program = compiled(
        'BPF_QUEUE(q, u64, 3); BPF_STACK(s, u64, 5); BPF_F_TABLE("hash", u32, u64, n, 4, BPF_F_NO_PREALLOC);'
        'BPF_TABLE("lru_hash", u32, u64, l, 8); BPF_PERCPU_HASH(p, u32, u64, 6); BPF_ARRAY(a, u64, 2);',
        "u32 key = number; int index = number; q.push(&number, 0); s.push(&number, 0);"
        "n.update(&key, &number); l.update(&key, &number); p.update(&key, &number); a.update(&index, &number);",
    )
    call(50)
    found = {name: frames.of(program[name]).lost for name in "qsnpla"}
    assert found == {"q": 47, "s": 45, "n": 46, "p": 44, "l": 0, "a": 48}
    program.cleanup()


def test_an_update_of_a_key_that_is_there_or_must_not_be_is_no_loss() -> None:
    program = compiled(
        "BPF_HASH(h, u32, u64, 1);", "u32 key = 4; h.insert(&key, &number); h.update(&key, &number);"
    )
    call(9)
    frame = frames.of(program["h"])
    assert frame.lost == 0
    assert frame.df.attrs["bpfnb"]["complete"]
    assert frame.df["value"].tolist() == [8]
    program.cleanup()


@pytest.mark.parametrize(
    ("declaration", "body"),
    [
        ("", "bpf_map_update_elem(other, &key, &number, 0);"),  # any map, of which the macros know nothing
        ("enum { __bpfnb_lost_events };", ""),  # does not compile with the counters
    ],
)
def test_a_program_that_cannot_be_counted_runs_and_says_so(declaration: str, body: str) -> None:
    program = compiled(
        'BPF_TABLE("hash", u32, u64, inner, 4); BPF_HASH_OF_MAPS(outer, u32, "inner", 2);'
        f"BPF_RINGBUF_OUTPUT(events, 1); {declaration}",
        f"u32 key = 1; void *other = outer.lookup(&key); if (other) {{ {body} }}"
        "inner.update(&key, &number); events.ringbuf_output(&number, sizeof(number), 0);",
    )
    assert not hook.counts(program)
    call()
    stream = stream_of(program)
    attrs = stream.df.attrs["bpfnb"]
    assert len(stream.df) == RING // 16
    assert attrs["lost"] == 0
    assert attrs["uncounted"] == ["program"]
    assert not attrs["complete"]
    assert "losses not counted (program)" in completeness.line(attrs)
    assert frames.of(program["inner"]).df.attrs["bpfnb"]["uncounted"] == ["full"]
    assert frames.of(program["calls"]).df.attrs["bpfnb"]["complete"]  # an array is never full
    program.cleanup()


def test_what_else_does_not_compile_takes_no_counters_away() -> None:
    """bpfnb asks clang to keep the structs of records: one that the preprocessor leaves out cannot be."""
    program = compiled(
        "\n#ifdef NEVER\nstruct never { int a; };\n#endif\nBPF_RINGBUF_OUTPUT(events, 1);",
        "events.ringbuf_output(&number, sizeof(number), 0);",
    )
    assert hook.counts(program)
    call()
    assert stream_of(program).lost == CALLS - RING // 16
    program.cleanup()


def test_counters_can_be_left_out() -> None:
    bpfnb.bcc.enable(count_losses=False)
    program = compiled("BPF_RINGBUF_OUTPUT(events, 1);", "events.ringbuf_output(&number, sizeof(number), 0);")
    call(3)
    assert stream_of(program).df.attrs["bpfnb"]["uncounted"] == ["program"]
    with pytest.raises(KeyError):
        program["__bpfnb_lost_events"]
    program.cleanup()


def test_errors_stand_at_the_users_lines_and_show_the_users_text() -> None:
    text = """
BPF_RINGBUF_OUTPUT(events, 1);
BPF_HASH(h, u32, u64);
int f(void *ctx) {
    u32 key = 1;
    h.increment(key);
    events.ringbuf_output(&key, sizeof(key), nothing);
    return 0;
}
"""
    with pytest.raises(CompileError) as refused:
        bpfnb.bcc.compile(text)
    assert refused.value.where is not None
    assert refused.value.where.line == 7
    assert "events.ringbuf_output(&key, sizeof(key), nothing);" in refused.value.render()
    assert "__bpfnb" not in refused.value.render()


def test_the_verifiers_errors_stand_at_the_users_lines() -> None:
    text = """
BPF_RINGBUF_OUTPUT(events, 1);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    u64 *one = events.ringbuf_reserve(8);
    *one = 5;
    events.ringbuf_submit(one, 0);
    return 0;
}
"""
    with pytest.raises(VerifierError) as refused:
        bpfnb.bcc.compile(text)
    assert refused.value.where is not None
    assert refused.value.where.line in (4, 5)
    assert "__bpfnb" not in refused.value.render()


def test_counting_warns_of_nothing() -> None:
    program = compiled(
        "BPF_RINGBUF_OUTPUT(events, 1); BPF_HASH(h); BPF_QUEUE(q, u64, 2); BPF_PERF_OUTPUT(p);",
        "h.increment(number); q.push(&number, 0); events.ringbuf_output(&number, 8, 0);"
        "p.perf_submit(args, &number, 8);",
    )
    assert bpfnb.bcc.diagnostics(program) == ()
    program.cleanup()


def test_losses_on_several_cpus_at_once_add_up() -> None:
    """Two threads send, without Python's lock between them: ctypes lets go of it during each call."""
    text = """
BPF_RINGBUF_OUTPUT(events, 1);
BPF_HASH(h, u32, u64, 8);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if (bpf_get_current_pid_tgid() >> 32 != MY_PID) return 0;
    u32 key = bpf_get_prandom_u32();
    u64 one = 1;
    h.insert(&key, &one);
    events.ringbuf_output(&key, sizeof(key), 0);
    return 0;
}
"""
    program = bpfnb.bcc.compile(text, cflags=[f"-DMY_PID={os.getpid()}"])
    threads = [threading.Thread(target=call, args=(5_000,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stream = stream_of(program)
    assert len(stream.df) == RING // 16
    assert stream.lost == 10_000 - RING // 16
    assert len(frames.of(program["h"]).df) + frames.of(program["h"]).lost == 10_000
    program.cleanup()


def test_objects_made_of_cells_count_as_well() -> None:
    text = SENT + "BPF_RINGBUF_OUTPUT(events, 1); BPF_HASH(h, u64, u64, 16);" + PROBE
    body = "struct data d = { number }; events.ringbuf_output(&d, sizeof(d), BPF_RB_NO_WAKEUP); h.increment(number);"
    defines = [f"MY_TID={threading.get_native_id()}"]
    with bpfnb.load(text.replace("BODY", body), name="counted", defines=defines) as made:
        pump.remove(made.events)
        call()
        made.events.drain()
        assert made.events.df["number"].tolist() == list(range(RING // 40))
        assert made.events.lost == CALLS - RING // 40
        assert (made.h.lost, made.calls.lost) == (CALLS - 16, 0)
        assert list(made.maps) == ["h", "calls"]  # the counters are hidden
    uncounted = text + "int other(void *c) { bpf_map_update_elem(c, 0, 0, 0); return 0; }"
    source = uncounted.replace("int other(void *c) {", "static inline int other(void *c) {").replace(
        "BODY", body
    )
    with bpfnb.load(source, name="uncounted", defines=defines) as made:
        assert made.events.df.attrs["bpfnb"]["uncounted"] == ["program"]
        assert made.h.df.attrs["bpfnb"]["uncounted"] == ["full"]
        (row,) = (m for m in facts(made).maps if m.name == "h")
        assert row.refused is None  # not 0, which nobody knows
