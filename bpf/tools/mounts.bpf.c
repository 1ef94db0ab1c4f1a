/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls that change what is mounted: mount and umount, and the newer ones that do it in steps. */
#include <bpfnb/filter.h>
#include <bpfnb/path.h>
#include <bpfnb/row.h>
#include <bpfnb/syscall.h>

const volatile bool failed DESCRIPTION("only calls that failed") = false;

enum mounts_mount_call {
	mount, umount, pivot_root, fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr
};

struct mounts_done {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid, tid, uid;
	u32 mntns DESCRIPTION("the caller's mount namespace, by inode");
	enum mounts_mount_call call;
	u32 flags DESCRIPTION("the call's, by name");
	s32 fd DESCRIPTION("the descriptor that it made; -1: none");
	errno_t err DESCRIPTION("0, or why it failed");
	char comm[16];
	char fs[16] DESCRIPTION("the type of the file system");
	char source[256] DESCRIPTION("what is mounted");
	char target[256] DESCRIPTION("where");
	char data[256] SENSITIVE DESCRIPTION("options for the file system; of fsconfig: key=value");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct mounts_done);
} scratch SEC(".maps");

static __always_inline struct mounts_done *begin(enum mounts_mount_call call, long ret, bool makes_fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 zero = 0;
	struct mounts_done *e;

	if ((failed && ret >= 0) || !bpfnb_wanted())
		return NULL;
	e = bpf_map_lookup_elem(&scratch, &zero);
	if (!e)
		return NULL;
	__builtin_memset(e, 0, sizeof(*e));
	bpfnb_row(e);
	e->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	e->call = call;
	e->fd = makes_fd && ret >= 0 ? ret : -1;
	e->err = ret < 0 ? -ret : 0;
	return e;
}

static __always_inline int end(struct mounts_done *e)
{
	bpf_ringbuf_output(&events, e, sizeof(*e), 0);
	return 0;
}

static __always_inline void text(char *into, u32 size, u64 from)
{
	if (from)
		bpf_probe_read_user_str(into, size, (void *)from);
}
#define TEXT(field, number) text(field, sizeof(field), bpfnb_argument(number))

/* The file system that a descriptor of fsopen() or fspick() is about. */
static __always_inline void file_system_of(struct mounts_done *e, int fd)
{
	struct file *file = bpfnb_file(fd);
	struct fs_context *context = BPF_CORE_READ(file, private_data);

	bpf_probe_read_kernel_str(e->fs, sizeof(e->fs), BPF_CORE_READ(context, fs_type, name));
}

/* What is mounted behind a descriptor of a mount. */
static __always_inline void mount_of(struct mounts_done *e, int fd)
{
	struct file *file = bpfnb_file(fd);
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mnt = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);

	bpf_probe_read_kernel_str(e->fs, sizeof(e->fs), BPF_CORE_READ(vfsmount, mnt_sb, s_type, name));
	bpf_probe_read_kernel_str(e->source, sizeof(e->source), BPF_CORE_READ(mnt, mnt_devname));
}

#define RETURNED(call, makes_fd)                                                                    \
	static __always_inline void of_##call(struct mounts_done *e, long ret);                            \
	SEC("tp/syscalls/sys_exit_" #call) int exit_##call(struct trace_event_raw_sys_exit *ctx)    \
	{                                                                                           \
		struct mounts_done *e = begin(call, ctx->ret, makes_fd);                                   \
                                                                                                    \
		if (!e)                                                                             \
			return 0;                                                                   \
		of_##call(e, ctx->ret);                                                             \
		return end(e);                                                                      \
	}                                                                                           \
	static __always_inline void of_##call(struct mounts_done *e, long ret)

RETURNED(mount, false)
{
	TEXT(e->source, 0);
	TEXT(e->target, 1);
	TEXT(e->fs, 2);
	e->flags = bpfnb_argument(3);
	TEXT(e->data, 4);
}

RETURNED(umount, false)
{
	TEXT(e->target, 0);
	e->flags = bpfnb_argument(1);
}

RETURNED(pivot_root, false)
{
	TEXT(e->source, 0);
	TEXT(e->target, 1);
}

RETURNED(fsopen, true)
{
	TEXT(e->fs, 0);
	e->flags = bpfnb_argument(1);
}

RETURNED(fsconfig, false)
{
	long length = 0;

	file_system_of(e, bpfnb_argument(0));
	e->flags = bpfnb_argument(1);
	if (bpfnb_argument(2))
		length = bpf_probe_read_user_str(e->data, 128, (void *)bpfnb_argument(2));
	if (length > 0 && length < 128 && bpfnb_argument(3) && e->flags == FSCONFIG_SET_STRING) {
		barrier_var(length); /* clang would know the bounds and leave them out */
		e->data[(length - 1) & 127] = '=';
		bpf_probe_read_user_str(e->data + (length & 127), 128, (void *)bpfnb_argument(3));
	}
}

RETURNED(fsmount, true)
{
	file_system_of(e, bpfnb_argument(0));
	e->flags = bpfnb_argument(2);
}

RETURNED(fspick, true)
{
	TEXT(e->target, 1);
	e->flags = bpfnb_argument(2);
	if (ret >= 0)
		file_system_of(e, ret);
}

RETURNED(open_tree, true)
{
	TEXT(e->source, 1);
	e->flags = bpfnb_argument(2);
}

RETURNED(move_mount, false)
{
	TEXT(e->source, 1);
	TEXT(e->target, 3);
	e->flags = bpfnb_argument(4);
	if (!e->source[0])
		mount_of(e, bpfnb_argument(0));
}

RETURNED(mount_setattr, false)
{
	struct mount_attr change = {};

	TEXT(e->target, 1);
	bpf_probe_read_user(&change, sizeof(change), (void *)bpfnb_argument(3));
	e->flags = change.attr_set;
}
