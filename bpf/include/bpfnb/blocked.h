/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a thread leaves its CPU, from the state that it is in when sched:sched_switch fires. Linux 5.5 (tp_btf). */
#ifndef BPFNB_BLOCKED_H
#define BPFNB_BLOCKED_H

enum bpfnb_blocked_state {
	preempted, /* it could have gone on */
	interruptible, /* it waits for something that may never come; signals wake it */
	uninterruptible, /* it waits for a device or a lock of the kernel; signals wait too */
	stopped,
	idle, /* a kernel thread that has nothing to do */
	ended,
	otherwise,
};

/* Before Linux 5.14 the field was a long of another name. */
struct task_struct___until_5_13 {
	volatile long state;
} __attribute__((preserve_access_index));

/* Bits of include/linux/sched.h. */
static __always_inline enum bpfnb_blocked_state bpfnb_blocked_state(struct task_struct *task, bool preempt)
{
	u32 state;

	if (preempt)
		return preempted;
	if (bpf_core_field_exists(struct task_struct, __state))
		state = BPF_CORE_READ(task, __state);
	else
		state = BPF_CORE_READ((struct task_struct___until_5_13 *)task, state);
	if (!state)
		return preempted; /* it yielded */
	if (state & (0x10 | 0x20 | 0x80)) /* EXIT_DEAD, EXIT_ZOMBIE, TASK_DEAD */
		return ended;
	if (state & 0x1)
		return interruptible;
	if (state & 0x2)
		return state & 0x400 ? idle : uninterruptible; /* TASK_NOLOAD: TASK_IDLE has both */
	return state & (0x4 | 0x8) ? stopped : otherwise; /* stopped or traced; parked, frozen, just being woken */
}

#endif
