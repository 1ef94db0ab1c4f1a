/* SPDX-License-Identifier: GPL-2.0-only */
/* How long tasks that could run waited for a CPU. */
#include <bpfnb/filter.h>
#include <bpfnb/tasktimes.h>

#define TASK_DEAD 0x80 /* include/linux/sched.h */

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536); __type(key, u32); __type(value, u64);
} queued SEC(".maps"); /* since when, by thread */

static int enqueue(struct task_struct *task)
{
	u64 now = bpf_ktime_get_ns();
	u32 thread = task->pid;

	if (thread && bpfnb_wanted_task(task))
		bpf_map_update_elem(&queued, &thread, &now, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_wakeup") int BPF_PROG(woken, struct task_struct *task)
{
	return enqueue(task);
}

SEC("tp_btf/sched_wakeup_new") int BPF_PROG(forked, struct task_struct *task)
{
	return enqueue(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u32 ended = prev->pid, thread = next->pid;
	u64 *since;

	if (preempt || prev->__state == TASK_RUNNING)
		enqueue(prev); /* it goes on waiting at once */
	else if (prev->__state & TASK_DEAD)
		bpf_map_delete_elem(&queued, &ended);
	since = bpf_map_lookup_elem(&queued, &thread);
	if (since) {
		bpfnb_add_of(next, bpf_ktime_get_ns() - *since);
		bpf_map_delete_elem(&queued, &thread);
	}
	return 0;
}
