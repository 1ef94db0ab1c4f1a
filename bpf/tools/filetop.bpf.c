/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads and writes by file and process, counted in the kernel. */
#include <bpfnb/fileops.h>
#include <bpfnb/filter.h>
#include <bpfnb/path.h>
#include <bpfnb/syscall.h>

const volatile bool special DESCRIPTION("also pipes, sockets and devices") = false;

struct filetop_who {
	u64 inode HIDDEN;
	u32 generation HIDDEN; /* file systems give the number of a file that is gone to the next one */
	u32 dev HIDDEN;
	u32 pid;
	u32 type;
};

struct filetop_traffic {
	u64 reads;
	u64 writes;
	bytes_t read_bytes;
	bytes_t write_bytes;
	u32 uid;
	char comm[16];
	char path[256] DESCRIPTION("where it was when it was first seen");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, struct filetop_who); __type(value, struct filetop_traffic);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct filetop_traffic);
} scratch SEC(".maps");

static struct filetop_traffic *first_seen(struct file *file, struct filetop_who *who)
{
	u32 zero = 0;
	struct filetop_traffic *new = bpf_map_lookup_elem(&scratch, &zero);

	if (!new)
		return NULL;
	__builtin_memset(new, 0, sizeof(*new));
	new->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(new->comm, sizeof(new->comm));
	bpfnb_path_of_file(new->path, sizeof(new->path), file);
	bpf_map_update_elem(&files, who, new, BPF_NOEXIST);
	return bpf_map_lookup_elem(&files, who);
}

static __always_inline int moved(long ret, bool write)
{
	struct filetop_traffic *traffic;
	struct filetop_who who = {};
	struct inode *inode;
	struct file *file;

	if (ret < 0 || !bpfnb_wanted())
		return 0;
	file = bpfnb_file(bpfnb_argument(0));
	if (!file)
		return 0; /* another thread has closed it meanwhile */
	inode = BPF_CORE_READ(file, f_inode);
	who.type = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	if (!special && who.type != S_IFREG)
		return 0;
	who.inode = BPF_CORE_READ(inode, i_ino);
	who.generation = BPF_CORE_READ(inode, i_generation);
	who.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	who.pid = bpf_get_current_pid_tgid() >> 32;
	traffic = bpf_map_lookup_elem(&files, &who);
	if (!traffic)
		traffic = first_seen(file, &who);
	if (!traffic)
		return 0;
	__sync_fetch_and_add(write ? &traffic->writes : &traffic->reads, 1);
	__sync_fetch_and_add(write ? &traffic->write_bytes : &traffic->read_bytes, ret);
	return 0;
}

#define READ(call) \
	SEC("tp/syscalls/sys_exit_" #call) int ret_##call(struct trace_event_raw_sys_exit *ctx) { return moved(ctx->ret, false); }
#define WRITE(call) \
	SEC("tp/syscalls/sys_exit_" #call) int ret_##call(struct trace_event_raw_sys_exit *ctx) { return moved(ctx->ret, true); }

BPFNB_READS(READ)
BPFNB_WRITES(WRITE)
