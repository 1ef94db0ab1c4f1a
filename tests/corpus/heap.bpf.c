// expect events: struct captured varies
// A record too large for the stack, kept in a per-CPU array; its used part is sent.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define MAX 4096

struct captured {
	u64 ts;
	u32 len;
	char data[MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct captured);
} heap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(int));
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_write")
int wrote(struct trace_event_raw_sys_enter *ctx)
{
	u32 zero = 0;
	u64 len = ctx->args[2] & (MAX - 1);
	struct captured *r = bpf_map_lookup_elem(&heap, &zero);

	if (!r)
		return 0;
	r->ts = bpf_ktime_get_ns();
	r->len = len;
	bpf_probe_read_user(r->data, len, (void *)ctx->args[1]);
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, r, offsetof(struct captured, data) + len);
	return 0;
}

char _license[] SEC("license") = "GPL";
