/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls of functions of user space, with what they are given and what they return.
 *
 * @COLUMNS@ and @PROGRAMS@ are made from the debug information of the binary, for each function where its arguments are
 * by the calling convention. A call is kept until it returns under its thread and its stack pointer, so that functions
 * that call themselves are told apart; calls that never return (longjmp, threads that end) are forgotten, the oldest
 * first. Memory that the process has not touched yet is read all the same where programs may sleep. */
#include <bpfnb/filter.h>
#include <bpfnb/matching.h>
#include <bpfnb/row.h>

struct uprobe_call {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u64 missing DESCRIPTION("a bit for each column whose memory could not be read");
	u32 function DESCRIPTION("its number");
	u32 pid;
	u32 tid;
	u32 uid;
	char comm[16];
@COLUMNS@
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4 << 20); } events SEC(".maps");

struct uprobe_place { u64 thread, stack; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, struct uprobe_place); __type(value, struct uprobe_call);
} calls SEC(".maps");

static const struct uprobe_call empty;

/* User memory: as it is, else, where sleeping is allowed, after the kernel has brought it in. */
static __always_inline long get(void *to, u32 size, u64 from)
{
	long failed = bpf_probe_read_user(to, size, (void *)from);
#ifdef MAY_SLEEP
	if (failed)
		failed = bpf_copy_from_user(to, size, (void *)from);
#endif
	return failed;
}

static __always_inline long get_text(char *to, u32 size, u64 from)
{
	long got = bpf_probe_read_user_str(to, size, (void *)from);
#ifdef MAY_SLEEP
	char first;

	if (got < 0 && !bpf_copy_from_user(&first, 1, (void *)from))
		got = bpf_probe_read_user_str(to, size, (void *)from);
#endif
	return got < 0;
}

/* A text that has its length beside it instead of an end. */
static __always_inline long get_slice(char *to, u32 room, u64 from, u64 length)
{
	if (length >= room)
		length = room - 1;
	return length ? get(to, length, from) : 0;
}

/* The stack pointer of the caller, before it pushed the return address: the same at both ends of a call. */
static __always_inline u64 stack_of(struct pt_regs *ctx, bool returned)
{
#ifdef __TARGET_ARCH_x86
	return PT_REGS_SP(ctx) + (returned ? 0 : 8);
#else
	return PT_REGS_SP(ctx);
#endif
}

static __always_inline struct uprobe_call *called(struct pt_regs *ctx, u32 function)
{
	struct uprobe_place place = {bpf_get_current_pid_tgid(), stack_of(ctx, false)};
	struct uprobe_call *e;

	if (!bpfnb_wanted() || bpf_map_update_elem(&calls, &place, &empty, BPF_ANY))
		return NULL;
	e = bpf_map_lookup_elem(&calls, &place);
	if (!e)
		return NULL;
	bpfnb_row(e);
	e->function = function;
	return e;
}

static __always_inline struct uprobe_call *returned(struct pt_regs *ctx)
{
	struct uprobe_place place = {bpf_get_current_pid_tgid(), stack_of(ctx, true)};

	return bpf_map_lookup_elem(&calls, &place);
}

static __always_inline void forget(struct pt_regs *ctx, bool returned)
{
	struct uprobe_place place = {bpf_get_current_pid_tgid(), stack_of(ctx, returned)};

	bpf_map_delete_elem(&calls, &place);
}

@PROGRAMS@
