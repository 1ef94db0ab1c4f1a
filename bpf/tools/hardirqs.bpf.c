/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts: how many of each, and how long their handlers took.
 * VECTORS, where it is defined, names the processor's own ones: VECTOR(local_timer) VECTOR(reschedule) ... */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

const volatile bool dist DESCRIPTION("how the times are spread") = false;
const volatile bool cpus DESCRIPTION("each CPU apart") = false;

struct hardirqs_kind {
	char name[32] DESCRIPTION("the device's, or that of the processor's vector");
	s32 irq DESCRIPTION("its number; -1: a vector");
	u32 cpu;
	u32 slot;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct hardirqs_kind); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

/* Since when: [0] a device's handler, [1] a vector. Interrupts are off meanwhile, so there is one of each at most. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, u32); __type(value, u64);
} since SEC(".maps");

static int entered(u32 which)
{
	u64 *start = bpf_map_lookup_elem(&since, &which);

	if (start)
		*start = bpfnb_wanted() ? bpf_ktime_get_ns() : 0;
	return 0;
}

static int left(u32 which, struct hardirqs_kind *kind)
{
	u64 *start = bpf_map_lookup_elem(&since, &which), ns;

	if (!start || !*start)
		return 0;
	ns = bpf_ktime_get_ns() - *start;
	*start = 0;
	kind->cpu = cpus ? bpf_get_smp_processor_id() : 0;
	kind->slot = dist ? bpfnb_log2(ns) : 0;
	bpfnb_add(&slots, kind, ns);
	return 0;
}

SEC("tp_btf/irq_handler_entry") int BPF_PROG(handler_entered, int irq, struct irqaction *action)
{
	return entered(0);
}

SEC("tp_btf/irq_handler_exit") int BPF_PROG(handler_left, int irq, struct irqaction *action, int ret)
{
	struct hardirqs_kind kind = {.irq = irq};

	bpf_probe_read_kernel_str(kind.name, sizeof(kind.name), action->name);
	return left(0, &kind);
}

#ifdef VECTORS
#define VECTOR(vector)                                                              \
	SEC("tp_btf/" #vector "_entry") int BPF_PROG(vector##_entered, int number)  \
	{                                                                           \
		return entered(1);                                                  \
	}                                                                           \
	SEC("tp_btf/" #vector "_exit") int BPF_PROG(vector##_left, int number)      \
	{                                                                           \
		struct hardirqs_kind kind = {.name = #vector, .irq = -1};                    \
		return left(1, &kind);                                              \
	}
VECTORS
#endif
