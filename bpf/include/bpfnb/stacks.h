/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks of the kernel and of processes, as ids; bpfnb.tools.stacked.Stacked gives them names.
 *
 *   struct key {
 *       u32 pid;                      // the process: whose user addresses they are
 *       char comm[16];
 *       stack_id_t user_stack, kernel_stack;
 *   };
 *   key.user_stack = bpfnb_user_stack(ctx);         // of the current task, in whose process ctx is
 *   key.kernel_stack = bpfnb_kernel_stack(ctx);
 *
 * A negative id is no stack but says why: keep it. -EFAULT: there was none (a kernel thread has no user stack); -EEXIST:
 * another stack is in its place (see below); -ENOMEM: full. Linux 4.6; ring buffers 5.8.
 */
#ifndef BPFNB_STACKS_H
#define BPFNB_STACKS_H

#define BPFNB_STACKS 16384
#define BPFNB_FRAMES 127 /* kernel.perf_event_max_stack as it comes; deeper stacks lose their outermost frames */

#ifndef EFAULT
#define EFAULT 14
#endif

struct bpfnb_stack_map {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, BPFNB_STACKS);
	__uint(key_size, sizeof(u32));
	__uint(value_size, BPFNB_FRAMES * sizeof(u64));
};

/* A stack's place is its hash: of two with one place the second one is refused. Those go to the other map, where few
 * are, so that 10,000 different stacks lose 2 in 100 instead of 25. Ids of that map begin where the first one ends. */
struct bpfnb_stack_map stacks SEC(".maps");
struct bpfnb_stack_map stacks_more SEC(".maps");

/* Processes are told of once, with their first user stack since exec, so that what they have mapped is read while they
 * live. The oldest are forgotten, and then told of again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, u32); __type(value, u64);
} stacked SEC(".maps");

struct bpfnb_process {
	u32 pid DESCRIPTION("a process of which a stack was taken");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); } processes SEC(".maps");

static __always_inline stack_id_t bpfnb_stack(void *ctx, u64 flags)
{
	long id = bpf_get_stackid(ctx, &stacks, flags);

	if (id != -EEXIST)
		return id;
	id = bpf_get_stackid(ctx, &stacks_more, flags);
	return id < 0 ? id : id + BPFNB_STACKS;
}

/* The kernel's stack of the current task. Frames of BPF itself, innermost, are left out when they get names. */
static __always_inline stack_id_t bpfnb_kernel_stack(void *ctx)
{
	return bpfnb_stack(ctx, 0);
}

static __always_inline void bpfnb_tell_of_process(void)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	u64 memory = (u64)BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), mm); /* another one since exec */
	u64 *known = bpf_map_lookup_elem(&stacked, &pid);
	struct bpfnb_process *told;

	if (known && *known == memory)
		return;
	bpf_map_update_elem(&stacked, &pid, &memory, BPF_ANY);
	told = bpf_ringbuf_reserve(&processes, sizeof(*told), 0);
	if (!told)
		return;
	told->pid = pid;
	bpf_ringbuf_submit(told, 0);
}

/* The user stack of the current task, by its frame pointers. */
static __always_inline stack_id_t bpfnb_user_stack(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	stack_id_t id;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return -EFAULT;
	id = bpfnb_stack(ctx, BPF_F_USER_STACK);
	if (id != -EFAULT)
		bpfnb_tell_of_process();
	return id;
}

#endif
