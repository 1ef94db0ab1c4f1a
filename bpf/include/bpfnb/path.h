/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files by descriptor, their paths as the current process sees them, and a filter of paths.
 *
 *   struct file *file = bpfnb_file(fd);                                // NULL: there is none
 *   u32 length = bpfnb_path_of_file(e->path, sizeof(e->path), file);   // with its NUL
 *   length = bpfnb_path_named(e->path, sizeof(e->path), dirfd, name);  // name behind the path of dirfd or of the cwd
 *
 * A path is walked from its end to the process's root, across mounts: bpf_d_path() is not for most programs. The room
 * that it is given is a power of two up to 4096 bytes; what does not fit loses its beginning. Linux 5.17 (bpf_loop).
 */
#ifndef BPFNB_PATH_H
#define BPFNB_PATH_H

#define BPFNB_PATH 4096 /* PATH_MAX */
#define BPFNB_NAME 256  /* NAME_MAX and its NUL */
#define AT_FDCWD (-100)

/* Where `text` begins stands beside it: of what is in a map the verifier assumes nothing, so it checks a step once. */
struct bpfnb_room { u32 begin; char text[BPFNB_PATH + BPFNB_NAME]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct bpfnb_room);
} path_room SEC(".maps");

static __always_inline struct file *bpfnb_file(int fd)
{
	struct fdtable *table = bpf_get_current_task_btf()->files->fdt;
	struct file *file = NULL;

	if (fd >= 0 && (u32)fd < table->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd);
	return file;
}

static __always_inline bool bpfnb_regular(struct file *file)
{
	return S_ISREG(BPF_CORE_READ(file, f_inode, i_mode));
}

struct bpfnb_walk {
	struct dentry *dentry, *root;
	struct vfsmount *mount, *root_mount;
};

static long bpfnb_step(u64 index, struct bpfnb_walk *walk)
{
	struct dentry *dentry = walk->dentry, *parent;
	struct vfsmount *vfsmount = walk->mount;
	u32 zero = 0, length, begin;
	struct bpfnb_room *room = bpf_map_lookup_elem(&path_room, &zero);

	if (!room || (dentry == walk->root && vfsmount == walk->root_mount))
		return 1;
	if (dentry == BPF_CORE_READ(vfsmount, mnt_root)) {
		struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount)
			return 1; /* not below the process's root */
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = (void *)above + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	parent = BPF_CORE_READ(dentry, d_parent);
	length = BPF_CORE_READ(dentry, d_name.len) & (BPFNB_NAME - 1);
	begin = room->begin;
	if (begin > BPFNB_PATH || begin < length + 1)
		return 1;
	begin -= length;
	bpf_probe_read_kernel(room->text + (begin & (BPFNB_PATH - 1)), length, BPF_CORE_READ(dentry, d_name.name));
	if (parent != dentry) /* a file without a directory has only a name */
		room->text[--begin & (BPFNB_PATH - 1)] = '/';
	room->begin = begin;
	if (parent == dentry)
		return 1;
	walk->dentry = parent;
	return 0;
}

/* The path into `into`, with a NUL; its bytes with that, at most `size`. */
static __always_inline u32 bpfnb_path_of(char *into, u32 size, struct dentry *dentry, struct vfsmount *mount)
{
	struct fs_struct *fs = bpf_get_current_task_btf()->fs;
	struct bpfnb_walk walk = {dentry, fs->root.dentry, mount, fs->root.mnt};
	u32 zero = 0, length;
	struct bpfnb_room *room = bpf_map_lookup_elem(&path_room, &zero);

	if (!room)
		return 0;
	room->begin = BPFNB_PATH;
	bpf_loop(128, bpfnb_step, &walk, 0);
	if (!BPF_CORE_READ(dentry, d_name.len)) { /* pipes, sockets: no name, so that of their file system */
		bpf_probe_read_kernel_str(into, 16, BPF_CORE_READ(dentry, d_sb, s_type, name));
		return 16;
	}
	if (room->begin >= BPFNB_PATH) {
		room->begin = BPFNB_PATH - 1;
		room->text[BPFNB_PATH - 1] = '/';
	}
	length = BPFNB_PATH - room->begin;
	if (length > size - 1)
		length = size - 1;
	barrier_var(length);
	length &= size - 1;
	bpf_probe_read_kernel(into, length, room->text + ((BPFNB_PATH - length) & (BPFNB_PATH - 1)));
	into[length] = 0;
	return length + 1;
}

static __always_inline u32 bpfnb_path_of_file(char *into, u32 size, struct file *file)
{
	return bpfnb_path_of(into, size, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
}

/* The string that a process gave, as it is. */
static __always_inline u32 bpfnb_path_given(char *into, u32 size, const char *name)
{
	long length = bpf_probe_read_user_str(into, size, name);

	if (length > 0)
		return length;
	into[0] = 0;
	return 1;
}

/* The string that a process gave, behind the path of what it is relative to. */
static __always_inline u32 bpfnb_path_named(char *into, u32 size, int dirfd, const char *name)
{
	struct fs_struct *fs = bpf_get_current_task_btf()->fs;
	struct file *file;
	char first = 0;
	u32 length, given;

	bpf_probe_read_user(&first, 1, name);
	if (first == '/')
		return bpfnb_path_given(into, size, name);
	file = dirfd == AT_FDCWD ? NULL : bpfnb_file(dirfd);
	if (dirfd != AT_FDCWD && !file)
		return bpfnb_path_given(into, size, name); /* what it is relative to is not open */
	length = file ? bpfnb_path_of_file(into, size / 2, file) : bpfnb_path_of(into, size / 2, fs->pwd.dentry, fs->pwd.mnt);
	if (!first || length < 2)
		return length;
	length--;
	if (length > 1) /* the root's path ends with a slash already */
		into[length++ & (size / 2 - 1)] = '/';
	if (length > size / 2)
		return length;
	given = bpfnb_path_given(into + length, size / 2, name);
	return given < size / 2 ? length + given : bpfnb_path_given(into, size, name); /* no room for where it begins */
}

/* Paths that a tool is to show: they contain `path`; ^ before it: they begin with it. */
const volatile char path[64] DESCRIPTION("only paths that contain this; ^THIS: that begin with it");

struct bpfnb_search { const char *text; u32 length; bool found; };

static long bpfnb_compare(u64 index, struct bpfnb_search *search)
{
	const int anchored = path[0] == '^';
	const char *text = search->text;

	if (index >= BPFNB_PATH)
		return 1;
	for (int i = 0; i + anchored < sizeof(path) && path[i + anchored]; i++)
		if (text[index + i] != path[i + anchored])
			return anchored;
	search->found = true;
	return 1;
}

/* Whether a text of `length` bytes with its NUL passes. What it stands in has BPFNB_PATH + sizeof(path) bytes. */
static __always_inline bool bpfnb_path_wanted(const char *text, u32 length)
{
	struct bpfnb_search search = {text, length};

	if (!path[0])
		return true;
	bpf_loop(length, bpfnb_compare, &search, 0);
	return search.found;
}

#endif
