/* SPDX-License-Identifier: GPL-2.0-only */
/* Where CPU time goes: stacks of what runs, sampled on each CPU. Idle CPUs are not sampled. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile bool user_only DESCRIPTION("only user stacks") = false;
const volatile bool kernel_only DESCRIPTION("only kernel stacks, of samples in the kernel") = false;

struct profile_sampled {
	ktime_ns_t time;
	u32 pid, tid;
	u32 cpu;
	stack_id_t user_stack, kernel_stack;
	cgroup_id_t cgroup_id HIDDEN;
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } samples SEC(".maps");

SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	stack_id_t user = -EFAULT, kernel = -EFAULT;
	struct profile_sampled *e;

	if (!(u32)id || !bpfnb_wanted())
		return 0; /* thread 0 is a CPU that idles */
	if (!user_only)
		kernel = bpfnb_kernel_stack(ctx);
	if (kernel_only && kernel == -EFAULT)
		return 0;
	if (!kernel_only)
		user = bpfnb_user_stack(ctx);
	e = bpf_ringbuf_reserve(&samples, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = id >> 32;
	e->tid = id;
	e->cpu = bpf_get_smp_processor_id();
	e->user_stack = user;
	e->kernel_stack = kernel;
	e->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); /* the reader looks 20 times a second by itself */
	return 0;
}
