/* SPDX-License-Identifier: GPL-2.0-only */
/* Files that processes ask about by path: the calls of the families of stat() and access(). */
#include <bpfnb/filter.h>
#include <bpfnb/path.h>
#include <bpfnb/row.h>
#include <bpfnb/syscall.h>

const volatile bool failed DESCRIPTION("only those that failed") = false;
const volatile bool full_path DESCRIPTION("relative paths behind the directory that they start from") = false;

enum statsnoop_question { stat, lstat, fstatat, statx, access, faccessat, faccessat2 };

struct statsnoop_asked {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid, tid, uid;
	enum statsnoop_question call;
	s32 fd DESCRIPTION("the directory that the path is relative to, or the file itself; -1: the working directory");
	errno_t err DESCRIPTION("0, or why there is no answer");
	char comm[16];
	char path[];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } events SEC(".maps");

struct statsnoop_room { char bytes[sizeof(struct statsnoop_asked) + BPFNB_PATH + sizeof(path)]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct statsnoop_room);
} scratch SEC(".maps");

static __always_inline int answered(enum statsnoop_question call, long ret, int dirfd, u64 name)
{
	u32 zero = 0, length;
	struct statsnoop_asked *e;

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
	e->call = call;
	e->fd = dirfd == AT_FDCWD ? -1 : dirfd;
	e->err = ret < 0 ? -ret : 0;
	if (length > 1 && length <= BPFNB_PATH)
		bpf_ringbuf_output(&events, e, sizeof(*e) + length - 1, 0);
	else
		bpf_ringbuf_output(&events, e, sizeof(*e), 0);
	return 0;
}

#define ASKED(call, what, dirfd, name)                                                          \
	SEC("tp/syscalls/sys_exit_" #call) int ask_##call(struct trace_event_raw_sys_exit *ctx) \
	{                                                                                       \
		return answered(what, ctx->ret, dirfd, bpfnb_argument(name));                   \
	}

ASKED(newfstatat, fstatat, bpfnb_argument(0), 1)
ASKED(statx, statx, bpfnb_argument(0), 1)
ASKED(faccessat, faccessat, bpfnb_argument(0), 1)
ASKED(faccessat2, faccessat2, bpfnb_argument(0), 1)
#ifdef __TARGET_ARCH_x86 /* newer architectures have only those above */
ASKED(newstat, stat, AT_FDCWD, 0)
ASKED(newlstat, lstat, AT_FDCWD, 0)
ASKED(access, access, AT_FDCWD, 0)
#endif
