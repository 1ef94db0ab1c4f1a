/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that are started, with all their arguments; with `failed` also those that could not be.
 *
 * A program that runs has its arguments in one piece on its new stack, each with a NUL behind it. Where starting failed
 * there is only the caller's list of pointers. It is read when the call returns: at its entry the pages need not be
 * in memory yet. */
#include <bpfnb/filter.h>

#define LONGEST 16384 /* bytes of all arguments, a power of two */
#define ONE 4096      /* bytes of one argument of a program that could not be started */
#define MOST 256      /* their number */
#define MORE 65536    /* a flag: not all of one */
#define NAMED 128     /* bytes of a program's path; what is longer ends with three dots, as arguments do */

const volatile u32 max_bytes RANGE(1, 16384) DESCRIPTION("bytes of arguments to keep") = 4096;
const volatile bool failed DESCRIPTION("also programs that could not be started") = false;
const volatile u32 ppid DESCRIPTION("only children of this process; 0: all") = 0;

struct execsnoop_exec {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 ppid DESCRIPTION("the parent process");
	u32 uid;
	errno_t ret DESCRIPTION("0, or why it could not be started");
	char comm[16];
	char path[NAMED] DESCRIPTION("the file, as the caller named it");
	char args[] SENSITIVE;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); } events SEC(".maps");

struct execsnoop_room { char bytes[sizeof(struct execsnoop_exec) + LONGEST + ONE]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct execsnoop_room);
} scratch SEC(".maps");

struct execsnoop_call { const char *path; const char *const *argv; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, u64); __type(value, struct execsnoop_call);
} calls SEC(".maps");

static struct execsnoop_exec *begin(int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 zero = 0, parent = BPF_CORE_READ(task, real_parent, tgid);
	struct execsnoop_exec *e;

	if (!bpfnb_wanted() || (ppid && parent != ppid))
		return NULL;
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e)
		return NULL;
	e->time = bpf_ktime_get_ns();
	e->cgroup_id = bpf_get_current_cgroup_id();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->ppid = parent;
	e->uid = bpf_get_current_uid_gid();
	e->ret = ret;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	return e;
}

static u32 longest(void)
{
	return max_bytes < LONGEST ? max_bytes : LONGEST;
}

static void dots(char *path)
{
	__builtin_memcpy(path + NAMED - 4, "...", 4);
}

/* `size` bytes of arguments, a NUL behind each, which frames show as spaces; `cut`: there were more. Verifiers before
 * Linux 6.8 do not see that a size that is not 0 stays in its bounds when it is one less. */
static void submit(struct execsnoop_exec *e, u32 size, bool cut)
{
	if (size > LONGEST)
		size = LONGEST;
	if (cut) {
		if (size && !e->args[(size - 1) & (LONGEST - 1)])
			size--;
		barrier_var(size);
		if (size > LONGEST)
			return;
		__builtin_memcpy(e->args + size, "\0...", 4);
		size += 4;
	} else if (size) {
		size--;
	}
	barrier_var(size);
	if (size > LONGEST + 4)
		return;
	bpf_ringbuf_output(&events, e, sizeof(*e) + size, 0);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(executed, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct execsnoop_exec *e = begin(0);
	char beyond = 0;
	u64 start, size;
	bool cut;

	if (!e)
		return 0;
	if (bpf_probe_read_kernel_str(e->path, NAMED, bprm->filename) == NAMED)
		bpf_probe_read_kernel(&beyond, 1, bprm->filename + NAMED - 1);
	if (beyond)
		dots(e->path);
	start = BPF_CORE_READ(task, mm, arg_start);
	size = BPF_CORE_READ(task, mm, arg_end) - start;
	cut = size > longest();
	if (cut)
		size = longest();
	if (size > LONGEST || bpf_probe_read_user(e->args, size, (void *)start)) {
		size = 0;
		cut = true;
	}
	submit(e, size, cut);
	return 0;
}

/* An argument, behind `size` bytes of others: its bytes, with MORE where these are not all. Not static, so that the
 * verifier checks it once, not at every turn of the loop. */
__noinline int one(u64 argument, u32 size)
{
	u32 zero = 0;
	struct execsnoop_exec *e = bpf_map_lookup_elem(&scratch, &zero);
	char beyond = 0;
	long got;

	if (!e)
		return MORE;
	got = bpf_probe_read_user_str(e->args + (size & (LONGEST - 1)), ONE, (void *)argument);
	if (got < 0)
		return MORE;
	if (got == ONE)
		bpf_probe_read_user(&beyond, 1, (void *)(argument + ONE - 1));
	return beyond ? got | MORE : got;
}

static int called(const char *path, const char *const *argv)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct execsnoop_call call = {path, argv};

	if (failed)
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static int returned(long ret)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct execsnoop_call *call;
	struct execsnoop_exec *e;
	u32 size = 0;
	bool cut = false;

	if (!failed)
		return 0;
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call && ret < 0 && (e = begin(ret))) {
		char beyond = 0;

		if (bpf_probe_read_user_str(e->path, NAMED, call->path) == NAMED)
			bpf_probe_read_user(&beyond, 1, call->path + NAMED - 1);
		if (beyond)
			dots(e->path);
		for (u32 i = 0; i < MOST; i++) {
			const char *argument = NULL;
			u32 got;

			if (bpf_probe_read_user(&argument, sizeof(argument), call->argv + i)) {
				cut = call->argv; /* no list at all is an empty one */
				break;
			}
			if (!argument)
				break;
			cut = size >= longest() || i == MOST - 1;
			if (cut)
				break;
			got = one((u64)argument, size);
			size += got & (MORE - 1);
			cut = got & MORE;
			if (cut)
				break;
		}
		if (size > longest()) {
			size = longest();
			cut = true;
		}
		submit(e, size, cut);
	}
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

SEC("tp/syscalls/sys_enter_execve") int execve(struct trace_event_raw_sys_enter *ctx)
{
	return called((const char *)ctx->args[0], (const char *const *)ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_execveat") int execveat(struct trace_event_raw_sys_enter *ctx)
{
	return called((const char *)ctx->args[1], (const char *const *)ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_execve") int execve_returned(struct trace_event_raw_sys_exit *ctx)
{
	return returned(ctx->ret);
}

SEC("tp/syscalls/sys_exit_execveat") int execveat_returned(struct trace_event_raw_sys_exit *ctx)
{
	return returned(ctx->ret);
}
