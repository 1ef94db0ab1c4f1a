/* SPDX-License-Identifier: GPL-2.0-only */
/* How many tasks wait for each CPU that is at work, looked at many times a second. */
#include <bpfnb/filter.h>

/* Linux 6.14 counts tasks that are about to sleep, but still on the queue, apart. They do not wait. */
struct cfs_rq___since_6_14 {
	unsigned int h_nr_queued;
	unsigned int h_nr_runnable;
} __attribute__((preserve_access_index));

struct runqlen_look { u32 cpu; u32 length DESCRIPTION("tasks that wait, beside the one that runs"); };

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536); __type(key, struct runqlen_look); __type(value, u64);
} lengths SEC(".maps");

SEC("perf_event") int sampled(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rq *rq = task->se.cfs_rq->rq;
	struct cfs_rq___since_6_14 *fair = (void *)&rq->cfs;
	struct runqlen_look look = {.cpu = bpf_get_smp_processor_id(), .length = rq->nr_running};
	u64 one = 1, *count;

	if (!task->pid || !bpfnb_wanted_task(task))
		return 0; /* idle CPUs are looked at by some kernels only */
	if (bpf_core_field_exists(fair->h_nr_runnable))
		look.length -= BPF_CORE_READ(fair, h_nr_queued) - BPF_CORE_READ(fair, h_nr_runnable);
	if (look.length)
		look.length--;
	count = bpf_map_lookup_elem(&lengths, &look);
	if (count)
		(*count)++; /* no other CPU has this key */
	else
		bpf_map_update_elem(&lengths, &look, &one, BPF_ANY);
	return 0;
}
