"""A cell whose values are known: it counts one thread's getppid in maps, streams and variables, with views of them."""

from __future__ import annotations

__all__ = ["PROGRAM", "WANTED"]

WANTED = "--set wanted={threading.get_native_id()}"
"""Options of its cell. One thread counts: the kernel of a notebook asks for its parent once a second too."""

PROGRAM = """
struct event { ktime_ns_t ts; u64 n; ns_t latency; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps")
    VIEW(hist, column=latency);
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } small SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    slots SEC(".maps") VIEW(hist, log2, ns);
const volatile u32 wanted = 0;
volatile u64 hits = 0;
u64 unused;
SEC("tracepoint/syscalls/sys_enter_getppid") int count(void *ctx)
{
    u32 slot = 10, key = hits % 5, never;
    u64 *n = bpf_map_lookup_elem(&slots, &slot), value = 1000 * key;
    struct event *e;
    if ((u32)bpf_get_current_pid_tgid() != wanted)
        return 0;
    hits += 1;
    if (n)
        __sync_fetch_and_add(n, 1);
    bpf_map_update_elem(&small, &key, &value, BPF_ANY);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->n = hits;
    e->latency = 3000 + hits;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}"""
