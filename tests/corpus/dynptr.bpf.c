// expect rb: struct head varies
// expect counters rb: lost 1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct head { u32 kind; u32 len; };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} rb SEC(".maps");

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
	struct bpf_dynptr d;
	struct head h = { 1, 32 };

	if (!bpf_ringbuf_reserve_dynptr(&rb, sizeof(struct head) + 32, 0, &d))
		bpf_dynptr_write(&d, 0, &h, sizeof(h), 0);
	bpf_ringbuf_submit_dynptr(&d, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
