/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel allocates and frees from its slab caches. */
#include <bpfnb/filter.h>

const volatile bool by_site DESCRIPTION("by the code that asks, too") = false;
const volatile bool by_process DESCRIPTION("by process, too") = false;

/* Linux 6.13: which cache an address is of. */
extern struct kmem_cache *bpf_get_kmem_cache(u64 address) __ksym __weak;

struct slabs_source {
	char cache[32];
	u64 site DESCRIPTION("the code that asked");
	u32 pid;
	char comm[16];
};

struct slabs_objects {
	u64 allocs DESCRIPTION("objects that were allocated");
	u64 bytes UNIT(bytes) FORMAT(bytes) DESCRIPTION("their memory");
	u64 frees DESCRIPTION("objects that were freed");
	u64 freed UNIT(bytes) FORMAT(bytes) DESCRIPTION("their memory");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, struct slabs_source); __type(value, struct slabs_objects);
} counts SEC(".maps");

static struct slabs_objects *objects_of(const struct kmem_cache *cache, u64 site)
{
	struct slabs_source key = {.site = by_site ? site : 0};
	struct slabs_objects *objects, none = {};

	if (cache)
		bpf_probe_read_kernel_str(key.cache, sizeof(key.cache), BPF_CORE_READ(cache, name));
	else
		__builtin_memcpy(key.cache, "kmalloc", 8); /* of no cache, or it is not known of which */
	if (by_process) {
		key.pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(key.comm, sizeof(key.comm));
	}
	objects = bpf_map_lookup_elem(&counts, &key);
	if (objects)
		return objects;
	bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, &key);
}

static int allocated(const struct kmem_cache *cache, u64 site, u64 size)
{
	struct slabs_objects *objects = objects_of(cache, site);

	if (!objects)
		return 0;
	__sync_fetch_and_add(&objects->allocs, 1);
	__sync_fetch_and_add(&objects->bytes, size);
	return 0;
}

static int freed(const struct kmem_cache *cache, u64 site)
{
	struct slabs_objects *objects = objects_of(cache, site);

	if (!objects)
		return 0;
	__sync_fetch_and_add(&objects->frees, 1);
	if (cache)
		__sync_fetch_and_add(&objects->freed, BPF_CORE_READ(cache, size));
	return 0;
}

static struct kmem_cache *cache_of(u64 address)
{
	return bpf_get_kmem_cache ? bpf_get_kmem_cache(address) : NULL;
}

SEC("raw_tp/kmem_cache_alloc") int BPF_PROG(cache_alloc, u64 site, void *address, struct kmem_cache *cache)
{
	return address && bpfnb_wanted() ? allocated(cache, site, BPF_CORE_READ(cache, size)) : 0;
}

SEC("raw_tp/kmem_cache_free") int BPF_PROG(cache_free, u64 site, void *address, struct kmem_cache *cache)
{
	return bpfnb_wanted() ? freed(cache, site) : 0;
}

SEC("raw_tp/kmalloc") int BPF_PROG(kmalloc, u64 site, void *address, u64 asked, u64 size)
{
	return address && bpfnb_wanted() ? allocated(cache_of((u64)address), site, size) : 0;
}

SEC("raw_tp/kfree") int BPF_PROG(kfree, u64 site, void *address)
{
	return address && bpfnb_wanted() ? freed(cache_of((u64)address), site) : 0;
}
