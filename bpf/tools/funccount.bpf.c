/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls of functions of a program or library, by function and process.
 *
 * One program stands at all of them; its cookie tells which one was called. Each CPU counts for itself. */
#include <bpfnb/filter.h>

struct funccount_caller { char comm[16]; u32 pid; u32 function DESCRIPTION("its number"); };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct funccount_caller); __type(value, u64);
} counts SEC(".maps");

#ifdef MULTI
SEC("uprobe.multi")
#else
SEC("uprobe")
#endif
int called(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct funccount_caller caller = {.function = bpf_get_attach_cookie(ctx)};
	u64 *count, one = 1;

	if (!bpfnb_wanted_task(task))
		return 0;
	caller.pid = task->tgid;
	__builtin_memcpy(caller.comm, task->group_leader->comm, sizeof(caller.comm));
	count = bpf_map_lookup_elem(&counts, &caller);
	if (count)
		++*count;
	else
		bpf_map_update_elem(&counts, &caller, &one, BPF_ANY);
	return 0;
}
