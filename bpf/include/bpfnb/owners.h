/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose socket it is: packets come in interrupts, where the current task is anybody. A process is noted on the socket
 * itself when it makes it and whenever another one sends or receives with it.
 *
 *   SEC("cgroup_skb/egress") int sent(struct __sk_buff *skb)
 *   {
 *       struct bpfnb_owner *owner = bpfnb_owner(skb);
 *
 *       if (!bpfnb_wanted_owner(owner)) return 1;
 *
 * Sockets that were there before are noted by running the iterator `find_owners` once after attaching (what
 * bpfnb.tools.owned.Owned does). A connection that nobody has used since it was accepted is its listener's owner's.
 * The note goes with the socket. Linux 6.3 (sock_send_length, sock_recv_length), before that with OWNERS_BY_FUNCTION
 * where functions can be traced: an owner is then noted before it sends or receives, also where that fails. Linux 5.11.
 */
#ifndef BPFNB_OWNERS_H
#define BPFNB_OWNERS_H

#include <bpfnb/filter.h>

struct bpfnb_owner {
	cgroup_id_t cgroup_id;
	u32 pid, uid;
	u32 netns;
	char comm[16];
	bool wanted; /* by the filters, when it was noted */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int); __type(value, struct bpfnb_owner);
} owners SEC(".maps");

static __always_inline void bpfnb_note_owner(struct bpfnb_owner *owner, struct task_struct *task)
{
	owner->pid = BPF_CORE_READ(task, tgid);
	owner->uid = BPF_CORE_READ(task, cred, uid.val);
	owner->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	owner->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	bpf_probe_read_kernel_str(owner->comm, sizeof(owner->comm), task->comm);
	owner->wanted = bpfnb_wanted_task(task);
}

static __always_inline bool bpfnb_filtered(void)
{
	return filter_pid[0] || filter_comm[0][0] || filter_uid[0] >= 0 || filter_cgroup[0] || filter_netns[0];
}

/* Whether a socket's process passes the filters; one that nobody is known of passes where there are none. */
static __always_inline bool bpfnb_wanted_owner(struct bpfnb_owner *owner)
{
	return !bpfnb_filtered() || (owner && owner->wanted);
}

/* Of a packet's socket; NULL where it has none (forwarded, or not yet looked up) or nobody is known. */
static __always_inline struct bpfnb_owner *bpfnb_owner(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return NULL;
	sk = bpf_sk_fullsock(sk);
	return sk ? bpf_sk_storage_get(&owners, sk, NULL, 0) : NULL;
}

static __always_inline void bpfnb_used_by(struct sock *sk)
{
	struct bpfnb_owner *owner;

	if (!sk)
		return;
	owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner && owner->pid != bpf_get_current_pid_tgid() >> 32)
		bpfnb_note_owner(owner, bpf_get_current_task_btf());
}

SEC("cgroup/sock_create") int owner_made(struct bpf_sock *sk)
{
	struct bpfnb_owner *owner = bpf_sk_storage_get(&owners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (owner)
		bpfnb_note_owner(owner, (struct task_struct *)bpf_get_current_task()); /* here _btf came with 5.15 */
	return 1;
}

#ifdef OWNERS_BY_FUNCTION
SEC("fentry/security_socket_sendmsg") int BPF_PROG(owner_sent, struct socket *socket)
{
	bpfnb_used_by(socket->sk);
	return 0;
}

SEC("fentry/security_socket_recvmsg") int BPF_PROG(owner_received, struct socket *socket)
{
	bpfnb_used_by(socket->sk);
	return 0;
}
#else
SEC("tp_btf/sock_send_length") int BPF_PROG(owner_sent, struct sock *sk)
{
	bpfnb_used_by(sk);
	return 0;
}

SEC("tp_btf/sock_recv_length") int BPF_PROG(owner_received, struct sock *sk)
{
	bpfnb_used_by(sk);
	return 0;
}
#endif

SEC("iter/task_file") int find_owners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct bpfnb_owner *owner;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	owner = bpf_sk_storage_get(&owners, socket->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (owner && !owner->pid)
		bpfnb_note_owner(owner, task);
	return 0;
}

#endif
