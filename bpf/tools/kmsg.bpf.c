/* SPDX-License-Identifier: GPL-2.0-only */
/* Who writes to the kernel's log: the task that ran when a message was made. The log itself is read from /dev/kmsg. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>

#define LONGEST 256 /* bytes of a message by which it is known again */

struct kmsg_written {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid, tid, uid;
	char comm[16];
	char text[LONGEST] SENSITIVE;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } written SEC(".maps");

SEC("tp/printk/console") int message(struct trace_event_raw_console *ctx)
{
	u32 place = ctx->__data_loc_msg;
	struct kmsg_written *e;

	if (!bpfnb_wanted())
		return 0;
	e = bpf_ringbuf_reserve(&written, sizeof(*e), 0);
	if (!e)
		return 0;
	bpfnb_row(e);
	if (bpf_probe_read_kernel_str(e->text, sizeof(e->text), (void *)ctx + (u16)place) < 0)
		e->text[0] = 0;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
