/* SPDX-License-Identifier: GPL-2.0-only */
/* How long functions of a program or library take, in slots of powers of two.
 *
 * A call is found again at its end by its thread and stack pointer, so functions that call themselves are told apart;
 * what never returns (longjmp) is forgotten, the oldest first. */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

struct funclatency_place { u64 thread, stack; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384);
	__type(key, struct funclatency_place); __type(value, u64);
} since SEC(".maps");

struct funclatency_call_slot { u32 function DESCRIPTION("its number"); u32 slot; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct funclatency_call_slot); __type(value, struct bpfnb_sum);
} slots SEC(".maps") UNIT(ns);

#ifdef __TARGET_ARCH_x86
#define PUSHED 8 /* the return address */
#else
#define PUSHED 0
#endif

#ifdef MULTI
SEC("uprobe.multi")
#else
SEC("uprobe")
#endif
int called(struct pt_regs *ctx)
{
	struct funclatency_place place = {bpf_get_current_pid_tgid(), PT_REGS_SP(ctx) + PUSHED};
	u64 now;

	if (!bpfnb_wanted())
		return 0;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&since, &place, &now, BPF_ANY);
	return 0;
}

#ifdef MULTI
SEC("uretprobe.multi")
#else
SEC("uretprobe")
#endif
int returned(struct pt_regs *ctx)
{
	struct funclatency_place place = {bpf_get_current_pid_tgid(), PT_REGS_SP(ctx)};
	u64 *start = bpf_map_lookup_elem(&since, &place), ns;
	struct funclatency_call_slot slot = {.function = bpf_get_attach_cookie(ctx)};

	if (!start)
		return 0;
	ns = bpf_ktime_get_ns() - *start;
	slot.slot = bpfnb_log2(ns);
	bpfnb_add(&slots, &slot, ns);
	bpf_map_delete_elem(&since, &place);
	return 0;
}
