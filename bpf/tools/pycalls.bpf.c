/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls of Python functions in a CPython that keeps a perf map (python -X perf, 3.12).
 *
 * There each function has a small piece of machine code of its own, which calls the interpreter. So the address that
 * the interpreter returns to names the function: no structure of CPython's has to be known. */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

struct pycalls_caller { char comm[16]; u32 pid; u64 address DESCRIPTION("where the interpreter returns to"); };
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct pycalls_caller); __type(value, struct bpfnb_sum);
} counts SEC(".maps");

#ifdef LATENCY
struct pycalls_place { u64 thread, stack; };
struct pycalls_call { u64 address, start; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, struct pycalls_place); __type(value, struct pycalls_call);
} since SEC(".maps");
#endif

static void count(u64 address, u64 ns)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pycalls_caller caller = {.pid = task->tgid, .address = address};
	struct bpfnb_sum *sum, none = {};

	__builtin_memcpy(caller.comm, task->group_leader->comm, sizeof(caller.comm));
	sum = bpf_map_lookup_elem(&counts, &caller);
	if (!sum) {
		bpf_map_update_elem(&counts, &caller, &none, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&counts, &caller);
	}
	if (!sum)
		return;
	__sync_fetch_and_add(&sum->count, 1);
	__sync_fetch_and_add(&sum->total, ns);
}

SEC("uprobe/python3:_PyEval_EvalFrameDefault") int evaluated(struct pt_regs *ctx)
{
	u64 address = 0;

	if (!bpfnb_wanted())
		return 0;
#ifdef __TARGET_ARCH_x86
	bpf_probe_read_user(&address, sizeof(address), (void *)PT_REGS_SP(ctx));
#else
	address = PT_REGS_RET(ctx); /* the link register */
#endif
#ifdef LATENCY
	struct pycalls_place place = {bpf_get_current_pid_tgid(), PT_REGS_SP(ctx)};
	struct pycalls_call call = {address, bpf_ktime_get_ns()};

	bpf_map_update_elem(&since, &place, &call, BPF_ANY);
#else
	count(address, 0);
#endif
	return 0;
}

#ifdef LATENCY
#ifdef __TARGET_ARCH_x86
#define PUSHED 8 /* the return address */
#else
#define PUSHED 0
#endif

SEC("uretprobe/python3:_PyEval_EvalFrameDefault") int returned(struct pt_regs *ctx)
{
	struct pycalls_place place = {bpf_get_current_pid_tgid(), PT_REGS_SP(ctx) - PUSHED};
	struct pycalls_call *call = bpf_map_lookup_elem(&since, &place);

	if (!call)
		return 0;
	count(call->address, bpf_ktime_get_ns() - call->start);
	bpf_map_delete_elem(&since, &place);
	return 0;
}
#endif
