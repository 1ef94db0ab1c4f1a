/* SPDX-License-Identifier: GPL-2.0-only */
/* How long tasks run before they leave the CPU; with `off`, how long they are away until they run again. */
#include <bpfnb/filter.h>
#include <bpfnb/tasktimes.h>

#define TASK_DEAD 0x80 /* include/linux/sched.h */

const volatile bool off DESCRIPTION("time away from the CPU, not on it") = false;

/* A CPU runs one task at a time: what it runs, and since when. */
struct cpudist_slice { u64 since; u32 tid; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct cpudist_slice);
} running SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536); __type(key, u32); __type(value, u64);
} away SEC(".maps"); /* since when, by thread */

static void time_on(struct task_struct *prev, struct task_struct *next, u64 now)
{
	u32 zero = 0;
	struct cpudist_slice *slice = bpf_map_lookup_elem(&running, &zero);

	if (!slice)
		return;
	if (prev->pid && slice->tid == prev->pid && bpfnb_wanted_task(prev))
		bpfnb_add_of(prev, now - slice->since);
	slice->tid = next->pid;
	slice->since = now;
}

static void time_off(struct task_struct *prev, struct task_struct *next, u64 now)
{
	u32 left = prev->pid, thread = next->pid;
	u64 *since;

	if (left && !(prev->__state & TASK_DEAD) && bpfnb_wanted_task(prev))
		bpf_map_update_elem(&away, &left, &now, BPF_ANY);
	since = bpf_map_lookup_elem(&away, &thread);
	if (since) {
		bpfnb_add_of(next, now - *since);
		bpf_map_delete_elem(&away, &thread);
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u64 now = bpf_ktime_get_ns();

	if (off)
		time_off(prev, next, now);
	else
		time_on(prev, next, now);
	return 0;
}
