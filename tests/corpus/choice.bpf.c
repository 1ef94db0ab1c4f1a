// expect left: struct note 8
// expect right: struct note 8
// expect counters left: lost 1
// expect counters right: lost 1
// The buffer is chosen at run time: the record can be in either.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct note { u64 n; };

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} left SEC(".maps"), right SEC(".maps");

static inline void note(void *to, u64 n)
{
	struct note *record = bpf_ringbuf_reserve(to, sizeof(*record), 0);

	if (record) {
		record->n = n;
		bpf_ringbuf_submit(record, 0);
	}
}

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
	u64 now = bpf_ktime_get_ns();

	if (now & 1)
		note(&left, now);
	else
		note(&right, now);
	return 0;
}

char _license[] SEC("license") = "GPL";
