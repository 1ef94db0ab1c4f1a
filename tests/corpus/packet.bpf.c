// expect packets: struct meta varies
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct meta {
	__u32 ifindex;
	__u32 len;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} packets SEC(".maps");

SEC("xdp")
int sample(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct meta meta = { .ifindex = ctx->ingress_ifindex, .len = end - data };

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x0800))
		return XDP_PASS;
	bpf_perf_event_output(ctx, &packets, ((__u64)64 << 32) | BPF_F_CURRENT_CPU, &meta, sizeof(meta));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
