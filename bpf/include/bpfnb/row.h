/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who did it: what the rows of tools begin with.
 *
 *   struct event {
 *       ktime_ns_t time;
 *       cgroup_id_t cgroup_id HIDDEN;   // what the columns of containers and units are made of
 *       u32 pid, tid, uid;
 *       char comm[16];
 *       ...
 *   };
 *   bpfnb_row(e);                       // of the current task
 *
 * Fields of these names, in any order; all six. In contexts without a task of their own (interrupts, timers) they are
 * of whom the CPU was running. Linux 4.18 (bpf_get_current_cgroup_id).
 */
#ifndef BPFNB_ROW_H
#define BPFNB_ROW_H

#define bpfnb_row(e)                                            \
	({                                                      \
		u64 __id = bpf_get_current_pid_tgid();      \
		(e)->time = bpf_ktime_get_ns();                 \
		(e)->cgroup_id = bpf_get_current_cgroup_id();   \
		(e)->pid = __id >> 32;                      \
		(e)->tid = __id;                            \
		(e)->uid = bpf_get_current_uid_gid();           \
		bpf_get_current_comm((e)->comm, sizeof((e)->comm)); \
	})

#endif
