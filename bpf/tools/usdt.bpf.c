/* SPDX-License-Identifier: GPL-2.0-only */
/* Passages of USDT probes, the places that a program's authors marked, with the arguments given there.
 *
 * Its columns and programs are made from the notes in the binary: how many arguments each probe has, their sizes and
 * signs. libbpf knows for each place of a probe where its arguments are, and counts up the probe's semaphore. */
#include <bpfnb/prelude.h>
#include <bpfnb/filter.h>
#include <bpfnb/matching.h>
#include <bpfnb/row.h>
#include <bpf/usdt.bpf.h>

struct usdt_passage {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u64 missing DESCRIPTION("a bit for each column that could not be read");
	u32 probe DESCRIPTION("its number");
	u32 pid;
	u32 tid;
	u32 uid;
	char comm[16];
@COLUMNS@
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); } events SEC(".maps");

static const struct usdt_passage empty;

static __always_inline struct usdt_passage *passed(u32 probe)
{
	struct usdt_passage *e;

	if (!bpfnb_wanted())
		return NULL;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return NULL;
	bpf_probe_read_kernel(e, sizeof(*e), &empty);
	bpfnb_row(e);
	e->probe = probe;
	return e;
}

@PROGRAMS@
