/* SPDX-License-Identifier: GPL-2.0-only */
/* Who has BPF programs: the processes with a descriptor of one, or of a link of one. What programs cost is in the
 * kernel's statistics. */
#include <bpfnb/filter.h>

#define ANON_INODE_FS_MAGIC 0x09041934 /* include/uapi/linux/magic.h */

struct bpftop_holder {
	u32 pid DESCRIPTION("the first process that has it open");
	u32 processes DESCRIPTION("how many have");
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384); __type(key, u32); __type(value, struct bpftop_holder);
} holders SEC(".maps");

SEC("iter/task_file") int find_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct bpf_prog *program;
	struct bpftop_holder *known, first = {};
	char kind[9];
	u32 id;

	if (!task || !file || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return 0;
	/* By their names: the kernel's file_operations are no symbols everywhere. */
	if (bpf_probe_read_kernel_str(kind, sizeof(kind), BPF_CORE_READ(file, f_path.dentry, d_name.name)) < 0)
		return 0;
	program = file->private_data;
	if (!bpf_strncmp(kind, sizeof(kind), "bpf_link"))
		program = BPF_CORE_READ((struct bpf_link *)program, prog);
	else if (bpf_strncmp(kind, sizeof(kind), "bpf-prog"))
		return 0;
	if (!program || !bpfnb_wanted_task(task))
		return 0;
	id = BPF_CORE_READ(program, aux, id);
	first.pid = task->tgid;
	first.processes = 1;
	bpf_probe_read_kernel_str(first.comm, sizeof(first.comm), task->group_leader->comm);
	known = bpf_map_lookup_elem(&holders, &id);
	if (known && known->pid != first.pid)
		known->processes++;
	if (!known)
		bpf_map_update_elem(&holders, &id, &first, BPF_ANY);
	return 0;
}
