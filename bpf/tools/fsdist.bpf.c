/* SPDX-License-Identifier: GPL-2.0-only */
/* How long reads, writes, opens and syncs of files take, by type of file system. */
#include <bpfnb/distribution.h>
#include <bpfnb/fileops.h>
#include <bpfnb/filter.h>
#include <bpfnb/path.h>

const volatile char fs[16] DESCRIPTION("only this type of file system, as in /proc/filesystems");

enum fsdist_operation { read, write, open, fsync };

struct fsdist_which {
	char fs[16] DESCRIPTION("the type of the file system");
	enum fsdist_operation op;
	u32 slot;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 4096);
	__type(key, struct fsdist_which); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

/* What each thread is at; it ends with the thread, so nothing can be left over. */
struct fsdist_call { u64 since; struct file *file; };
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct fsdist_call);
} calls SEC(".maps");

/* A call begins; of what opens the file is known at the end. */
static __always_inline int begin(enum fsdist_operation op, int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = NULL;
	struct fsdist_call *call;

	if (!bpfnb_wanted())
		return 0;
	if (op != open) {
		file = bpfnb_file(fd);
		if (!file || !bpfnb_regular(file))
			return 0;
	}
	call = bpf_task_storage_get(&calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call)
		return 0;
	call->since = bpf_ktime_get_ns();
	call->file = file;
	return 0;
}

static __always_inline int end(enum fsdist_operation op, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fsdist_call *call = bpf_task_storage_get(&calls, task, NULL, 0);
	struct fsdist_which key = {.op = op};
	struct file *file;
	u64 ns;

	if (!call || !call->since)
		return 0;
	ns = bpf_ktime_get_ns() - call->since;
	call->since = 0;
	file = op == open ? bpfnb_file(ret) : call->file;
	if (!file || (op == open && !bpfnb_regular(file)))
		return 0;
	bpf_probe_read_kernel_str(key.fs, sizeof(key.fs), BPF_CORE_READ(file, f_inode, i_sb, s_type, name));
	for (int i = 0; fs[0] && i < sizeof(fs); i++)
		if (key.fs[i] != fs[i])
			return 0;
	key.slot = bpfnb_log2(ns);
	bpfnb_add(&slots, &key, ns);
	return 0;
}

#define TIMED(call, op)                                                                               \
	SEC("tp/syscalls/sys_enter_" #call) int enter_##call(struct trace_event_raw_sys_enter *ctx)   \
	{                                                                                             \
		return begin(op, ctx->args[0]);                                                       \
	}                                                                                             \
	SEC("tp/syscalls/sys_exit_" #call) int exit_##call(struct trace_event_raw_sys_exit *ctx)      \
	{                                                                                             \
		return end(op, ctx->ret);                                                             \
	}
#define READ(call) TIMED(call, read)
#define WRITE(call) TIMED(call, write)
#define OPEN(call) TIMED(call, open)
#define SYNC(call) TIMED(call, fsync)

BPFNB_READS(READ)
BPFNB_WRITES(WRITE)
BPFNB_OPENS(OPEN)
BPFNB_SYNCS(SYNC)
