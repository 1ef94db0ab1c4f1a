/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes that end: how long they lived, and with what code or by which signal; with `threads` each thread. */
#include <bpfnb/filter.h>

#define SIGNAL_GROUP_EXIT 4 /* include/linux/sched/signal.h: all threads end with one code */
#define CORE_DUMPED 0x80
#define EEXIST 17

const volatile bool threads DESCRIPTION("each thread by itself") = false;
const volatile bool failed DESCRIPTION("only what ended with a code other than 0, or by a signal") = false;

struct exitsnoop_exit {
	ktime_ns_t time;
	ns_t duration DESCRIPTION("since it was started; of a thread, since that was");
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 ppid DESCRIPTION("the parent process");
	u32 tid;
	u32 uid;
	u32 exit_code DESCRIPTION("what it gave to exit(), 0 to 255");
	signal_t signal DESCRIPTION("the signal that ended it");
	bool core DESCRIPTION("a core dump was written");
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

/* Processes whose end was told. */
struct exitsnoop_process { u64 start; u32 pid; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, struct exitsnoop_process); __type(value, u8);
} over SEC(".maps");

/* Threads that end at the same time may all find that none is left: the first of them speaks for the process. */
static bool first_of(struct task_struct *leader)
{
	struct exitsnoop_process process = {};
	u8 one = 1;

	process.start = leader->start_time;
	process.pid = leader->tgid;
	return bpf_map_update_elem(&over, &process, &one, BPF_NOEXIST) != -EEXIST;
}

SEC("tp_btf/sched_process_exit") int BPF_PROG(ended, struct task_struct *task)
{
	struct signal_struct *process = task->signal;
	struct task_struct *of;
	struct exitsnoop_exit *e;
	bool last;
	int code;

	if ((process->live.counter && !threads) || !bpfnb_wanted_task(task))
		return 0;
	last = !process->live.counter && (threads || first_of(task->group_leader));
	of = threads ? task : task->group_leader;
	code = last && process->flags & SIGNAL_GROUP_EXIT ? process->group_exit_code : of->exit_code;
	if ((!last && !threads) || (failed && !code))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->duration = e->time - of->start_time;
	e->cgroup_id = bpf_get_current_cgroup_id();
	e->pid = task->tgid;
	e->ppid = task->real_parent->tgid;
	e->tid = of->pid;
	e->uid = bpf_get_current_uid_gid();
	e->exit_code = code >> 8 & 0xff;
	e->signal = code & 0x7f;
	e->core = code & CORE_DUMPED;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
