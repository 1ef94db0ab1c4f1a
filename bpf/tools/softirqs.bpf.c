/* SPDX-License-Identifier: GPL-2.0-only */
/* Soft interrupts: how many of each kind were served, and how long that took. */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

const volatile bool dist DESCRIPTION("how the times are spread") = false;
const volatile bool cpus DESCRIPTION("each CPU apart") = false;

/* include/linux/interrupt.h; the names of /proc/softirqs. */
enum softirqs_vector { HI, TIMER, NET_TX, NET_RX, BLOCK, IRQ_POLL, TASKLET, SCHED, HRTIMER, RCU };

struct softirqs_kind { enum softirqs_vector softirq; u32 cpu; u32 slot; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct softirqs_kind); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64);
} since SEC(".maps"); /* a CPU serves one at a time */

SEC("tp_btf/softirq_entry") int BPF_PROG(entered, u32 vector)
{
	u32 zero = 0;
	u64 *start = bpf_map_lookup_elem(&since, &zero);

	if (start)
		*start = bpfnb_wanted() ? bpf_ktime_get_ns() : 0;
	return 0;
}

SEC("tp_btf/softirq_exit") int BPF_PROG(left, u32 vector)
{
	struct softirqs_kind kind = {.softirq = vector};
	u32 zero = 0;
	u64 *start = bpf_map_lookup_elem(&since, &zero), ns;

	if (!start || !*start)
		return 0;
	ns = bpf_ktime_get_ns() - *start;
	*start = 0;
	kind.cpu = cpus ? bpf_get_smp_processor_id() : 0;
	kind.slot = dist ? bpfnb_log2(ns) : 0;
	bpfnb_add(&slots, &kind, ns);
	return 0;
}
