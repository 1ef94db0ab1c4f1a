/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads, writes and syncs of files that take long, with the file's path. */
#include <bpfnb/fileops.h>
#include <bpfnb/filter.h>
#include <bpfnb/path.h>
#include <bpfnb/row.h>

const volatile u32 min_ms RANGE(0, 10000) DESCRIPTION("only those that took at least this long") = 10;

enum fileslower_operation { read, write, fsync };

struct fileslower_slow {
	ktime_ns_t time DESCRIPTION("when it returned");
	cgroup_id_t cgroup_id HIDDEN;
	ns_t lat DESCRIPTION("how long the call took");
	bytes_t bytes;
	u32 pid, tid, uid;
	enum fileslower_operation op;
	errno_t err;
	char fs[20] DESCRIPTION("the type of the file system");
	char comm[16];
	char path[];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct fileslower_room { char bytes[sizeof(struct fileslower_slow) + BPFNB_PATH]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct fileslower_room);
} scratch SEC(".maps");

/* What each thread is at; it ends with the thread, so nothing can be left over. */
struct fileslower_call { u64 since; struct file *file; };
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct fileslower_call);
} calls SEC(".maps");

static __always_inline int begin(int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file;
	struct fileslower_call *call;

	if (!bpfnb_wanted())
		return 0;
	file = bpfnb_file(fd);
	if (!file || !bpfnb_regular(file))
		return 0;
	call = bpf_task_storage_get(&calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call)
		return 0;
	call->since = bpf_ktime_get_ns();
	call->file = file;
	return 0;
}

static __always_inline int end(enum fileslower_operation op, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fileslower_call *call = bpf_task_storage_get(&calls, task, NULL, 0);
	u32 zero = 0, length;
	struct file *file;
	struct fileslower_slow *e;
	u64 lat;

	if (!call || !call->since)
		return 0;
	lat = bpf_ktime_get_ns() - call->since;
	call->since = 0;
	if (lat < min_ms * NSEC_PER_MSEC)
		return 0;
	file = call->file;
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e)
		return 0;
	bpfnb_row(e);
	e->lat = lat;
	e->bytes = ret > 0 ? ret : 0;
	e->err = ret < 0 ? -ret : 0;
	e->op = op;
	bpf_probe_read_kernel_str(e->fs, sizeof(e->fs), BPF_CORE_READ(file, f_inode, i_sb, s_type, name));
	length = bpfnb_path_of_file(e->path, BPFNB_PATH, file);
	if (length > 1 && length <= BPFNB_PATH)
		bpf_ringbuf_output(&events, e, sizeof(*e) + length - 1, 0);
	return 0;
}

#define TIMED(call, op)                                                                               \
	SEC("tp/syscalls/sys_enter_" #call) int enter_##call(struct trace_event_raw_sys_enter *ctx)   \
	{                                                                                             \
		return begin(ctx->args[0]);                                                           \
	}                                                                                             \
	SEC("tp/syscalls/sys_exit_" #call) int exit_##call(struct trace_event_raw_sys_exit *ctx)      \
	{                                                                                             \
		return end(op, ctx->ret);                                                             \
	}
#define READ(call) TIMED(call, read)
#define WRITE(call) TIMED(call, write)
#define SYNC(call) TIMED(call, fsync)

BPFNB_READS(READ)
BPFNB_WRITES(WRITE)
BPFNB_SYNCS(SYNC)
