/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory that the kernel allocated and did not free, by the stack that asked. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

const volatile u64 min_size UNIT(bytes) DESCRIPTION("only allocations of at least this size") = 0;
const volatile u64 max_size UNIT(bytes) DESCRIPTION("only allocations of at most this size") = -1ULL;

struct kmemleak_place {
	u32 pid;
	stack_id_t kernel_stack;
	char comm[16];
};

struct kmemleak_block {
	u64 size;
	ktime_ns_t time DESCRIPTION("when it was allocated");
	struct kmemleak_place place;
};

/* What is allocated now. Made in advance: a map that allocates while it notes allocations would note its own. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1 << 18);
	__type(key, u64); __type(value, struct kmemleak_block);
} blocks SEC(".maps");

struct kmemleak_amount {
	s64 bytes UNIT(bytes) FORMAT(bytes) DESCRIPTION("allocated and not freed");
	s64 count DESCRIPTION("allocations that were not freed");
	u64 allocations DESCRIPTION("all that were made since the tool began");
};

/* The same by stack, kept up as allocations come and go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct kmemleak_place); __type(value, struct kmemleak_amount);
} leaks SEC(".maps");

static int release(u64 address)
{
	struct kmemleak_block *block = bpf_map_lookup_elem(&blocks, &address);
	struct kmemleak_amount *amount;

	if (!block)
		return 0;
	amount = bpf_map_lookup_elem(&leaks, &block->place);
	if (amount) {
		__sync_fetch_and_add(&amount->bytes, -(s64)block->size);
		__sync_fetch_and_add(&amount->count, -1);
	}
	bpf_map_delete_elem(&blocks, &address);
	return 0;
}

static int remember(void *ctx, u64 address, u64 size)
{
	struct kmemleak_block block = {.size = size, .time = bpf_ktime_get_ns()};
	struct kmemleak_amount *amount, none = {};

	if (!address || size < min_size || size > max_size || !bpfnb_wanted())
		return 0;
	release(address); /* it was freed in a way that nobody saw */
	block.place.pid = bpf_get_current_pid_tgid() >> 32;
	block.place.kernel_stack = bpfnb_kernel_stack(ctx);
	bpf_get_current_comm(block.place.comm, sizeof(block.place.comm));
	if (bpf_map_update_elem(&blocks, &address, &block, BPF_ANY))
		return 0;
	amount = bpf_map_lookup_elem(&leaks, &block.place);
	if (!amount) {
		bpf_map_update_elem(&leaks, &block.place, &none, BPF_NOEXIST);
		amount = bpf_map_lookup_elem(&leaks, &block.place);
	}
	if (amount) {
		__sync_fetch_and_add(&amount->bytes, size);
		__sync_fetch_and_add(&amount->count, 1);
		__sync_fetch_and_add(&amount->allocations, 1);
	}
	return 0;
}

#ifdef PAGES
SEC("raw_tp/mm_page_alloc") int BPF_PROG(page_allocated, struct page *page, unsigned int order)
{
	return remember(ctx, (u64)page, 4096ULL << order);
}

SEC("raw_tp/mm_page_free") int BPF_PROG(page_freed, struct page *page)
{
	return release((u64)page);
}
#else
SEC("raw_tp/kmalloc") int BPF_PROG(allocated, u64 site, void *address, u64 asked, u64 size)
{
	return remember(ctx, (u64)address, size);
}

SEC("raw_tp/kmem_cache_alloc") int BPF_PROG(cache_allocated, u64 site, void *address, struct kmem_cache *cache)
{
	return remember(ctx, (u64)address, BPF_CORE_READ(cache, size));
}

SEC("raw_tp/kfree") int BPF_PROG(freed, u64 site, void *address)
{
	return release((u64)address);
}

SEC("raw_tp/kmem_cache_free") int BPF_PROG(cache_freed, u64 site, void *address)
{
	return release((u64)address);
}
#endif
