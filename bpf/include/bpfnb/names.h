/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of files as numbers: what a path ends with, and what a directory entry is called.
 *
 *   struct bpfnb_name name = {};
 *   if (bpfnb_name_in(path, &name))                                  // a path in the process's memory
 *       directory = bpfnb_directory_of(&name, dirfd);                // NULL: the path has directories itself
 *   name.hash == bpfnb_name_of(dentry)                               // both are FNV-1a, from the last byte to the first
 *
 * Linux 5.17 (path.h, whose room they read into).
 */
#ifndef BPFNB_NAMES_H
#define BPFNB_NAMES_H

#include <bpfnb/path.h>

/* A file's name and that of its directory, as a path tells them. */
struct bpfnb_name {
	u64 hash, directory;
	u64 alone; /* nothing was before it */
};

/* The name that ends at byte `end` of the path in the room: its hash and length. Functions without `static` are
 * checked by the verifier on their own, once. */
__noinline int bpfnb_name_before(u32 end, u64 *into)
{
	u32 zero = 0, length = 0;
	struct bpfnb_room *room = bpf_map_lookup_elem(&path_room, &zero);
	u64 hash = 0xcbf29ce484222325;

	if (!room || !into)
		return 0;
	for (u32 i = 1; i <= BPFNB_NAME && i <= end; i++) {
		u8 byte = room->text[(end - i) & (BPFNB_PATH - 1)];

		if (byte == '/')
			break;
		hash = (hash ^ byte) * 0x100000001b3;
		length = i;
	}
	*into = hash;
	return length;
}

/* What a path that a process gave ends with. False: it could not be read. */
__noinline int bpfnb_name_in(u64 path, struct bpfnb_name *name)
{
	u32 zero = 0, end, length;
	struct bpfnb_room *room = bpf_map_lookup_elem(&path_room, &zero);
	long size = room ? bpf_probe_read_user_str(room->text, BPFNB_PATH, (void *)path) : 0;
	u64 hash = 0;

	if (!name || size < 2 || size > BPFNB_PATH)
		return false;
	end = size - 1;
	length = bpfnb_name_before(end, &hash);
	name->hash = hash;
	name->alone = length >= end;
	if (!name->alone) {
		bpfnb_name_before(end - length - 1, &hash);
		name->directory = hash;
	}
	return true;
}

static __always_inline u64 bpfnb_name_of(struct dentry *dentry)
{
	u32 zero = 0;
	struct bpfnb_room *room = bpf_map_lookup_elem(&path_room, &zero);
	long size = room ? bpf_probe_read_kernel_str(room->text, BPFNB_NAME, BPF_CORE_READ(dentry, d_name.name)) : 0;
	u64 hash = 0;

	if (size > 1 && size <= BPFNB_NAME)
		bpfnb_name_before(size - 1, &hash);
	return hash;
}

/* The directory that a name without a path is in. */
static __always_inline struct dentry *bpfnb_directory_of(struct bpfnb_name *name, int dirfd)
{
	struct file *file = NULL;

	if (!name->alone)
		return NULL;
	if (dirfd == AT_FDCWD)
		return BPF_CORE_READ(bpf_get_current_task_btf(), fs, pwd.dentry);
	file = bpfnb_file(dirfd);
	return file ? BPF_CORE_READ(file, f_path.dentry) : NULL;
}

#endif
