/* SPDX-License-Identifier: GPL-2.0-only */
/* The schedule: which task ran on which CPU, from when, for how long, and why it left. */
#include <bpfnb/filter.h>

const volatile bool idle DESCRIPTION("also the times when nothing ran") = false;

/* include/linux/sched.h */
#define STOPPED 0x04
#define TRACED 0x08
#define ZOMBIE 0x30 /* EXIT_DEAD, EXIT_ZOMBIE */
#define PARKED 0x40
#define DEAD 0x80
#define NOLOAD 0x400

enum timeline_left {
	preempted, /* it could go on */
	sleeping, uninterruptible, idling, stopped, traced, parked, ended,
};

struct timeline_slice {
	ktime_ns_t time DESCRIPTION("when it began to run");
	ns_t duration;
	cgroup_id_t cgroup_id HIDDEN;
	u32 cpu;
	u32 pid;
	u32 tid;
	enum timeline_left state DESCRIPTION("why it left the CPU");
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64);
} since SEC(".maps"); /* when the CPU began to run what it runs */

static enum timeline_left state_of(struct task_struct *task, bool preempt)
{
	u32 state = task->__state;

	if (preempt || state == TASK_RUNNING)
		return preempted;
	if (state & (DEAD | ZOMBIE))
		return ended;
	if (state & TASK_UNINTERRUPTIBLE)
		return state & NOLOAD ? idling : uninterruptible;
	if (state & STOPPED)
		return stopped;
	if (state & TRACED)
		return traced;
	return state & PARKED ? parked : sleeping;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	u64 now = bpf_ktime_get_ns(), began;
	u32 zero = 0;
	u64 *start = bpf_map_lookup_elem(&since, &zero);
	struct timeline_slice *e;

	if (!start)
		return 0;
	began = *start;
	*start = now;
	if (!began || (!prev->pid && !idle) || !bpfnb_wanted_task(prev))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = began;
	e->duration = now - began;
	e->cgroup_id = prev->cgroups->dfl_cgrp->kn->id;
	e->cpu = bpf_get_smp_processor_id();
	e->pid = prev->tgid;
	e->tid = prev->pid;
	e->state = prev->pid ? state_of(prev, preempt) : idling;
	bpf_probe_read_kernel_str(e->comm, sizeof(e->comm), prev->comm);
	/* Waking the reader is a switch too, which would wake it again: it looks by itself, some times a second. */
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}
