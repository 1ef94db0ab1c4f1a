/* SPDX-License-Identifier: GPL-2.0-only */
/* System calls that change a process's address space: what was asked for, and what came of it. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>
#include <bpfnb/syscall.h>

const volatile bool failed DESCRIPTION("only calls that failed") = false;

enum mmapsnoop_call { mmap, munmap, mremap, mprotect, brk };

struct mmapsnoop_change {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u64 addr DESCRIPTION("where: of mmap and mremap what they returned, of brk the new end of the heap");
	s64 length UNIT(bytes) FORMAT(bytes) DESCRIPTION("how much; of brk by how much the heap grew, less than 0: shrank");
	u32 pid;
	u32 tid;
	u32 uid;
	u32 prot DESCRIPTION("the access that is permitted");
	u32 flags;
	s32 fd DESCRIPTION("of the file that is mapped, -1: none");
	errno_t ret DESCRIPTION("0: it was done");
	enum mmapsnoop_call call;
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

/* Where the heap ended before, of threads in brk(). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240); __type(key, u64); __type(value, u64);
} ends SEC(".maps");

static __always_inline struct mmapsnoop_change *changed(enum mmapsnoop_call call, long ret)
{
	struct mmapsnoop_change *e;

	if ((failed && ret >= 0) || !bpfnb_wanted())
		return NULL;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return NULL;
	bpfnb_row(e);
	e->call = call;
	e->addr = bpfnb_argument(0);
	e->length = bpfnb_argument(1);
	e->ret = ret < 0 ? ret : 0;
	e->prot = e->flags = 0;
	e->fd = -1;
	return e;
}

SEC("tracepoint/syscalls/sys_exit_mmap") int mapped(struct trace_event_raw_sys_exit *ctx)
{
	long ret = ctx->ret;
	struct mmapsnoop_change *e = changed(mmap, ret);

	if (!e)
		return 0;
	if (ret >= 0)
		e->addr = ret;
	e->prot = bpfnb_argument(2);
	e->flags = bpfnb_argument(3);
	e->fd = bpfnb_argument(4);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_munmap") int unmapped(struct trace_event_raw_sys_exit *ctx)
{
	struct mmapsnoop_change *e = changed(munmap, ctx->ret);

	if (e)
		bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_mremap") int moved(struct trace_event_raw_sys_exit *ctx)
{
	long ret = ctx->ret;
	struct mmapsnoop_change *e = changed(mremap, ret);

	if (!e)
		return 0;
	if (ret >= 0)
		e->addr = ret;
	e->length = bpfnb_argument(2);
	e->flags = bpfnb_argument(3);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_mprotect") int protected(struct trace_event_raw_sys_exit *ctx)
{
	struct mmapsnoop_change *e = changed(mprotect, ctx->ret);

	if (!e)
		return 0;
	e->prot = bpfnb_argument(2);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_brk") int before_brk(struct trace_event_raw_sys_enter *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), end;

	if (!bpfnb_wanted())
		return 0;
	end = BPF_CORE_READ(bpf_get_current_task_btf(), mm, brk);
	bpf_map_update_elem(&ends, &thread, &end, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_brk") int after_brk(struct trace_event_raw_sys_exit *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), *found = bpf_map_lookup_elem(&ends, &thread), end, wanted;
	struct mmapsnoop_change *e;

	if (!found)
		return 0;
	end = *found;
	bpf_map_delete_elem(&ends, &thread);
	wanted = bpfnb_argument(0); /* 0 asks; it fails by leaving the end where it was */
	e = changed(brk, wanted && wanted != ctx->ret ? -ENOMEM : 0);
	if (!e)
		return 0;
	e->addr = ctx->ret;
	e->length = ctx->ret - end;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
