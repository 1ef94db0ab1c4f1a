/* SPDX-License-Identifier: GPL-2.0-only */
/* Idle states: how often each CPU went into which, and how long it stayed. */
#include <bpfnb/filter.h>
#include <bpfnb/distribution.h>

#define AWAKE ((u32)-1) /* PWR_EVENT_EXIT */

const volatile bool dist DESCRIPTION("how the times are spread") = false;

struct cpuidle_rest { u32 cpu; u32 state; u32 slot; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct cpuidle_rest); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

struct cpuidle_idle { u64 since; u32 state; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct cpuidle_idle);
} since SEC(".maps");

SEC("tp_btf/cpu_idle") int BPF_PROG(idle, u32 state, u32 cpu)
{
	u32 zero = 0;
	struct cpuidle_idle *now = bpf_map_lookup_elem(&since, &zero);
	struct cpuidle_rest rest = {.cpu = cpu};
	u64 ns;

	if (!now)
		return 0;
	if (state != AWAKE) {
		now->state = state;
		now->since = bpf_ktime_get_ns();
	} else if (now->since) {
		ns = bpf_ktime_get_ns() - now->since;
		now->since = 0;
		rest.state = now->state;
		rest.slot = dist ? bpfnb_log2(ns) : 0;
		bpfnb_add(&slots, &rest, ns);
	}
	return 0;
}
