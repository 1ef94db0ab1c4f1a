// expect out: union message 24
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

union message {
	struct {
		u32 kind, pid;
		u64 when;
	} head;
	u8 raw[24];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, int);
	__type(value, int);
} out SEC(".maps");

SEC("raw_tp/sched_switch")
int on_switch(struct bpf_raw_tracepoint_args *ctx)
{
	union message m;

	__builtin_memset(&m, 0, sizeof m);
	m.head.kind = 7;
	m.head.when = bpf_ktime_get_boot_ns();
	return bpf_perf_event_output(ctx, &out, BPF_F_CURRENT_CPU, &m, sizeof m) != 0;
}

char _license[] SEC("license") = "GPL";
