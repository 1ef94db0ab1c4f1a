/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests to disks by process, counted in the kernel. */
#include <bpfnb/filter.h>
#include <bpfnb/disk.h>

struct biotop_who {
	u32 pid;
	u32 dev;
	u32 type;
	char comm[16];
};

struct biotop_sum {
	u64 io DESCRIPTION("requests");
	bytes_t bytes;
	ns_t time DESCRIPTION("of the disk, for all of them");
	u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct biotop_who); __type(value, struct biotop_sum);
} counts SEC(".maps");

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request *rq, int error, unsigned int bytes)
{
	struct bpfnb_io *io = bpfnb_ended(rq, bytes);
	struct biotop_sum first = {}, *sum;
	struct biotop_who who = {};

	if (!io)
		return 0;
	who.pid = io->pid;
	who.dev = bpfnb_disk_of(rq);
	who.type = bpfnb_operation(io->flags);
	__builtin_memcpy(who.comm, io->comm, sizeof(who.comm));
	sum = bpf_map_lookup_elem(&counts, &who);
	if (!sum) {
		first.uid = io->uid;
		bpf_map_update_elem(&counts, &who, &first, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&counts, &who);
	}
	if (sum) {
		__sync_fetch_and_add(&sum->io, 1);
		__sync_fetch_and_add(&sum->bytes, io->bytes);
		__sync_fetch_and_add(&sum->time, bpf_ktime_get_ns() - io->issued);
	}
	bpfnb_forget(rq);
	return 0;
}
