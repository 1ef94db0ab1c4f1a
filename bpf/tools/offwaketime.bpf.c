/* SPDX-License-Identifier: GPL-2.0-only */
/* Where threads wait and who ends it: time off CPU by the stack of the thread and that of its waker. */
#include <bpfnb/blocked.h>
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile u64 min_block DESCRIPTION("shorter waits are not counted, in microseconds") = 1;
const volatile u64 max_block DESCRIPTION("nor are longer ones; 0: all are") = 0;

struct offwaketime_waiting {
	u32 pid DESCRIPTION("the process that waits");
	u32 waker_pid DESCRIPTION("the process that woke it, or was interrupted by what did");
	stack_id_t user_stack, kernel_stack;
	stack_id_t waker_user_stack FORMAT(stack), waker_kernel_stack FORMAT(stack);
	char comm[16];
	char waker_comm[16];
};

struct offwaketime_left {
	ktime_ns_t since;
	struct offwaketime_waiting waiting;
};

struct offwaketime_waited {
	ns_t blocked DESCRIPTION("from leaving the CPU to being woken");
	u64 count DESCRIPTION("how often");
	ns_t longest DESCRIPTION("the longest of these waits");
};

/* Threads that wait, until they are woken. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, u32); __type(value, struct offwaketime_left);
} away SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, struct offwaketime_waiting); __type(value, struct offwaketime_waited);
} waits SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	enum bpfnb_blocked_state state = bpfnb_blocked_state(prev, preempt);
	struct offwaketime_left left = {};
	u32 tid = prev->pid;

	if (!tid || state == preempted || state == ended || !bpfnb_wanted_task(prev))
		return 0;
	left.waiting.pid = prev->tgid;
	bpf_probe_read_kernel_str(left.waiting.comm, sizeof(left.waiting.comm), prev->comm);
	left.waiting.kernel_stack = bpfnb_kernel_stack(ctx);
	left.waiting.user_stack = bpfnb_user_stack(ctx);
	left.since = bpf_ktime_get_ns();
	bpf_map_update_elem(&away, &tid, &left, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_waking") int BPF_PROG(woken, struct task_struct *task)
{
	struct task_struct *waker = bpf_get_current_task_btf();
	u32 tid = task->pid;
	struct offwaketime_left *left = bpf_map_lookup_elem(&away, &tid);
	struct offwaketime_waited zero = {}, *all;
	u64 time;

	if (!left)
		return 0;
	time = bpf_ktime_get_ns() - left->since;
	if (time < min_block * NSEC_PER_USEC || (max_block && time > max_block * NSEC_PER_USEC))
		goto out;
	left->waiting.waker_pid = waker->tgid;
	bpf_get_current_comm(left->waiting.waker_comm, sizeof(left->waiting.waker_comm));
	left->waiting.waker_kernel_stack = bpfnb_kernel_stack(ctx);
	left->waiting.waker_user_stack = bpfnb_user_stack(ctx);
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
out:
	bpf_map_delete_elem(&away, &tid);
	return 0;
}
