// expect one: struct a 8
// expect two: struct b 24
// expect counters one: lost 1
// expect counters two: lost 1
// expect counters stack: full 1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct a { u64 x; };
struct b { u64 x, y; u32 z; };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 16);
	__type(value, u64);
} stack SEC(".maps");

__noinline int send_a(u64 x)
{
	struct a a = { x };

	bpf_map_push_elem(&stack, &x, 0);
	return bpf_ringbuf_output(&one, &a, sizeof(struct a), 0);
}

__noinline int send_b(u64 x)
{
	struct b *b = bpf_ringbuf_reserve(&two, sizeof(typeof(*b)), 0);

	if (!b)
		return 1;
	b->x = x;
	b->y = b->z = 0;
	bpf_ringbuf_submit(b, 0);
	return 0;
}

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
	return send_a(bpf_ktime_get_ns()) + send_b(bpf_get_prandom_u32());
}

char _license[] SEC("license") = "GPL";
