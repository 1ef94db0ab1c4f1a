// expect rb: struct data_t 24
// expect counters rb: lost 1
// expect counters start: full 1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct data_t {
	u32 tid;
	u64 enter;
	u64 leave;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, u32);
	__type(value, u64);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} rb SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter")
int enter(struct trace_event_raw_sys_enter *ctx)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 ts = bpf_ktime_get_ns();

	bpf_map_update_elem(&start, &tid, &ts, BPF_ANY);
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int leave(struct trace_event_raw_sys_exit *ctx)
{
	struct data_t data = {};
	u64 *ts;

	data.tid = bpf_get_current_pid_tgid();
	ts = bpf_map_lookup_elem(&start, &data.tid);
	if (!ts)
		return 0;
	data.enter = *ts;
	data.leave = bpf_ktime_get_ns();
	bpf_ringbuf_output(&rb, &data, sizeof(data), BPF_RB_NO_WAKEUP);
	bpf_map_delete_elem(&start, &data.tid);
	return 0;
}

char _license[] SEC("license") = "GPL";
