// expect logs: struct line 72
// expect counters logs: lost 1
// A wrapper takes the buffer as a parameter: the only one there is must be meant.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct line {
	u64 when;
	char text[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 32768);
} logs SEC(".maps");

static __always_inline long put(void *buffer, const struct line *record, __u64 size)
{
	return bpf_ringbuf_output(buffer, (void *)record, sizeof(*record), 0) ?: (long)size;
}

SEC("raw_tp/sys_enter")
int trace(void *ctx)
{
	struct line l = { .when = bpf_ktime_get_ns(), .text = "hello" };

	return put(&logs, &l, sizeof(l)) == 1;
}

char _license[] SEC("license") = "GPL";
