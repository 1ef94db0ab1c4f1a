/* SPDX-License-Identifier: GPL-2.0-only */
/* Page faults by the user stack that touched the page. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

/* arch/x86/include/asm/trap_pf.h, which are macros. */
#define WRITE (1 << 1)
#define FETCH (1 << 4)

/* exceptions:page_fault_user and page_fault_kernel: their struct has another name before Linux 6.14. */
struct faults_page_fault {
	struct trace_entry entry;
	unsigned long address, ip, error_code;
};

struct faults_toucher {
	u32 pid;
	stack_id_t user_stack;
	char comm[16];
};

struct faults_touched {
	u64 count DESCRIPTION("page faults");
	u64 major DESCRIPTION("of those, for which a page was read from a disk");
	u64 writes DESCRIPTION("of those, by writing");
	u64 fetches DESCRIPTION("of those, by executing");
	u64 kernel DESCRIPTION("of those, by the kernel for the process, such as read() into its memory");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct faults_toucher); __type(value, struct faults_touched);
} counts SEC(".maps");

static struct faults_touched *touched_by(void *ctx)
{
	struct faults_toucher key = {.pid = bpf_get_current_pid_tgid() >> 32};
	struct faults_touched *touched, none = {};

	if (!bpfnb_wanted())
		return NULL;
	key.user_stack = bpfnb_user_stack(ctx);
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	touched = bpf_map_lookup_elem(&counts, &key);
	if (touched)
		return touched;
	bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, &key);
}

static int fault(void *ctx, u64 error, bool kernel)
{
	struct faults_touched *touched = touched_by(ctx);

	if (!touched)
		return 0;
	__sync_fetch_and_add(&touched->count, 1);
	if (kernel)
		__sync_fetch_and_add(&touched->kernel, 1);
	if (error & WRITE)
		__sync_fetch_and_add(&touched->writes, 1);
	if (error & FETCH)
		__sync_fetch_and_add(&touched->fetches, 1);
	return 0;
}

SEC("tracepoint/exceptions/page_fault_user") int by_user(struct faults_page_fault *ctx)
{
	return fault(ctx, ctx->error_code, false);
}

SEC("tracepoint/exceptions/page_fault_kernel") int by_kernel(struct faults_page_fault *ctx)
{
	return fault(ctx, ctx->error_code, true);
}

/* Only when it has been served is it known what it took: perf's event major-faults. */
SEC("perf_event") int major(struct bpf_perf_event_data *ctx)
{
	struct faults_touched *touched = touched_by(ctx);

	if (touched)
		__sync_fetch_and_add(&touched->major, 1);
	return 0;
}
