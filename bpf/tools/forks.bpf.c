/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes from their fork to their end, as a tree: who started whom, and what lived how long.
 *
 * The filters choose who is at the top; what descends from there is seen, whatever it becomes. */
#include <bpfnb/filter.h>

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h: all threads end with one code */

struct forks_birth {
	ktime_ns_t time DESCRIPTION("when it was forked");
	u32 pid;
};

struct forks_life {
	ktime_ns_t end DESCRIPTION("when it ended; missing while it lives");
	cgroup_id_t cgroup_id HIDDEN;
	u32 ppid DESCRIPTION("the process that forked it");
	u32 uid;
	u32 exit_code DESCRIPTION("what it gave to exit(), 0 to 255");
	signal_t signal DESCRIPTION("the signal that ended it");
	char comm[16] DESCRIPTION("what it was last");
	char parent[16] DESCRIPTION("what forked it");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct forks_birth); __type(value, struct forks_life);
} lives SEC(".maps");

static struct forks_birth key_of(struct task_struct *task)
{
	struct forks_birth key = {};

	key.time = BPF_CORE_READ(task, group_leader, start_time);
	key.pid = BPF_CORE_READ(task, tgid);
	return key;
}

SEC("tp_btf/sched_process_fork") int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	struct forks_life life = {};
	struct forks_birth key, above;

	if (child->pid != child->tgid)
		return 0; /* a thread */
	above = key_of(parent);
	if (!bpf_map_lookup_elem(&lives, &above) && !bpfnb_wanted())
		return 0;
	key = key_of(child);
	life.cgroup_id = bpf_get_current_cgroup_id();
	life.ppid = parent->tgid;
	life.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(life.parent, sizeof(life.parent));
	__builtin_memcpy(life.comm, life.parent, sizeof(life.comm));
	bpf_map_update_elem(&lives, &key, &life, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_exec") int BPF_PROG(executed, struct task_struct *task)
{
	struct forks_birth key = key_of(task);
	struct forks_life *life = bpf_map_lookup_elem(&lives, &key);

	if (life)
		bpf_get_current_comm(life->comm, sizeof(life->comm));
	return 0;
}

SEC("tp_btf/sched_process_exit") int BPF_PROG(ended, struct task_struct *task)
{
	struct signal_struct *process = task->signal;
	struct forks_birth key = key_of(task);
	struct forks_life *life;
	int code;

	if (process->live.counter)
		return 0; /* other threads go on */
	life = bpf_map_lookup_elem(&lives, &key);
	if (!life)
		return 0;
	code = process->flags & SIGNAL_GROUP_EXIT ? process->group_exit_code : task->group_leader->exit_code;
	life->end = bpf_ktime_get_ns();
	life->exit_code = code >> 8 & 0xff;
	life->signal = code & 0x7f;
	return 0;
}
