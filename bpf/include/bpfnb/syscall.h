/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A system call's arguments when it returns.
 *
 *   SEC("tp/syscalls/sys_exit_openat") int openat(struct trace_event_raw_sys_exit *ctx)
 *   {
 *       const char *path = (const char *)bpfnb_argument(1);     // the second one
 *
 * The registers that the process came in with are kept for its way back, so nothing need be noted at the entry. What
 * they point to is in memory by then: the kernel has read it. Linux 5.15 (bpf_task_pt_regs).
 */
#ifndef BPFNB_SYSCALL_H
#define BPFNB_SYSCALL_H

static __always_inline u64 bpfnb_argument(int number)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	switch (number) {
	case 0: return PT_REGS_PARM1_SYSCALL(regs);
	case 1: return PT_REGS_PARM2_SYSCALL(regs);
	case 2: return PT_REGS_PARM3_SYSCALL(regs);
	case 3: return PT_REGS_PARM4_SYSCALL(regs);
	default: return PT_REGS_PARM5_SYSCALL(regs);
	}
}

#endif
