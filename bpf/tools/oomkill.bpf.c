/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes that the kernel kills for memory: who needed it, who died for it, and how much that had. */
#include <bpfnb/filter.h>

struct oomkill_kill {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 fpid DESCRIPTION("the process that needed memory");
	u32 tpid DESCRIPTION("the process that was killed");
	u32 uid DESCRIPTION("the user of the killed process");
	s32 oom_score_adj;
	u64 total_vm UNIT(pages) DESCRIPTION("address space of the killed process");
	u64 anon_rss UNIT(pages) DESCRIPTION("its memory that no file backs");
	u64 file_rss UNIT(pages);
	u64 shmem_rss UNIT(pages);
	char fcomm[16];
	char tcomm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps");

/* Since Linux 6.2 a counter is summed over the CPUs; what is not yet in the sum is left out, as in /proc/PID/statm.
 * Before, threads keep up to 64 pages each that are not yet in it. */
struct mm_struct___since_6_2 {
	struct percpu_counter rss_stat[4];
} __attribute__((preserve_access_index));
struct mm_rss_stat___until_6_1 {
	atomic64_t count[4];
} __attribute__((preserve_access_index));
struct mm_struct___until_6_1 {
	struct mm_rss_stat___until_6_1 rss_stat;
} __attribute__((preserve_access_index));

static u64 pages(struct mm_struct *mm, int kind)
{
	struct mm_struct___since_6_2 *new = (void *)mm;
	struct mm_struct___until_6_1 *old = (void *)mm;
	s64 count = 0;

	if (bpf_core_type_exists(struct mm_rss_stat___until_6_1))
		bpf_probe_read_kernel(&count, sizeof(count), &old->rss_stat.count[kind]);
	else
		bpf_probe_read_kernel(&count, sizeof(count), &new->rss_stat[kind].count);
	return count > 0 ? count : 0;
}

static int note(struct task_struct *victim)
{
	struct mm_struct *mm;
	struct oomkill_kill *e;

	if (!bpfnb_wanted_task(victim))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	mm = BPF_CORE_READ(victim, mm);
	e->time = bpf_ktime_get_ns();
	e->cgroup_id = BPF_CORE_READ(victim, cgroups, dfl_cgrp, kn, id);
	e->fpid = bpf_get_current_pid_tgid() >> 32;
	e->tpid = BPF_CORE_READ(victim, tgid);
	e->uid = BPF_CORE_READ(victim, cred, uid.val);
	e->oom_score_adj = BPF_CORE_READ(victim, signal, oom_score_adj);
	e->total_vm = BPF_CORE_READ(mm, total_vm);
	e->file_rss = pages(mm, MM_FILEPAGES);
	e->anon_rss = pages(mm, MM_ANONPAGES);
	e->shmem_rss = pages(mm, MM_SHMEMPAGES);
	bpf_get_current_comm(e->fcomm, sizeof(e->fcomm));
	bpf_probe_read_kernel_str(e->tcomm, sizeof(e->tcomm), victim->comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

#ifdef BY_FUNCTION
/* Before Linux 6.9 the tracepoint tells a pid alone: the task is what the function that has it was given. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, u64); __type(value, struct task_struct *);
} marked SEC(".maps");

SEC("fentry/mark_oom_victim") int BPF_PROG(marks, struct task_struct *victim)
{
	u64 who = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&marked, &who, &victim, BPF_ANY);
	return 0;
}

SEC("tp_btf/mark_victim") int killed(u64 *ctx)
{
	u64 who = bpf_get_current_pid_tgid();
	struct task_struct **victim = bpf_map_lookup_elem(&marked, &who);

	return victim ? note(*victim) : 0;
}

SEC("fexit/mark_oom_victim") int BPF_PROG(has_marked)
{
	u64 who = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&marked, &who);
	return 0;
}
#else
SEC("tp_btf/mark_victim") int BPF_PROG(killed, struct task_struct *victim)
{
	return note(victim);
}
#endif
