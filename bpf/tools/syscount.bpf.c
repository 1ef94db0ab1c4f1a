/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls: how many, how many failed, and with LATENCY how long they took; by call, by process, or by both.
 *
 * Each CPU counts for itself, by call in an array: one addition where others look up a shared hash and lock. */
#include <bpfnb/filter.h>

#define CALLS 1024
#define MAX_ERRNO 4095
#define RT_SIGRETURN 15 /* on x86-64, where it forgets its number: the registers are those of before the signal */
#define CLONE3 435
#define TS_COMPAT 2    /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT 22   /* arch/arm64/include/asm/thread_info.h */

enum syscount_grouping { by_syscall, by_process, by_both };
const volatile enum syscount_grouping by
	DESCRIPTION("0: a row for each call, 1: for each process, 2: for both") = by_syscall;
const volatile bool failed DESCRIPTION("only calls that failed") = false;
const volatile u32 errno DESCRIPTION("only calls that failed with this error; 0: all") = 0;

struct syscount_sum {
	u64 count;
	u64 errors DESCRIPTION("how many failed");
	ns_t total DESCRIPTION("from the call to its return, waiting included");
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, CALLS);
	__type(key, u32); __type(value, struct syscount_sum);
} calls SEC(".maps"); /* by number */

struct syscount_caller { char comm[16]; u32 pid; syscall_t syscall; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct syscount_caller); __type(value, struct syscount_sum);
} callers SEC(".maps");

#ifdef LATENCY
/* With the thread, so that one that ends within a call leaves nothing behind. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, u64);
} since SEC(".maps");

SEC("tp_btf/sys_enter") int BPF_PROG(entered, struct pt_regs *regs, long id)
{
	u64 *start;

	if (!bpfnb_wanted())
		return 0;
	start = bpf_task_storage_get(&since, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (start)
		*start = bpf_ktime_get_ns();
	return 0;
}
#endif

static u32 number_of(struct pt_regs *regs)
{
#ifdef bpf_target_arm64
	return regs->syscallno;
#else
	return regs->orig_ax == -1UL ? RT_SIGRETURN : regs->orig_ax;
#endif
}

/* Whether the call is one of 32 bits, which have numbers of their own. */
static bool compat(struct task_struct *task)
{
#ifdef bpf_target_arm64
	return task->thread_info.flags & 1 << TIF_32BIT;
#else
	return task->thread_info.status & TS_COMPAT;
#endif
}

/* A new thread begins with the return from its parent's call, which is no call of its own. */
static bool begins(struct task_struct *task, u32 number, long ret)
{
	if (ret)
		return false;
	if (number == CLONE3)
		return true;
	if (compat(task))
		return number == 2 || number == 120 || number == 190; /* fork, clone, vfork */
#ifdef bpf_target_arm64
	return number == 220; /* clone */
#else
	return number >= 56 && number <= 58; /* clone, fork, vfork */
#endif
}

static struct syscount_sum *sum_of(struct task_struct *task, u32 number)
{
	struct syscount_caller caller = {.pid = task->tgid, .syscall = by == by_both ? number : 0};
	struct syscount_sum *sum, none = {};

	if (by == by_syscall)
		return bpf_map_lookup_elem(&calls, &number);
	__builtin_memcpy(caller.comm, task->group_leader->comm, sizeof(caller.comm));
	sum = bpf_map_lookup_elem(&callers, &caller);
	if (sum)
		return sum;
	bpf_map_update_elem(&callers, &caller, &none, BPF_ANY);
	return bpf_map_lookup_elem(&callers, &caller);
}

SEC("tp_btf/sys_exit") int BPF_PROG(left, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool error = ret < 0 && ret >= -MAX_ERRNO;
	u32 number = number_of(regs);
	struct syscount_sum *sum;
	u64 ns = 0;

	if (number >= CALLS || begins(task, number, ret) || (failed && !error) || (errno && ret != -(long)errno) ||
	    !bpfnb_wanted_task(task))
		return 0;
#ifdef LATENCY
	u64 *start = bpf_task_storage_get(&since, task, NULL, 0);

	if (!start || !*start)
		return 0; /* it began before the tool did */
	ns = bpf_ktime_get_ns() - *start;
	*start = 0;
#endif
	sum = sum_of(task, number);
	if (!sum)
		return 0;
	sum->count++;
	sum->errors += error;
	sum->total += ns;
	return 0;
}
