/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filters that all tools share, in the kernel: by process, command, user, cgroup and network namespace.
 *
 *   SEC("tp_btf/sched_process_exec") int BPF_PROG(executed, struct task_struct *task)
 *   {
 *       if (!bpfnb_wanted()) return 0;          // the current task; bpfnb_wanted_task(task) asks of another
 *       ...
 *
 * Set them when the program is loaded: --set filter_pid=42,43 in a cell, bpfnb.tools.NAME(pid=42) for a tool. What is
 * not set is constant for the verifier, which removes the test: an unused filter costs nothing. Linux 5.11.
 */
#ifndef BPFNB_FILTER_H
#define BPFNB_FILTER_H

#define FILTER_PIDS 64
#define FILTER_NAMES 16

/* Each list ends at its first zero (no process, command, cgroup or namespace has it), users at -1. */
const volatile u32 filter_pid[FILTER_PIDS] DESCRIPTION("processes");
const volatile char filter_comm[FILTER_NAMES][16] DESCRIPTION("commands, whole names of up to 15 bytes");
const volatile s64 filter_uid[FILTER_NAMES] DESCRIPTION("users") = {[0 ... FILTER_NAMES - 1] = -1};
const volatile cgroup_id_t filter_cgroup[FILTER_NAMES] DESCRIPTION("cgroups with all below them");
const volatile u32 filter_netns[FILTER_NAMES] DESCRIPTION("network namespaces, by inode");

/* A cgroup's ancestors by level, itself the last; until Linux 6.0 there were only their ids. */
struct cgroup___since_6_1 {
	struct cgroup *ancestors[1];
} __attribute__((preserve_access_index));
struct cgroup___until_6_0 {
	u64 ancestor_ids[1];
} __attribute__((preserve_access_index));

static __always_inline u64 bpfnb_ancestor(struct cgroup *cgroup, u32 level)
{
	u64 id = 0;

	if (bpf_core_field_exists(struct cgroup___since_6_1, ancestors)) {
		struct cgroup *above = NULL;

		bpf_probe_read_kernel(&above, sizeof(above), (void *)&((struct cgroup___since_6_1 *)cgroup)->ancestors + level * 8);
		return BPF_CORE_READ(above, kn, id);
	}
	bpf_probe_read_kernel(&id, sizeof(id), (void *)&((struct cgroup___until_6_0 *)cgroup)->ancestor_ids + level * 8);
	return id;
}

static __always_inline bool bpfnb_wanted_cgroup(struct task_struct *task)
{
	struct cgroup *cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	u32 depth = BPF_CORE_READ(cgroup, level);

	for (u32 level = 0; level < 32 && level <= depth; level++) {
		u64 id = bpfnb_ancestor(cgroup, level);

		for (int i = 0; i < FILTER_NAMES && filter_cgroup[i]; i++)
			if (filter_cgroup[i] == id)
				return true;
	}
	return false;
}

static __always_inline bool bpfnb_wanted_comm(struct task_struct *task)
{
	u64 comm[2] = {};

	bpf_probe_read_kernel_str(comm, sizeof(comm), task->comm);
	for (int i = 0; i < FILTER_NAMES && filter_comm[i][0]; i++) {
		const volatile u64 *name = (const volatile u64 *)filter_comm[i];

		if (name[0] == comm[0] && name[1] == comm[1])
			return true;
	}
	return false;
}

static __always_inline bool bpfnb_wanted_pid(u32 pid)
{
	for (int i = 0; i < FILTER_PIDS && filter_pid[i]; i++)
		if (filter_pid[i] == pid)
			return true;
	return false;
}

static __always_inline bool bpfnb_wanted_uid(u32 uid)
{
	for (int i = 0; i < FILTER_NAMES && filter_uid[i] >= 0; i++)
		if (filter_uid[i] == uid)
			return true;
	return false;
}

static __always_inline bool bpfnb_wanted_netns(u32 inode)
{
	for (int i = 0; i < FILTER_NAMES && filter_netns[i]; i++)
		if (filter_netns[i] == inode)
			return true;
	return false;
}

/* Whether a task passes all filters that are set. */
static __always_inline bool bpfnb_wanted_task(struct task_struct *task)
{
	if (filter_pid[0] && !bpfnb_wanted_pid(BPF_CORE_READ(task, tgid)))
		return false;
	if (filter_comm[0][0] && !bpfnb_wanted_comm(task))
		return false;
	if (filter_uid[0] >= 0 && !bpfnb_wanted_uid(BPF_CORE_READ(task, cred, uid.val)))
		return false;
	if (filter_netns[0] && !bpfnb_wanted_netns(BPF_CORE_READ(task, nsproxy, net_ns, ns.inum)))
		return false;
	return !filter_cgroup[0] || bpfnb_wanted_cgroup(task);
}

static __always_inline bool bpfnb_wanted(void)
{
	return bpfnb_wanted_task(bpf_get_current_task_btf());
}

#endif
