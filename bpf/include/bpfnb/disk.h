/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests to disks from their making to their end. A tool defines what becomes of one that has ended:
 *
 *   #include <bpfnb/disk.h>
 *   SEC("tp_btf/block_rq_complete")
 *   int BPF_PROG(completed, struct request *rq, int error, unsigned int bytes)
 *   {
 *       struct bpfnb_io *io = bpfnb_ended(rq, bytes);          // NULL: not ours, or not yet all of it
 *       ...
 *       bpfnb_forget(rq);
 *
 * An interrupt ends a request, on whatever task's time: who wanted it is noted when it is made, by whom the filters ask.
 * That is block_io_start (Linux 6.5); with BPFNB_NO_IO_START the insertion into the queue of a scheduler, and where there
 * is none the hand-over to the driver. Linux 5.16.
 */
#ifndef BPFNB_DISK_H
#define BPFNB_DISK_H

const volatile u32 disk DESCRIPTION("only this disk, by its device number; 0: all") = 0;

struct bpfnb_io {
	u64 made;   /* when it was made, or put into its queue */
	u64 issued; /* when the driver got it; 0: not yet. Of a flush: when it was made. */
	u64 sector;
	u64 cgroup_id;
	u32 bytes;
	u32 flags;
	u32 pid, tid, uid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536); __type(key, u64); __type(value, struct bpfnb_io);
} requests SEC(".maps");

static __always_inline u32 bpfnb_disk_of(struct request *rq)
{
	struct gendisk *gendisk = BPF_CORE_READ(rq, q, disk);

	return gendisk ? BPF_CORE_READ(gendisk, major) << 20 | BPF_CORE_READ(gendisk, first_minor) : 0;
}

static __always_inline u8 bpfnb_operation(u32 flags)
{
	return flags & 0xff; /* REQ_OP_MASK */
}

static __always_inline void bpfnb_made(struct request *rq)
{
	struct bpfnb_io io = {};
	u64 key = (u64)rq;

	if (!bpfnb_wanted() || (disk && disk != bpfnb_disk_of(rq))) {
		bpf_map_delete_elem(&requests, &key); /* what had this place before may have been merged away */
		return;
	}
	io.made = bpf_ktime_get_ns();
	io.cgroup_id = bpf_get_current_cgroup_id();
	io.pid = bpf_get_current_pid_tgid() >> 32;
	io.tid = bpf_get_current_pid_tgid();
	io.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(io.comm, sizeof(io.comm));
	bpf_map_update_elem(&requests, &key, &io, BPF_ANY);
}

#ifndef BPFNB_NO_IO_START
SEC("tp_btf/block_io_start") int BPF_PROG(io_started, struct request *rq)
{
	bpfnb_made(rq);
	return 0;
}
#else
SEC("tp_btf/block_rq_insert") int BPF_PROG(io_inserted, struct request *rq)
{
	bpfnb_made(rq);
	return 0;
}
#endif

SEC("tp_btf/block_rq_issue") int BPF_PROG(io_issued, struct request *rq)
{
	u64 key = (u64)rq;
	struct bpfnb_io *io = bpf_map_lookup_elem(&requests, &key);

#ifdef BPFNB_NO_IO_START
	if (!io) { /* it went past the scheduler */
		bpfnb_made(rq);
		io = bpf_map_lookup_elem(&requests, &key);
	}
#endif
	if (!io)
		return 0;
	io->issued = bpf_ktime_get_ns();
	io->sector = rq->__sector;
	io->bytes = rq->__data_len;
	io->flags = rq->cmd_flags;
	return 0;
}

/* Merged into another one, whose part it is from now on. */
SEC("tp_btf/block_rq_merge") int BPF_PROG(io_merged, struct request *rq)
{
	u64 key = (u64)rq;

	bpf_map_delete_elem(&requests, &key);
	return 0;
}

static __always_inline void bpfnb_forget(struct request *rq)
{
	u64 key = (u64)rq;

	bpf_map_delete_elem(&requests, &key);
}

static __always_inline struct bpfnb_io *bpfnb_ended(struct request *rq, u32 bytes)
{
	u64 key = (u64)rq;
	struct bpfnb_io *io = bpf_map_lookup_elem(&requests, &key);

	if (!io || bytes < rq->__data_len)
		return NULL;
	if (io->issued)
		return io;
	if (rq->__data_len) { /* refused before the driver had it */
		bpfnb_forget(rq);
		return NULL;
	}
	/* A process asks for a flush without data: the kernel has one made for all who wait, by a thread of its own. */
	io->issued = io->made;
	io->flags = (rq->cmd_flags & ~0xff) | REQ_OP_FLUSH;
	return io;
}

#endif
