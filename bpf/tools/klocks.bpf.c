/* SPDX-License-Identifier: GPL-2.0-only */
/* Locks of the kernel that somebody had to wait for, by the stack that waited. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

/* include/trace/events/lock.h, which are macros. */
#define LCB_F_SPIN (1 << 0)
#define LCB_F_MUTEX (1 << 5)

const volatile bool addresses DESCRIPTION("each lock by itself") = false;

struct klocks_place {
	u64 address DESCRIPTION("the lock's");
	u32 pid;
	u32 flags; /* LCB_F_*: what kind of lock */
	stack_id_t kernel_stack;
	char comm[16];
};

struct klocks_waits {
	u64 count DESCRIPTION("how often it had to be waited for");
	ns_t wait DESCRIPTION("how long, together");
	ns_t max_wait DESCRIPTION("the longest wait");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct klocks_place); __type(value, struct klocks_waits);
} counts SEC(".maps");

/* Who waits: a thread, or, where no thread runs, a CPU. An interrupt may wait while its thread does. */
struct klocks_waiter { u64 who; u64 lock; };
struct klocks_start {
	u64 time;
	struct klocks_place place;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct klocks_waiter); __type(value, struct klocks_start);
} starts SEC(".maps");

static struct klocks_waiter waiter_of(void *lock)
{
	struct klocks_waiter waiter = {(u32)bpf_get_current_pid_tgid(), (u64)lock};

	if (!waiter.who)
		waiter.who = 1ULL << 32 | bpf_get_smp_processor_id();
	return waiter;
}

SEC("tp_btf/contention_begin") int BPF_PROG(begins, void *lock, u32 flags)
{
	struct klocks_waiter waiter = waiter_of(lock);
	struct klocks_start start = {}, *known;

	if (!bpfnb_wanted())
		return 0;
	known = bpf_map_lookup_elem(&starts, &waiter);
	if (known && known->place.flags == (LCB_F_MUTEX | LCB_F_SPIN) && flags == LCB_F_MUTEX) {
		known->place.flags = flags; /* first it was spun for, then slept for: one wait */
		return 0;
	}
	start.place.address = addresses ? (u64)lock : 0;
	start.place.pid = bpf_get_current_pid_tgid() >> 32;
	start.place.flags = flags;
	start.place.kernel_stack = bpfnb_kernel_stack(ctx);
	bpf_get_current_comm(start.place.comm, sizeof(start.place.comm));
	start.time = bpf_ktime_get_ns();
	bpf_map_update_elem(&starts, &waiter, &start, BPF_ANY);
	return 0;
}

SEC("tp_btf/contention_end") int BPF_PROG(ends, void *lock)
{
	struct klocks_waiter waiter = waiter_of(lock);
	struct klocks_start *found = bpf_map_lookup_elem(&starts, &waiter), start;
	struct klocks_waits *waits, none = {};
	u64 waited;

	if (!found)
		return 0;
	start = *found;
	waited = bpf_ktime_get_ns() - start.time;
	bpf_map_delete_elem(&starts, &waiter);
	waits = bpf_map_lookup_elem(&counts, &start.place);
	if (!waits) {
		bpf_map_update_elem(&counts, &start.place, &none, BPF_NOEXIST);
		waits = bpf_map_lookup_elem(&counts, &start.place);
		if (!waits)
			return 0;
	}
	__sync_fetch_and_add(&waits->count, 1);
	__sync_fetch_and_add(&waits->wait, waited);
	if (waited > waits->max_wait)
		waits->max_wait = waited;
	return 0;
}
