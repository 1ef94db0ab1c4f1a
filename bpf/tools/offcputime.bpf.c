/* SPDX-License-Identifier: GPL-2.0-only */
/* Where threads wait: the time that they are off CPU, by the stack that they left it with. */
#include <bpfnb/blocked.h>
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile u64 min_block DESCRIPTION("shorter waits are not counted, in microseconds") = 1;
const volatile u64 max_block DESCRIPTION("nor are longer ones; 0: all are") = 0;
const volatile u32 states DESCRIPTION("bits of the states that count") = ~(1 << preempted | 1 << ended);
const volatile bool user_threads DESCRIPTION("no kernel threads") = false;
const volatile bool kernel_threads DESCRIPTION("only kernel threads") = false;

u64 missed DESCRIPTION("waits whose end the kernel did not tell of"); /* seen where the leaving of some threads is not told */

struct offcputime_waiting {
	u32 pid DESCRIPTION("the process");
	enum bpfnb_blocked_state state;
	stack_id_t user_stack, kernel_stack;
	char comm[16] DESCRIPTION("the thread's command");
};

struct offcputime_left {
	ktime_ns_t since;
	struct offcputime_waiting waiting;
};

struct offcputime_waited {
	ns_t blocked DESCRIPTION("the time that it was off CPU there");
	u64 count DESCRIPTION("how often");
	ns_t longest DESCRIPTION("the longest of these waits");
};

/* Threads that are off CPU, until they are on it again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, u32); __type(value, struct offcputime_left);
} away SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, struct offcputime_waiting); __type(value, struct offcputime_waited);
} waits SEC(".maps");

static __always_inline void leaves(void *ctx, struct task_struct *task, enum bpfnb_blocked_state state)
{
	struct offcputime_left left = {};
	u32 tid = task->pid;

	if (!tid || !(states & 1 << state))
		return;
	if ((user_threads && task->flags & PF_KTHREAD) || (kernel_threads && !(task->flags & PF_KTHREAD)))
		return;
	if (!bpfnb_wanted_task(task))
		return;
	left.waiting.pid = task->tgid;
	left.waiting.state = state;
	bpf_probe_read_kernel_str(left.waiting.comm, sizeof(left.waiting.comm), task->comm);
	left.waiting.kernel_stack = bpfnb_kernel_stack(ctx);
	left.waiting.user_stack = bpfnb_user_stack(ctx);
	left.since = bpf_ktime_get_ns();
	if (bpf_map_lookup_elem(&away, &tid))
		__sync_fetch_and_add(&missed, 1); /* it leaves, so it was back */
	bpf_map_update_elem(&away, &tid, &left, BPF_ANY);
}

static __always_inline void comes_back(struct task_struct *task)
{
	u32 tid = task->pid;
	struct offcputime_left *left = bpf_map_lookup_elem(&away, &tid);
	struct offcputime_waited zero = {}, *all;
	u64 time;

	if (!left)
		return;
	time = bpf_ktime_get_ns() - left->since;
	if (time >= min_block * NSEC_PER_USEC && (!max_block || time <= max_block * NSEC_PER_USEC)) {
		all = bpf_map_lookup_elem(&waits, &left->waiting);
		if (!all) {
			bpf_map_update_elem(&waits, &left->waiting, &zero, BPF_NOEXIST);
			all = bpf_map_lookup_elem(&waits, &left->waiting);
		}
		if (all) {
			__sync_fetch_and_add(&all->blocked, time);
			__sync_fetch_and_add(&all->count, 1);
			if (time > all->longest)
				all->longest = time;
		}
	}
	bpf_map_delete_elem(&away, &tid);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	leaves(ctx, prev, bpfnb_blocked_state(prev, preempt)); /* it is still the current one */
	comes_back(next);
	return 0;
}
