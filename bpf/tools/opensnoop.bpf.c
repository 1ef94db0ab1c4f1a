/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that are opened, or could not be.
 *
 * All is taken when the call returns: its arguments are still there, and the path is in memory by then. */
#include <bpfnb/filter.h>
#include <bpfnb/path.h>
#include <bpfnb/row.h>
#include <bpfnb/syscall.h>

const volatile bool failed DESCRIPTION("only those that failed") = false;
const volatile bool full_path DESCRIPTION("relative paths behind the directory that they start from") = false;

struct opensnoop_opening {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid, tid, uid;
	s32 fd DESCRIPTION("the new descriptor; -1: none");
	errno_t err DESCRIPTION("0, or why it could not be opened");
	u32 flags DESCRIPTION("O_*, as the caller gave them");
	char comm[16];
	char path[];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } events SEC(".maps");

struct opensnoop_room { char bytes[sizeof(struct opensnoop_opening) + BPFNB_PATH + sizeof(path)]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct opensnoop_room);
} scratch SEC(".maps");

static __always_inline int opened(long ret, int dirfd, u64 name, u32 flags)
{
	u32 zero = 0, length;
	struct opensnoop_opening *e;

	if ((failed && ret >= 0) || !bpfnb_wanted())
		return 0;
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e)
		return 0;
	if (full_path)
		length = bpfnb_path_named(e->path, BPFNB_PATH, dirfd, (const char *)name);
	else
		length = bpfnb_path_given(e->path, BPFNB_PATH, (const char *)name);
	if (!bpfnb_path_wanted(e->path, length))
		return 0;
	bpfnb_row(e);
	e->fd = ret < 0 ? -1 : ret;
	e->err = ret < 0 ? -ret : 0;
	e->flags = flags;
	if (length > 1 && length <= BPFNB_PATH)
		bpf_ringbuf_output(&events, e, sizeof(*e) + length - 1, 0);
	else
		bpf_ringbuf_output(&events, e, sizeof(*e), 0);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat") int openat(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, bpfnb_argument(0), bpfnb_argument(1), bpfnb_argument(2));
}

SEC("tp/syscalls/sys_exit_openat2") int openat2(struct trace_event_raw_sys_exit *ctx)
{
	struct open_how how = {};

	bpf_probe_read_user(&how, sizeof(how), (void *)bpfnb_argument(2));
	return opened(ctx->ret, bpfnb_argument(0), bpfnb_argument(1), how.flags);
}

#ifdef __TARGET_ARCH_x86 /* newer architectures have only the two above */
#define CREAT (01 | 0100 | 01000) /* O_WRONLY | O_CREAT | O_TRUNC */

SEC("tp/syscalls/sys_exit_open") int open(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, AT_FDCWD, bpfnb_argument(0), bpfnb_argument(1));
}

SEC("tp/syscalls/sys_exit_creat") int creat(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, AT_FDCWD, bpfnb_argument(0), CREAT);
}
#endif
