/* SPDX-License-Identifier: GPL-2.0-only */
/* How long disks take for requests, as histograms that the kernel counts. */
#include <bpfnb/distribution.h>
#include <bpfnb/filter.h>
#include <bpfnb/disk.h>

const volatile bool queued DESCRIPTION("with the time that they waited before the disk had them") = false;

struct biolatency_which {
	u32 dev;
	u32 type;
	u32 flags;
	u32 slot;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
	__type(key, struct biolatency_which); __type(value, struct bpfnb_sum);
} slots SEC(".maps");

/* The kernel's numbers of flags change with its versions. Here: bits from 0 on. */
static __always_inline u32 flags_of(u32 flags)
{
	u32 found = 0;

#define FLAG(bit, name) found |= (flags >> bpf_core_enum_value(enum req_flag_bits, __REQ_##name) & 1) << bit
	FLAG(0, SYNC);
	FLAG(1, META);
	FLAG(2, PRIO);
	FLAG(3, FUA);
	FLAG(4, PREFLUSH);
	FLAG(5, RAHEAD);
	FLAG(6, BACKGROUND);
	FLAG(7, NOWAIT);
	return found;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request *rq, int error, unsigned int bytes)
{
	struct bpfnb_io *io = bpfnb_ended(rq, bytes);
	struct biolatency_which which = {};
	u64 ns;

	if (!io)
		return 0;
	ns = bpf_ktime_get_ns() - (queued ? io->made : io->issued);
	which.dev = bpfnb_disk_of(rq);
	which.type = bpfnb_operation(io->flags);
	which.flags = flags_of(io->flags);
	which.slot = bpfnb_log2(ns);
	bpfnb_add(&slots, &which, ns);
	bpfnb_forget(rq);
	return 0;
}
