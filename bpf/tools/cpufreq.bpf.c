/* SPDX-License-Identifier: GPL-2.0-only */
/* CPU frequencies: each change, as the driver was asked for it. */
#include <bpfnb/filter.h>

struct cpufreq_change {
	ktime_ns_t time;
	u32 cpu;
	u64 frequency UNIT(Hz);
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

SEC("tp_btf/cpu_frequency") int BPF_PROG(changed, u32 khz, u32 cpu)
{
	struct cpufreq_change *e;

	if (!bpfnb_wanted())
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->cpu = cpu;
	e->frequency = khz * 1000ULL;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
