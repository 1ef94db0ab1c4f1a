/* SPDX-License-Identifier: GPL-2.0-only */
/* Threads that wait for a futex: what mutexes, semaphores and conditions of all languages sleep on. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

#define FUTEX_CMD_MASK 127 /* include/uapi/linux/futex.h, which are macros */
enum { FUTEX_WAIT = 0, FUTEX_LOCK_PI = 6, FUTEX_WAIT_BITSET = 9, FUTEX_WAIT_REQUEUE_PI = 11, FUTEX_LOCK_PI2 = 13 };

struct futex_waiter {
	void *lock DESCRIPTION("the futex's address");
	u32 pid;
	stack_id_t user_stack;
	char comm[16];
};

struct futex_waits {
	u64 count DESCRIPTION("waits that ended because the futex was woken");
	ns_t wait DESCRIPTION("their time together");
	ns_t max_wait DESCRIPTION("the longest");
	u64 failed DESCRIPTION("waits that ended otherwise: out of time, a signal, or nothing to wait for");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct futex_waiter); __type(value, struct futex_waits);
} counts SEC(".maps");

struct futex_start {
	u64 time;
	void *lock;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, u64); __type(value, struct futex_start);
} starts SEC(".maps");

static int begin(void *lock)
{
	struct futex_start start = {bpf_ktime_get_ns(), lock};
	u64 thread = bpf_get_current_pid_tgid();

	if (bpfnb_wanted())
		bpf_map_update_elem(&starts, &thread, &start, BPF_ANY);
	return 0;
}

static int end(void *ctx, long ret)
{
	u64 thread = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), waited;
	struct futex_start *start = bpf_map_lookup_elem(&starts, &thread);
	struct futex_waits *waits, none = {};
	struct futex_waiter key = {};

	if (!start)
		return 0;
	key.lock = start->lock;
	waited = now - start->time;
	bpf_map_delete_elem(&starts, &thread);
	key.pid = thread >> 32;
	key.user_stack = bpfnb_user_stack(ctx);
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	waits = bpf_map_lookup_elem(&counts, &key);
	if (!waits) {
		bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
		waits = bpf_map_lookup_elem(&counts, &key);
		if (!waits)
			return 0;
	}
	if (ret < 0) {
		__sync_fetch_and_add(&waits->failed, 1);
		return 0;
	}
	__sync_fetch_and_add(&waits->count, 1);
	__sync_fetch_and_add(&waits->wait, waited);
	if (waited > waits->max_wait)
		waits->max_wait = waited;
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_futex") int begins(struct trace_event_raw_sys_enter *ctx)
{
	switch (ctx->args[1] & FUTEX_CMD_MASK) {
	case FUTEX_WAIT: case FUTEX_LOCK_PI: case FUTEX_WAIT_BITSET: case FUTEX_WAIT_REQUEUE_PI: case FUTEX_LOCK_PI2:
		return begin((void *)ctx->args[0]);
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_futex") int ends(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx, ctx->ret);
}

#ifdef FUTEX2 /* Linux 6.7 */
SEC("tracepoint/syscalls/sys_enter_futex_wait") int begins_2(struct trace_event_raw_sys_enter *ctx)
{
	return begin((void *)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_futex_wait") int ends_2(struct trace_event_raw_sys_exit *ctx)
{
	return end(ctx, ctx->ret);
}
#endif
