/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to disks, one row each: who wanted it, what, how long it waited and how long the disk took. */
#include <bpfnb/filter.h>
#include <bpfnb/disk.h>

struct biosnoop_io {
	ktime_ns_t time DESCRIPTION("when it was complete");
	cgroup_id_t cgroup_id HIDDEN;
	u64 sector DESCRIPTION("of 512 bytes, from the disk's beginning");
	bytes_t bytes;
	ns_t queue DESCRIPTION("from its making until the driver had it");
	ns_t lat DESCRIPTION("from there until it was complete");
	u32 dev;
	u32 pid, tid, uid;
	u32 type;
	errno_t err;
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); } events SEC(".maps");

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request *rq, int error, unsigned int bytes)
{
	struct bpfnb_io *io = bpfnb_ended(rq, bytes);
	struct biosnoop_io *e;

	if (!io)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		e->time = bpf_ktime_get_ns();
		e->cgroup_id = io->cgroup_id;
		e->sector = io->sector;
		e->bytes = io->bytes;
		e->queue = io->issued - io->made;
		e->lat = e->time - io->issued;
		e->dev = bpfnb_disk_of(rq);
		e->pid = io->pid;
		e->tid = io->tid;
		e->uid = io->uid;
		e->type = bpfnb_operation(io->flags);
		e->err = error;
		__builtin_memcpy(e->comm, io->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
	bpfnb_forget(rq);
	return 0;
}
