/* SPDX-License-Identifier: GPL-2.0-only */
/* Processes that a signal ends: which, why, at which address, and where in the program.
 *
 * The signal is seen when it is delivered: the stack still stands, and so do the mappings that its addresses lie in,
 * which are noted, since nobody can ask for them afterwards. The row is sent when the thread has ended. */
#include <bpfnb/filter.h>
#include <bpfnb/path.h>

#define FRAMES 100 /* more than 64 make one column of lists */
#define CORE_DUMPED 0x80
/* Signals whose default is a core dump, and the others that end a process (signal(7)). */
#define CRASHES (1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 24 | 1 << 25 | 1u << 31)

#define NOT_KNOWN 0x7fffffff /* of a signal that had marked the process for its end before it was delivered */

const volatile bool every DESCRIPTION("also signals that ask a process to end: SIGTERM, SIGKILL ...") = false;

struct crash {
	ktime_ns_t time;
	u64 started HIDDEN DESCRIPTION("when the process was, in ns since boot");
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 tid DESCRIPTION("the thread that it was delivered to");
	u32 uid;
	signal_t signal;
	int code DESCRIPTION("si_code");
	u64 address DESCRIPTION("si_addr: what could not be accessed or executed");
	u32 sender DESCRIPTION("the process that sent it; 0: the kernel did");
	u32 exit_code DESCRIPTION("as shells report it: 128 and the signal");
	bool core DESCRIPTION("a core dump was written");
	char comm[16];
	u64 stack[FRAMES];
};

struct crash_mapped_file {
	u64 started;
	u64 begin, end, offset, inode;
	u32 pid;
	u32 device;
	char path[256];
};

/* Ends with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct crash);
} dying SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } mappings SEC(".maps");

struct crash_found { struct file *file; u64 begin, end, offset; };

static long mapped(struct task_struct *task, struct vm_area_struct *vma, struct crash_found *found)
{
	found->file = vma->vm_file;
	found->begin = vma->vm_start;
	found->end = vma->vm_end;
	found->offset = vma->vm_pgoff * 4096;
	return 0;
}

static void note(struct crash *crash, struct crash_found *found)
{
	struct crash_mapped_file *noted = bpf_ringbuf_reserve(&mappings, sizeof(*noted), 0);
	struct file *file = found->file;
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	if (!noted)
		return;
	noted->started = crash->started;
	noted->begin = found->begin;
	noted->end = found->end;
	noted->offset = found->offset;
	noted->inode = BPF_CORE_READ(inode, i_ino);
	noted->device = BPF_CORE_READ(inode, i_sb, s_dev);
	noted->pid = crash->pid;
	bpfnb_path_of_file(noted->path, sizeof(noted->path), file);
	bpf_ringbuf_submit(noted, 0);
}

struct crash_look {
	struct crash *crash;
	u64 begin, end; /* of the mapping that was noted last: most frames lie where the one before does */
};

static long look_at(u64 index, struct crash_look *look)
{
	struct crash_found found = {};
	u64 address;

	if (index >= FRAMES)
		return 1;
	address = look->crash->stack[index];
	if (!address)
		return 1;
	if (address >= look->begin && address < look->end)
		return 0;
	if (bpf_find_vma(bpf_get_current_task_btf(), address, mapped, &found, 0) || !found.file)
		return 0;
	look->begin = found.begin;
	look->end = found.end;
	note(look->crash, &found);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(delivered, int sig, struct kernel_siginfo *info, struct k_sigaction *action)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct crash_look look = {};
	struct crash *crash;
	u64 known;

	bpf_probe_read_kernel(&known, sizeof(known), &info); /* the verifier takes it for granted that info is no NULL */
	if (!known) { /* the process is ending: by a signal that asked it to, or because of another thread */
		sig = task->signal->group_exit_code & 0x7f;
		if (!every || !sig || CRASHES & 1u << (sig & 31) || task->pid != task->tgid)
			return 0;
	} else if (action->sa.sa_handler || sig > 31 || !(CRASHES & 1u << (sig & 31))) {
		return 0;
	}
	if (!bpfnb_wanted())
		return 0;
	crash = bpf_task_storage_get(&dying, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!crash)
		return 0;
	crash->time = bpf_ktime_get_ns();
	crash->started = BPF_CORE_READ(task, group_leader, start_boottime);
	crash->cgroup_id = bpf_get_current_cgroup_id();
	crash->pid = task->tgid;
	crash->tid = task->pid;
	crash->uid = bpf_get_current_uid_gid();
	crash->signal = sig;
	crash->code = NOT_KNOWN;
	if (known) {
		crash->code = BPF_CORE_READ(info, si_code);
		if (crash->code > 0)
			crash->address = (u64)BPF_CORE_READ(info, _sifields._sigfault._addr);
		else
			crash->sender = BPF_CORE_READ(info, _sifields._kill._pid);
	}
	bpf_get_current_comm(crash->comm, sizeof(crash->comm));
	bpf_get_stack(ctx, crash->stack, sizeof(crash->stack), BPF_F_USER_STACK);
	look.crash = crash;
	bpf_loop(FRAMES, look_at, &look, 0);
	return 0;
}

SEC("tp_btf/sched_process_exit") int BPF_PROG(ended, struct task_struct *task)
{
	struct crash *crash = bpf_task_storage_get(&dying, task, NULL, 0), *e;
	u32 code;

	if (!crash)
		return 0;
	code = task->signal->group_exit_code;
	if (!code)
		code = task->exit_code;
	crash->core = code & CORE_DUMPED;
	crash->exit_code = code & 0x7f ? 128 + (code & 0x7f) : code >> 8 & 0xff;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memcpy(e, crash, sizeof(*e));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
