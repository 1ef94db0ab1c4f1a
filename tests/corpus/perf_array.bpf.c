// expect events: struct event 32
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct event {
	pid_t pid;
	int ret;
	__u64 duration;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

static __always_inline int probe_return(void *ctx, int ret)
{
	struct event event = {};

	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.ret = ret;
	bpf_get_current_comm(&event.comm, sizeof(event.comm));
	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

SEC("kretprobe/do_sys_openat2")
int BPF_KRETPROBE(opened, int ret)
{
	return probe_return(ctx, ret);
}

char LICENSE[] SEC("license") = "GPL";
