/* SPDX-License-Identifier: GPL-2.0-only */
/* Times of tasks in slots (see distribution.h): all together, or by command, process, thread or CPU. */
#ifndef BPFNB_TASKTIMES_H
#define BPFNB_TASKTIMES_H

#include <bpfnb/distribution.h>

enum bpfnb_grouping { together, by_comm, by_pid, by_tid, by_cpu };
const volatile enum bpfnb_grouping by DESCRIPTION("a histogram for each comm, pid, tid or cpu") = together;

struct bpfnb_group {
	char comm[16];
	u32 pid;
	u32 tid;
	u32 cpu;
	u32 slot;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct bpfnb_group); __type(value, struct bpfnb_sum);
} slots SEC(".maps") UNIT(ns);

static __always_inline void bpfnb_add_of(struct task_struct *task, u64 ns)
{
	struct bpfnb_group group = {.slot = bpfnb_log2(ns)};

	if (by == by_comm || by == by_tid)
		bpf_probe_read_kernel_str(group.comm, sizeof(group.comm), task->comm);
	if (by == by_pid)
		bpf_probe_read_kernel_str(group.comm, sizeof(group.comm), task->group_leader->comm);
	if (by == by_pid || by == by_tid)
		group.pid = task->tgid;
	if (by == by_tid)
		group.tid = task->pid;
	if (by == by_cpu)
		group.cpu = bpf_get_smp_processor_id();
	bpfnb_add(&slots, &group, ns);
}

#endif
