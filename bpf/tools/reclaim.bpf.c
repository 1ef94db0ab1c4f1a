/* SPDX-License-Identifier: GPL-2.0-only */
/* What processes wait for when memory is short: pages are reclaimed, or moved together, before they get theirs. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>

const volatile ns_t min_latency DESCRIPTION("only those that took longer") = 0;

enum reclaim_kind { direct, memcg, node, compaction };

struct reclaim_stall {
	ktime_ns_t time DESCRIPTION("when it began");
	cgroup_id_t cgroup_id HIDDEN;
	ns_t latency;
	u64 reclaimed UNIT(pages) DESCRIPTION("pages that were freed");
	u32 pid;
	u32 tid;
	u32 uid;
	enum reclaim_kind kind DESCRIPTION("direct: of the machine; memcg: of a cgroup at its limit; node: of a NUMA node");
	s32 order DESCRIPTION("2^order pages were wanted in a row; of compaction not known: -1");
	s32 result DESCRIPTION("what became of a compaction");
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct reclaim_stall_key { u64 thread; u64 kind; };
struct reclaim_start { u64 time; s64 order; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, struct reclaim_stall_key); __type(value, struct reclaim_start);
} starts SEC(".maps");

static int begin(enum reclaim_kind kind, int order)
{
	struct reclaim_stall_key key = {bpf_get_current_pid_tgid(), kind};
	struct reclaim_start start = {bpf_ktime_get_ns(), order};

	if (bpfnb_wanted())
		bpf_map_update_elem(&starts, &key, &start, BPF_ANY);
	return 0;
}

static int end(enum reclaim_kind kind, u64 reclaimed, int result)
{
	struct reclaim_stall_key key = {bpf_get_current_pid_tgid(), kind};
	struct reclaim_start *found = bpf_map_lookup_elem(&starts, &key), start;
	u64 now = bpf_ktime_get_ns();
	struct reclaim_stall *e;

	if (!found)
		return 0;
	start = *found;
	bpf_map_delete_elem(&starts, &key);
	if (now - start.time < min_latency)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	bpfnb_row(e);
	e->time = start.time;
	e->latency = now - start.time;
	e->reclaimed = reclaimed;
	e->kind = kind;
	e->order = start.order;
	e->result = result;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin") int BPF_PROG(direct_begins, int order)
{
	return begin(direct, order);
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end") int BPF_PROG(direct_ends, u64 reclaimed)
{
	return end(direct, reclaimed, -1);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_begin") int BPF_PROG(memcg_begins, int order)
{
	return begin(memcg, order);
}

SEC("tp_btf/mm_vmscan_memcg_reclaim_end") int BPF_PROG(memcg_ends, u64 reclaimed)
{
	return end(memcg, reclaimed, -1);
}

SEC("tp_btf/mm_vmscan_node_reclaim_begin") int BPF_PROG(node_begins, int number, int order)
{
	return begin(node, order);
}

SEC("tp_btf/mm_vmscan_node_reclaim_end") int BPF_PROG(node_ends, u64 reclaimed)
{
	return end(node, reclaimed, -1);
}

SEC("tracepoint/compaction/mm_compaction_begin") int compaction_begins(void *ctx)
{
	return begin(compaction, -1);
}

SEC("tracepoint/compaction/mm_compaction_end") int compaction_ends(struct trace_event_raw_mm_compaction_end *ctx)
{
	return end(compaction, 0, ctx->status);
}
