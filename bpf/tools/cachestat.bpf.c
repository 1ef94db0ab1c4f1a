/* SPDX-License-Identifier: GPL-2.0-only */
/* The page cache: pages of files that were asked for, and those that were not there yet.
 *
 * Pages are brought in by whoever asked, readahead too; those that write() makes are counted apart. */
#include <bpfnb/filter.h>

const volatile u32 page_shift DESCRIPTION("the power of two that a page has") = 12;

struct cachestat_user {
	u32 pid;
	char comm[16];
};

struct cachestat_pages {
	u64 accesses UNIT(pages) DESCRIPTION("pages that read() and page faults asked for");
	u64 misses UNIT(pages) DESCRIPTION("pages that were brought in, those read ahead too");
	u64 written UNIT(pages) DESCRIPTION("pages that write() added");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct cachestat_user); __type(value, struct cachestat_pages);
} counts SEC(".maps");

enum cachestat_who { together }; /* who pass the filters */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, enum cachestat_who); __type(value, struct cachestat_pages);
} totals SEC(".maps");

#define ADD(pages, what, count)                                            \
	({                                                                 \
		enum cachestat_who who = together;                                        \
		struct cachestat_pages *sum = bpf_map_lookup_elem(&totals, &who);    \
		__sync_fetch_and_add(&(pages)->what, count);               \
		if (sum)                                                   \
			sum->what += count;                                \
	})

static struct cachestat_pages *pages_of_current(void)
{
	struct cachestat_user key = {.pid = bpf_get_current_pid_tgid() >> 32};
	struct cachestat_pages *pages, none = {};

	if (!bpfnb_wanted())
		return NULL;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	pages = bpf_map_lookup_elem(&counts, &key);
	if (pages)
		return pages;
	bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, &key);
}

/* Whether the current task is in write() or one of its kin. */
static bool writes(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

#if defined(__TARGET_ARCH_x86)
	switch ((s64)BPF_CORE_READ(regs, orig_ax)) {
	case 1: case 18: case 20: case 296: case 328: /* write, pwrite64, writev, pwritev, pwritev2 */
		return true;
	}
#elif defined(__TARGET_ARCH_arm64)
	switch ((s32)BPF_CORE_READ(regs, syscallno)) {
	case 64: case 68: case 66: case 70: case 287:
		return true;
	}
#endif
	return false;
}

SEC("tracepoint/filemap/mm_filemap_add_to_page_cache")
int added(struct trace_event_raw_mm_filemap_op_page_cache *ctx)
{
	struct cachestat_pages *pages = pages_of_current();
	u64 count = bpf_core_field_exists(ctx->order) ? 1ULL << ctx->order : 1;

	if (!pages)
		return 0;
	if (writes())
		ADD(pages, written, count);
	else
		ADD(pages, misses, count);
	return 0;
}

#if !defined(BY_FUNCTION) && !defined(MISSES_ONLY)
/* A read that goes on is told of again, from where it has come to: the end is the same. */
struct cachestat_read {
	u64 mapping, from, upto;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, u64); __type(value, struct cachestat_read);
} reads SEC(".maps");

SEC("tp_btf/mm_filemap_get_pages") int BPF_PROG(was_read, struct address_space *mapping, u64 from, u64 upto)
{
	u64 thread = bpf_get_current_pid_tgid(), last = BPF_CORE_READ(mapping, host, i_size);
	struct cachestat_read read = {(u64)mapping, from, upto}, *before;
	struct cachestat_pages *pages = pages_of_current();
	bool more;

	if (!pages)
		return 0;
	before = bpf_map_lookup_elem(&reads, &thread);
	more = before && before->mapping == read.mapping && before->upto == upto && before->from < from;
	bpf_map_update_elem(&reads, &thread, &read, BPF_ANY);
	last = last ? (last - 1) >> page_shift : 0;
	upto = upto < last ? upto : last;
	if (!more && from <= upto)
		ADD(pages, accesses, upto - from + 1);
	return 0;
}

SEC("tp_btf/mm_filemap_fault") int BPF_PROG(was_touched, struct address_space *mapping)
{
	struct cachestat_pages *pages = pages_of_current();

	if (pages)
		ADD(pages, accesses, 1);
	return 0;
}
#elif defined(BY_FUNCTION) /* before Linux 6.15 */
SEC("fentry/folio_mark_accessed") int BPF_PROG(accessed, struct folio *folio)
{
	u64 mapping = (u64)BPF_CORE_READ(folio, mapping);
	struct cachestat_pages *pages;

	if (!mapping || mapping & 3 || writes()) /* no file's */
		return 0;
	pages = pages_of_current();
	if (pages)
		ADD(pages, accesses, 1);
	return 0;
}
#endif
