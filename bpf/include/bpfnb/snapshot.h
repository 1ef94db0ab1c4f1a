/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sockets that there are, each with a process that has it open; bpfnb.tools.snapshot.Snapshot runs the iterators.
 *
 * First find_holders, which notes processes on sockets, then those of the protocols. They see the sockets of the network
 * namespace in which they are read. Linux 5.15 (iter/unix).
 */
#ifndef BPFNB_SNAPSHOT_H
#define BPFNB_SNAPSHOT_H

#include <bpfnb/filter.h>
#include <bpfnb/sock.h>

const volatile bool only_listening DESCRIPTION("only sockets that wait for others") = false;

u32 turn; /* of looking at processes: what was noted in another one is out of date */

struct bpfnb_holder {
	u64 cgroup_id;
	u32 pid, processes, turn;
	char comm[16];
	bool wanted;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct bpfnb_holder);
} holders SEC(".maps");

enum bpfnb_socket_kind { kind_tcp = 1, kind_udp, kind_unix };

struct bpfnb_socket_row {
	u64 id DESCRIPTION("its address in the kernel");
	u64 inode;
	u64 peer_inode DESCRIPTION("of unix sockets");
	u32 netns;
	u32 pid DESCRIPTION("the first process that has it open; 0: none");
	u32 processes DESCRIPTION("how many have it open");
	u32 uid DESCRIPTION("who made it");
	u32 rx_queue DESCRIPTION("bytes that nobody has read; of a listening socket connections that nobody accepted");
	u32 tx_queue UNIT(bytes) DESCRIPTION("not yet acknowledged or delivered");
	u32 backlog DESCRIPTION("connections that may wait to be accepted");
	u32 drops DESCRIPTION("packets and connections that were refused for want of room");
	ip_t laddr;
	ip_t raddr;
	port_t lport;
	port_t rport;
	u8 protocol;
	u8 ip;
	u8 type;
	u8 state;
	char comm[16];
	char path[128] DESCRIPTION("of unix sockets; @ begins an abstract name");
};

SEC("iter/task_file") int find_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct bpfnb_holder *holder;
	struct socket *socket;
	bool wanted;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	holder = bpf_sk_storage_get(&holders, socket->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!holder)
		return 0;
	wanted = bpfnb_wanted_task(task);
	if (holder->turn != turn) {
		holder->turn = turn;
		holder->processes = 0;
		holder->wanted = false;
	}
	if (!holder->processes++ || (wanted && !holder->wanted)) {
		holder->pid = task->tgid;
		holder->wanted = wanted;
		holder->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		bpf_probe_read_kernel_str(holder->comm, sizeof(holder->comm), task->comm);
	}
	return 0;
}

static __always_inline u64 inode_of(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	return socket ? BPF_CORE_READ((struct socket_alloc *)socket, vfs_inode.i_ino) : 0;
}

/* The row of a socket whose process passes the filters; one without a process passes where there are none. */
static __always_inline bool begin_row(struct bpfnb_socket_row *row, struct sock *sk, struct bpfnb_holder *holder)
{
	if (holder && holder->turn != turn)
		holder = NULL;
	if (filter_pid[0] || filter_comm[0][0] || filter_uid[0] >= 0 || filter_cgroup[0])
		if (!holder || !holder->wanted)
			return false;
	if (!bpfnb_wanted_sock(sk))
		return false;
	__builtin_memset(row, 0, sizeof(*row));
	row->id = (u64)sk;
	if (!holder)
		return true;
	row->pid = holder->pid;
	row->processes = holder->processes;
	__builtin_memcpy(row->comm, holder->comm, sizeof(row->comm));
	return true;
}

/* What only whole sockets have: those of half-open and of closed connections do not. */
static __always_inline void whole_row(struct bpfnb_socket_row *row, struct sock *sk)
{
	row->uid = BPF_CORE_READ(sk, sk_uid.val);
	row->inode = inode_of(sk);
	row->type = BPF_CORE_READ(sk, sk_type);
	row->drops = BPF_CORE_READ(sk, sk_drops.counter);
}

SEC("iter/tcp") int tcp_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct bpfnb_holder *holder = NULL;
	struct bpfnb_socket_row row;
	struct tcp_sock *tcp;
	struct sock *sk;

	if (!common || (only_listening && common->skc_state != TCP_LISTEN))
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (tcp)
		holder = bpf_sk_storage_get(&holders, (struct sock *)tcp, NULL, 0);
	sk = (struct sock *)common;
	if (!begin_row(&row, sk, holder))
		return 0;
	bpfnb_endpoints(&row, sk);
	row.protocol = kind_tcp;
	row.type = SOCK_STREAM;
	row.state = common->skc_state;
	if (row.state == TCP_NEW_SYN_RECV)
		row.state = TCP_SYN_RECV;
	else if (row.state == TCP_TIME_WAIT)
		row.state = BPF_CORE_READ((struct inet_timewait_sock *)common, tw_substate);
	if (tcp) {
		u32 queued = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);

		whole_row(&row, sk);
		if (row.state == TCP_LISTEN) {
			row.rx_queue = BPF_CORE_READ(sk, sk_ack_backlog);
			row.backlog = BPF_CORE_READ(sk, sk_max_ack_backlog);
		} else {
			row.rx_queue = (s32)queued > 0 ? queued : 0;
			row.tx_queue = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);
		}
	}
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

SEC("iter/udp") int udp_sockets(struct bpf_iter__udp *ctx)
{
	struct udp_sock *udp = ctx->udp_sk;
	struct bpfnb_socket_row row;
	struct bpfnb_holder *holder;
	struct sock *sk;

	if (!udp)
		return 0;
	sk = &udp->inet.sk;
	if (only_listening && BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED)
		return 0;
	holder = bpf_sk_storage_get(&holders, (struct sock *)udp, NULL, 0);
	if (!begin_row(&row, sk, holder))
		return 0;
	bpfnb_endpoints(&row, sk);
	whole_row(&row, sk);
	row.protocol = kind_udp;
	row.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	row.rx_queue = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	row.tx_queue = BPF_CORE_READ(sk, sk_wmem_alloc.refs.counter) - 1;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

#endif
