/* SPDX-License-Identifier: GPL-2.0-only */
/* Who wakes others: the time that threads waited, by the stack of the thread that ended it. */
#include <bpfnb/blocked.h>
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile u64 min_block DESCRIPTION("shorter waits are not counted, in microseconds") = 1;
const volatile u64 max_block DESCRIPTION("nor are longer ones; 0: all are") = 0;

struct wakeuptime_waker {
	u32 pid DESCRIPTION("the process that woke the other, or was interrupted by what did");
	stack_id_t user_stack, kernel_stack;
	char comm[16];
	char target[16] DESCRIPTION("the command that it woke");
};

struct wakeuptime_waited {
	ns_t blocked DESCRIPTION("from leaving the CPU to being woken");
	u64 count DESCRIPTION("how often");
	ns_t longest DESCRIPTION("the longest of these waits");
};

/* Threads that wait, until they are woken. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768); __type(key, u32); __type(value, u64);
} away SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, struct wakeuptime_waker); __type(value, struct wakeuptime_waited);
} wakeups SEC(".maps");

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	enum bpfnb_blocked_state state = bpfnb_blocked_state(prev, preempt);
	u64 now = bpf_ktime_get_ns();
	u32 tid = prev->pid;

	if (tid && state != preempted && state != ended && bpfnb_wanted_task(prev))
		bpf_map_update_elem(&away, &tid, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_waking") int BPF_PROG(woken, struct task_struct *task)
{
	struct wakeuptime_waited zero = {}, *all;
	struct wakeuptime_waker waker = {};
	u32 tid = task->pid;
	u64 time, *since = bpf_map_lookup_elem(&away, &tid);

	if (!since)
		return 0;
	time = bpf_ktime_get_ns() - *since;
	bpf_map_delete_elem(&away, &tid);
	if (time < min_block * NSEC_PER_USEC || (max_block && time > max_block * NSEC_PER_USEC))
		return 0;
	waker.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(waker.comm, sizeof(waker.comm));
	bpf_probe_read_kernel_str(waker.target, sizeof(waker.target), task->comm);
	waker.kernel_stack = bpfnb_kernel_stack(ctx);
	waker.user_stack = bpfnb_user_stack(ctx);
	all = bpf_map_lookup_elem(&wakeups, &waker);
	if (!all) {
		bpf_map_update_elem(&wakeups, &waker, &zero, BPF_NOEXIST);
		all = bpf_map_lookup_elem(&wakeups, &waker);
	}
	if (all) {
		__sync_fetch_and_add(&all->blocked, time);
		__sync_fetch_and_add(&all->count, 1);
		if (time > all->longest)
			all->longest = time;
	}
	return 0;
}
