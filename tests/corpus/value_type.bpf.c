// expect declared: struct event 16
// expect counters declared: lost 1
// The map says it; the code sends through a pointer without a type.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct event { u64 a, b; };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct event);
} declared SEC(".maps");

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
	void *slot = bpf_ringbuf_reserve(&declared, sizeof(struct event), 0);

	if (!slot)
		return 0;
	__builtin_memset(slot, 0, sizeof(struct event));
	bpf_ringbuf_submit(slot, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
