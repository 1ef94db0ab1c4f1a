/* SPDX-License-Identifier: GPL-2.0-only */
/* How long system calls take, each kind apart. */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

#define CALLS 16

const volatile s32 syscall[CALLS] DESCRIPTION("only these calls, by number") = {[0 ... CALLS - 1] = -1};

struct syslat_call { syscall_t syscall; u32 slot; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct syslat_call); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

/* With the thread, so that one that ends within a call leaves nothing behind. */
struct syslat_begun { u64 since; s32 syscall; };
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct syslat_begun);
} begun SEC(".maps");

static bool asked(s32 number)
{
	for (int i = 0; i < CALLS && syscall[i] >= 0; i++)
		if (syscall[i] == number)
			return true;
	return syscall[0] < 0;
}

SEC("tp_btf/sys_enter") int BPF_PROG(entered, struct pt_regs *regs, long id)
{
	struct syslat_begun *now;

	if (!asked(id) || !bpfnb_wanted())
		return 0;
	now = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (now) {
		now->syscall = id;
		now->since = bpf_ktime_get_ns();
	}
	return 0;
}

SEC("tp_btf/sys_exit") int BPF_PROG(left, struct pt_regs *regs, long ret)
{
	struct syslat_begun *call = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, 0);
	struct syslat_call key = {};
	u64 ns;

	if (!call || !call->since)
		return 0;
	ns = bpf_ktime_get_ns() - call->since;
	call->since = 0;
	key.syscall = call->syscall;
	key.slot = bpfnb_log2(ns);
	bpfnb_add(&slots, &key, ns);
	return 0;
}
