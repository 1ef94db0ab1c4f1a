/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel writes back from the page cache: for which device, why, how much, and how long it took. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>

const volatile bool empty DESCRIPTION("also rounds that wrote nothing") = false;

struct writeback_round {
	ktime_ns_t time DESCRIPTION("when it ended");
	cgroup_id_t cgroup_id HIDDEN;
	ns_t lat DESCRIPTION("how long it took");
	u64 pages UNIT(pages) DESCRIPTION("that were written");
	u32 pid, tid, uid;
	enum wb_reason reason;
	bool sync DESCRIPTION("somebody waits for it");
	char comm[16];
	char device[64];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct writeback_begun { u64 since; long pages; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, u64); __type(value, struct writeback_begun);
} rounds SEC(".maps"); /* by thread */

SEC("tp_btf/writeback_start")
int BPF_PROG(started, struct bdi_writeback *wb, struct wb_writeback_work *work)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct writeback_begun begun = {bpf_ktime_get_ns(), work->nr_pages};

	if (bpfnb_wanted())
		bpf_map_update_elem(&rounds, &thread, &begun, BPF_ANY);
	return 0;
}

SEC("tp_btf/writeback_written")
int BPF_PROG(written, struct bdi_writeback *wb, struct wb_writeback_work *work)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct writeback_begun *begun = bpf_map_lookup_elem(&rounds, &thread);
	struct writeback_round *e;

	if (!begun)
		return 0;
	if (empty || work->nr_pages != begun->pages) {
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (e) {
			bpfnb_row(e);
			e->lat = e->time - begun->since;
			e->pages = begun->pages - work->nr_pages;
			e->reason = work->reason;
			e->sync = work->sync_mode == WB_SYNC_ALL;
			bpf_probe_read_kernel_str(e->device, sizeof(e->device), wb->bdi->dev_name);
			bpf_ringbuf_submit(e, 0);
		}
	}
	bpf_map_delete_elem(&rounds, &thread);
	return 0;
}
