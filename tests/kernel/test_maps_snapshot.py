"""Reading a whole map while it changes: each key once, what stays is there."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from workloads import load

from bpfnb.kernel import maps

FILL = """
struct value {{ u64 words[{words}]; }};
struct {{ __uint(type, BPF_MAP_TYPE_{kind}); __type(key, u64); __type(value, struct value);
         __uint(max_entries, {entries}); {extra} }} m SEC(".maps");
static long put(u64 n, void *ctx)
{{
    struct value value = {{}};
    u64 key = n;
    value.words[0] = key * 3;
    bpf_map_update_elem(&m, &key, &value, 0);
    return 0;
}}
SEC("syscall") int fill(u32 *count) {{ return bpf_loop(*count, put, 0, 0); }}

const volatile u32 wanted;
u64 next;
SEC("tp/syscalls/sys_enter_getppid") int churn(void *ctx)
{{
    struct value value = {{}};
    if (bpf_get_current_pid_tgid() >> 32 != wanted) return 0;
    u64 old = next++ % {churn}, fresh = {entries} + old;
    // even rounds move a key out, odd ones put it back
    if ((next / {churn}) & 1) {{ bpf_map_delete_elem(&m, &old); bpf_map_update_elem(&m, &fresh, &value, 0); }}
    else {{ bpf_map_delete_elem(&m, &fresh); bpf_map_update_elem(&m, &old, &value, 0); }}
    return 0;
}}
"""


def filled(count: int, *, kind: str = "HASH", words: int = 1, extra: str = "", entries: int = 0, **settings):
    entries = entries or count
    source = FILL.format(kind=kind, words=words, extra=extra, entries=entries, churn=max(1, count // 4))
    obj = load(source, **settings)
    assert obj.test_run("fill", ctx=count.to_bytes(4, "little"))[0] == count
    return obj


@pytest.mark.parametrize("kind", ["HASH", "LRU_HASH"])
def test_a_large_hash_comes_complete(kind):
    count = 200_000
    with filled(count, kind=kind, entries=2 * count) as obj:
        keys, values = obj.read_all("m")
        numbers = keys.view(np.uint64).ravel()
        assert len(numbers) == count
        assert np.array_equal(np.sort(numbers), np.arange(count))
        assert np.array_equal(values.view(np.uint64).ravel(), numbers * 3)


def test_a_small_buffer_grows(monkeypatch):
    """Where the first buffer is too small for the map, the rest follows in more calls."""
    monkeypatch.setattr(maps, "_LARGEST_BUFFER", 16 * 100)
    with filled(5000) as obj:
        keys, _ = obj.read_all("m")
        assert np.array_equal(np.sort(keys.view(np.uint64).ravel()), np.arange(5000))


def test_batch_and_walk_agree():
    with filled(3000) as obj:
        info = obj.maps["m"]
        batch, walk = maps.read_all(info), maps._walk(info)
        for keys, values in (batch, walk):
            order = np.argsort(keys.view(np.uint64).ravel())
            assert np.array_equal(keys.view(np.uint64).ravel()[order], np.arange(3000))
            assert np.array_equal(values.view(np.uint64).ravel()[order], np.arange(3000) * 3)


def test_duplicates_of_a_restarted_batch_go():
    keys = np.array([[1, 0], [2, 0], [1, 0], [3, 0], [2, 0]], np.uint8)
    values = np.array([[10], [20], [11], [30], [21]], np.uint8)
    once_keys, once_values = maps._once(keys, values)
    assert once_keys[:, 0].tolist() == [1, 3, 2]
    assert once_values.ravel().tolist() == [11, 30, 21]


@pytest.mark.parametrize("walk", [False, True])
def test_each_key_once_while_it_changes(walk):
    """A quarter of the keys moves in and out all the while; the others must be there, once, in each snapshot."""
    from workloads import Worker

    count = 2000
    with (
        Worker() as worker,
        filled(
            count, extra="__uint(map_flags, BPF_F_NO_PREALLOC);", entries=2 * count, wanted=worker.pid
        ) as obj,
    ):
        obj.attach("churn")
        worker.start("end = time.monotonic() + 1.5\nwhile time.monotonic() < end: getppid(100)")
        info, rounds = obj.maps["m"], 0
        deadline = time.monotonic() + 1.2
        while rounds < 3 or time.monotonic() < deadline:
            keys, _ = maps._walk(info) if walk else maps.read_all(info)
            numbers = keys.view(np.uint64).ravel()
            assert len(np.unique(numbers)) == len(numbers)
            if not walk:  # a walk that deletions keep restarting may end before it saw everything
                assert set(range(count // 4, count)) <= set(numbers.tolist())
            rounds += 1
        worker.finish()


def test_reading_from_several_threads_while_closing():
    obj = filled(20_000)
    results: list[int | Exception] = []

    def read() -> None:
        try:
            while True:
                results.append(len(obj.read_all("m")[0]))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(results) < 8:
        time.sleep(0.001)
    obj.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    errors = [r for r in results if isinstance(r, Exception)]
    assert [type(e).__name__ for e in errors] == ["ObjectClosed"] * 4
    assert {r for r in results if isinstance(r, int)} == {20_000}
