// expect pids: u32 4
// expect stamps: ktime 8
// expect bytes: unknown varies
// expect counters pids: lost 1
// expect counters stamps: lost 1
// expect counters bytes: lost 1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

typedef __u64 ktime;

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct ring pids SEC(".maps"), stamps SEC(".maps"), bytes SEC(".maps");

SEC("raw_tp/sys_enter")
int enter(void *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	ktime *slot;
	char buf[64] = {};
	u64 n = bpf_get_prandom_u32() & 63;

	bpf_ringbuf_output(&pids, &pid, sizeof(pid), 0);
	slot = bpf_ringbuf_reserve(&stamps, sizeof *slot, 0);
	if (slot) {
		*slot = bpf_ktime_get_ns();
		bpf_ringbuf_submit(slot, 0);
	}
	bpf_ringbuf_output(&bytes, buf, n, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
