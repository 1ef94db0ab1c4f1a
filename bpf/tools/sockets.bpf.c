/* SPDX-License-Identifier: GPL-2.0-only */
/* The sockets that there are: TCP, UDP and unix, by the kernel's iterators. */
#include <bpfnb/snapshot.h>

SEC("iter/unix") int unix_sockets(struct bpf_iter__unix *ctx)
{
	struct unix_sock *of = ctx->unix_sk;
	struct unix_address *address;
	struct bpfnb_socket_row row;
	struct bpfnb_holder *holder;
	struct sock *sk, *peer;

	if (!of)
		return 0;
	sk = &of->sk;
	holder = bpf_sk_storage_get(&holders, (struct sock *)of, NULL, 0);
	if (!begin_row(&row, sk, holder))
		return 0;
	whole_row(&row, sk);
	row.protocol = kind_unix;
	row.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	row.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	row.rx_queue = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
	row.tx_queue = BPF_CORE_READ(sk, sk_wmem_alloc.refs.counter) - 1;
	if (row.state == TCP_LISTEN) {
		row.rx_queue = BPF_CORE_READ(sk, sk_receive_queue.qlen);
		row.backlog = BPF_CORE_READ(sk, sk_max_ack_backlog);
	}
	peer = BPF_CORE_READ(of, peer);
	if (peer)
		row.peer_inode = inode_of(peer);
	address = BPF_CORE_READ(of, addr);
	if (address) {
		char *path = address->name[0].sun_path;

		bpf_probe_read_kernel(row.path, 1, path);
		if (row.path[0]) {
			bpf_probe_read_kernel_str(row.path, sizeof(row.path), path);
		} else {
			u32 size = BPF_CORE_READ(address, len) - sizeof(address->name[0].sun_family);

			row.path[0] = '@';
			if (size > 1 && size <= sizeof(row.path))
				bpf_probe_read_kernel(row.path + 1, (size - 1) & 127, path + 1);
		}
	}
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}
