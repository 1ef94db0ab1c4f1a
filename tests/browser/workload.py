"""A probe whose every value is known: the n-th call has the latency 2**(n % 16) ns, a sixteenth of all in each bucket."""

from __future__ import annotations

__all__ = ["CELL", "START"]

CELL = """%%bpf io --set wanted={os.getpid()} --watchdog off
struct event { ktime_ns_t ts; ns_t latency; u32 parity; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
const volatile u32 wanted = 0;
u64 calls = 0;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 slot;
    u64 *n, number;
    struct event *e;

    if ((u32)bpf_get_current_pid_tgid() != wanted) /* the main thread: the kernel asks for its parent in another */
        return 0;
    number = __sync_fetch_and_add(&calls, 1);
    slot = number % 16;
    n = bpf_map_lookup_elem(&slots, &slot);
    if (n)
        __sync_fetch_and_add(n, 1);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->latency = 1ULL << slot;
    e->parity = number & 1;
    bpf_ringbuf_submit(e, 0);
    return 0;
}"""

START = """%load_ext bpfnb
import os, time
def call(times):
    for _ in range(times): os.getppid()"""
