/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that a process asked its allocator for and did not give back, by the stack that asked.
 *
 * Probes stand on the entry and the return of the allocator's functions. One that calls another (realloc calls malloc)
 * is one allocation, the outermost: what the inner one does is not looked at. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile u64 min_size UNIT(bytes) DESCRIPTION("only allocations of at least this size") = 0;
const volatile u64 max_size UNIT(bytes) DESCRIPTION("only allocations of at most this size") = -1ULL;

#define MAP_FAILED ((u64)-1)

struct memleak_place {
	u32 pid;
	stack_id_t user_stack;
};

struct memleak_block {
	u64 size;
	ktime_ns_t time DESCRIPTION("when it was allocated");
	struct memleak_place place;
};

struct memleak_address { u64 address; u64 pid; };

/* What is allocated now. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1 << 20); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct memleak_address); __type(value, struct memleak_block);
} blocks SEC(".maps");

struct memleak_amount {
	s64 bytes UNIT(bytes) FORMAT(bytes) DESCRIPTION("allocated and not freed");
	s64 count DESCRIPTION("allocations that were not freed");
	u64 allocations DESCRIPTION("all that were made since the tool began");
	char comm[16];
};

/* The same by stack, kept up as allocations come and go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct memleak_place); __type(value, struct memleak_amount);
} leaks SEC(".maps");

/* A thread inside the allocator: what it asked for, where its stack was then, what it gives back if all goes well. */
struct memleak_call {
	u64 size, sp;
	u64 *result; /* where posix_memalign will write the address */
	u64 old;     /* realloc's */
	struct memleak_block freed;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, u64); __type(value, struct memleak_call);
} calls SEC(".maps");

static bool took(u64 address, struct memleak_block *block)
{
	struct memleak_address key = {address, bpf_get_current_pid_tgid() >> 32};
	struct memleak_block *known = bpf_map_lookup_elem(&blocks, &key);

	if (!known)
		return false;
	*block = *known;
	return !bpf_map_delete_elem(&blocks, &key);
}

static void count(struct memleak_block *block, int sign)
{
	struct memleak_amount *amount = bpf_map_lookup_elem(&leaks, &block->place);

	if (!amount)
		return;
	__sync_fetch_and_add(&amount->bytes, sign * (s64)block->size);
	__sync_fetch_and_add(&amount->count, sign);
}

/* An address that nobody uses any more. Before the allocator knows: afterwards another thread may be given it. */
static int release(u64 address)
{
	struct memleak_block block;

	if (address && took(address, &block))
		count(&block, -1);
	return 0;
}

static bool inside(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct memleak_call *outer = bpf_map_lookup_elem(&calls, &thread);

	return outer && PT_REGS_SP(ctx) <= outer->sp;
}

static int enter(struct pt_regs *ctx, u64 size, u64 *result, u64 old)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct memleak_call call = {.size = size, .sp = PT_REGS_SP(ctx), .result = result, .old = old};

	if (!bpfnb_wanted() || inside(ctx))
		return 0;
	if (old && took(old, &call.freed))
		count(&call.freed, -1);
	else
		call.old = 0;
	bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static void remember(struct pt_regs *ctx, u64 address, u64 size)
{
	struct memleak_address key = {address, bpf_get_current_pid_tgid() >> 32};
	struct memleak_amount *amount, none = {};
	struct memleak_block block = {.size = size, .time = bpf_ktime_get_ns()};

	if (size < min_size || size > max_size)
		return;
	release(address); /* it was freed in a way that nobody saw */
	block.place.pid = key.pid;
	block.place.user_stack = bpfnb_user_stack(ctx);
	if (bpf_map_update_elem(&blocks, &key, &block, BPF_ANY))
		return;
	amount = bpf_map_lookup_elem(&leaks, &block.place);
	if (!amount) {
		bpf_get_current_comm(none.comm, sizeof(none.comm));
		bpf_map_update_elem(&leaks, &block.place, &none, BPF_NOEXIST);
		amount = bpf_map_lookup_elem(&leaks, &block.place);
	}
	if (amount)
		__sync_fetch_and_add(&amount->allocations, 1);
	count(&block, 1);
}

static int leave(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), address = PT_REGS_RC(ctx);
	struct memleak_call *found = bpf_map_lookup_elem(&calls, &thread), call;
	struct memleak_address old;

	if (!found || PT_REGS_SP(ctx) < found->sp)
		return 0; /* of a function that the outermost called */
	call = *found;
	bpf_map_delete_elem(&calls, &thread);
	if (call.result && (address || bpf_probe_read_user(&address, sizeof(address), call.result)))
		return 0; /* posix_memalign returns an error */
	if (address && address != MAP_FAILED) {
		remember(ctx, address, call.size);
	} else if (call.old && call.size) { /* realloc failed, what was there is there */
		old.address = call.old;
		old.pid = thread >> 32;
		bpf_map_update_elem(&blocks, &old, &call.freed, BPF_ANY);
		count(&call.freed, 1);
	}
	return 0;
}

/* Links of the multi kind come and go together; each of the other kind waits for the ones before. */
#ifdef MULTI
#define PLACE(kind, function) SEC(kind ".multi/libc:" #function)
#else
#define PLACE(kind, function) SEC(kind "/libc:" #function)
#endif

/* bpfnb.tools.memleak leaves out those that the allocator does not have: -D WITHOUT_pvalloc. */
#define ALLOCATES(function, size, result, old, ...) \
	PLACE("uprobe", function) int BPF_UPROBE(enter_##function, __VA_ARGS__) \
	{ \
		return enter(ctx, size, result, old); \
	} \
	PLACE("uretprobe", function) int leave_##function(struct pt_regs *ctx) \
	{ \
		return leave(ctx); \
	}
#define FREES(function) \
	PLACE("uprobe", function) int BPF_UPROBE(free_##function, u64 address) \
	{ \
		return release(address); \
	}

ALLOCATES(malloc, size, NULL, 0, u64 size)
ALLOCATES(calloc, count * size, NULL, 0, u64 count, u64 size)
ALLOCATES(realloc, size, NULL, old, u64 old, u64 size)
FREES(free)
#ifndef WITHOUT_reallocarray
ALLOCATES(reallocarray, count * size, NULL, old, u64 old, u64 count, u64 size)
#endif
#ifndef WITHOUT_posix_memalign
ALLOCATES(posix_memalign, size, result, 0, u64 *result, u64 alignment, u64 size)
#endif
#ifndef WITHOUT_aligned_alloc
ALLOCATES(aligned_alloc, size, NULL, 0, u64 alignment, u64 size)
#endif
#ifndef WITHOUT_memalign
ALLOCATES(memalign, size, NULL, 0, u64 alignment, u64 size)
#endif
#ifndef WITHOUT_valloc
ALLOCATES(valloc, size, NULL, 0, u64 size)
#endif
#ifndef WITHOUT_pvalloc
ALLOCATES(pvalloc, size, NULL, 0, u64 size)
#endif
#ifndef WITHOUT_mmap
ALLOCATES(mmap, size, NULL, 0, u64 address, u64 size)
#endif
#ifndef WITHOUT_mremap
ALLOCATES(mremap, size, NULL, old, u64 old, u64 old_size, u64 size)
#endif
#ifndef WITHOUT_munmap
FREES(munmap)
#endif
