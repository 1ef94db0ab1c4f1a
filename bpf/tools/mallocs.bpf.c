/* SPDX-License-Identifier: GPL-2.0-only */
/* Sizes of memory that programs ask the C library for, in slots of powers of two by process. */
#include <bpfnb/filter.h>

struct mallocs_sizes {
	char comm[16];
	u32 pid;
	u32 slot;
};
struct mallocs_sum {
	u64 count;
	bytes_t total;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct mallocs_sizes); __type(value, struct mallocs_sum);
} slots SEC(".maps") UNIT(bytes);

static int asked(u64 bytes)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mallocs_sizes key = {.slot = bpfnb_log2(bytes)};
	struct mallocs_sum *sum, first = {1, bytes};

	if (!bpfnb_wanted_task(task))
		return 0;
	key.pid = task->tgid;
	__builtin_memcpy(key.comm, task->group_leader->comm, sizeof(key.comm));
	sum = bpf_map_lookup_elem(&slots, &key);
	if (sum) {
		sum->count++;
		sum->total += bytes;
	} else {
		bpf_map_update_elem(&slots, &key, &first, BPF_ANY);
	}
	return 0;
}

SEC("uprobe/libc:malloc") int BPF_UPROBE(malloc_called, u64 size)
{
	return asked(size);
}

#ifndef WITHOUT_calloc
SEC("uprobe/libc:calloc") int BPF_UPROBE(calloc_called, u64 number, u64 size)
{
	return asked(number * size);
}
#endif

#ifndef WITHOUT_realloc
SEC("uprobe/libc:realloc") int BPF_UPROBE(realloc_called, void *before, u64 size)
{
	return asked(size);
}
#endif

#ifndef WITHOUT_posix_memalign
SEC("uprobe/libc:posix_memalign") int BPF_UPROBE(posix_memalign_called, void **to, u64 alignment, u64 size)
{
	return asked(size);
}
#endif

#ifndef WITHOUT_aligned_alloc
SEC("uprobe/libc:aligned_alloc") int BPF_UPROBE(aligned_alloc_called, u64 alignment, u64 size)
{
	return asked(size);
}
#endif

#ifndef WITHOUT_memalign
SEC("uprobe/libc:memalign") int BPF_UPROBE(memalign_called, u64 alignment, u64 size)
{
	return asked(size);
}
#endif
