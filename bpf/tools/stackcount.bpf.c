/* SPDX-License-Identifier: GPL-2.0-only */
/* How often a tracepoint or a function is passed, by the stack that leads there. The programs follow, made for the
 * places that are asked for. */
#include <bpfnb/filter.h>
#include <bpfnb/matching.h>
#include <bpfnb/stacks.h>

const volatile bool user_only DESCRIPTION("only user stacks") = false;
const volatile bool kernel_only DESCRIPTION("only kernel stacks") = false;

struct stackcount_passed {
	u32 event DESCRIPTION("which of the places");
	u32 pid;
	stack_id_t user_stack, kernel_stack;
	char comm[16];
};

struct stackcount_passes {
	u64 count DESCRIPTION("how often");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 32768);
	__type(key, struct stackcount_passed); __type(value, struct stackcount_passes);
} counts SEC(".maps");

static __always_inline int count(void *ctx, u32 event)
{
	struct stackcount_passed key = {.event = event, .user_stack = -EFAULT, .kernel_stack = -EFAULT};
	struct stackcount_passes *known, none = {};

	key.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	if (!user_only)
		key.kernel_stack = bpfnb_kernel_stack(ctx);
	if (!kernel_only)
		key.user_stack = bpfnb_user_stack(ctx);
	known = bpf_map_lookup_elem(&counts, &key);
	if (!known && !bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST))
		known = bpf_map_lookup_elem(&counts, &key);
	if (!known)
		known = bpf_map_lookup_elem(&counts, &key); /* another CPU was first */
	if (known)
		__sync_fetch_and_add(&known->count, 1);
	return 0;
}
