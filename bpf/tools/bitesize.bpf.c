/* SPDX-License-Identifier: GPL-2.0-only */
/* How large requests to disks are, by command, as histograms that the kernel counts. */
#include <bpfnb/filter.h>
#include <bpfnb/disk.h>

struct bitesize_which {
	char comm[16];
	u32 pid;
	u32 type;
	u32 slot;
};

struct bitesize_sum {
	u64 count;
	bytes_t total;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct bitesize_which); __type(value, struct bitesize_sum);
} slots SEC(".maps");

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request *rq, int error, unsigned int bytes)
{
	struct bpfnb_io *io = bpfnb_ended(rq, bytes);
	struct bitesize_sum first = {1, 0}, *sum;
	struct bitesize_which which = {};

	if (!io)
		return 0;
	if (!io->bytes) { /* flushes have no size */
		bpfnb_forget(rq);
		return 0;
	}
	__builtin_memcpy(which.comm, io->comm, sizeof(which.comm));
	which.pid = io->pid;
	which.type = bpfnb_operation(io->flags);
	which.slot = bpfnb_log2(io->bytes);
	first.total = io->bytes;
	sum = bpf_map_lookup_elem(&slots, &which);
	if (sum) {
		sum->count++;
		sum->total += io->bytes;
	} else {
		bpf_map_update_elem(&slots, &which, &first, BPF_ANY);
	}
	bpfnb_forget(rq);
	return 0;
}
