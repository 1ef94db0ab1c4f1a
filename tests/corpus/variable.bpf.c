// expect rb: struct sampled varies
// expect counters rb: lost 2
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct sampled {
	u32 len;
	u32 kind;
	u8 payload[];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} rb SEC(".maps");

SEC("raw_tp/sys_enter")
int fixed(void *ctx)
{
	struct sampled *s;

	s = bpf_ringbuf_reserve(&rb, sizeof(*s) + 56, 0);
	if (!s)
		return 0;
	s->len = 56;
	s->kind = 1;
	bpf_ringbuf_submit(s, 0);
	return 0;
}

SEC("raw_tp/sys_exit")
int larger(void *ctx)
{
	struct sampled *s = bpf_ringbuf_reserve(&rb, 128, 0);

	if (!s)
		return 0;
	s->len = 120;
	s->kind = 2;
	bpf_ringbuf_submit(s, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
