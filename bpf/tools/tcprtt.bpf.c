/* SPDX-License-Identifier: GPL-2.0-only */
/* Round-trip times of TCP connections, as the kernel smooths them, looked at with every segment that comes in. */
#include <bpfnb/distribution.h>
#include <bpfnb/owners.h>
#define SOCK_DIRECT
#include <bpfnb/sock.h>

enum tcprtt_grouping { together, by_raddr, by_laddr, by_rport, by_lport, by_connection, by_comm };
const volatile enum tcprtt_grouping by DESCRIPTION("a histogram for each of these") = together;

struct tcprtt_group {
	ip_t laddr, raddr;
	port_t lport, rport;
	char comm[16];
	u32 slot;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 32768);
	__type(key, struct tcprtt_group); __type(value, struct bpfnb_sum);
} slots SEC(".maps") UNIT(ns);

SEC("tp_btf/tcp_probe") int BPF_PROG(probed, struct sock *sk)
{
	struct bpfnb_owner *owner = NULL;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct tcprtt_group group = {};
	u64 ns;

	if (bpfnb_filtered() || by == by_comm)
		owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!tcp || !bpfnb_wanted_owner(owner) || !bpfnb_wanted_sock(sk))
		return 0;
	ns = (u64)(tcp->srtt_us >> 3) * NSEC_PER_USEC;
	if (!ns)
		return 0; /* nothing was acknowledged so far */
	group.slot = bpfnb_log2(ns);
	if (by == by_laddr || by == by_connection)
		bpfnb_laddr(sk, group.laddr);
	if (by == by_raddr || by == by_connection)
		bpfnb_raddr(sk, group.raddr);
	if (by == by_lport || by == by_connection)
		group.lport = bpfnb_lport(sk);
	if (by == by_rport || by == by_connection)
		group.rport = bpf_ntohs(sk->__sk_common.skc_dport);
	if (by == by_comm && owner)
		__builtin_memcpy(group.comm, owner->comm, sizeof(group.comm));
	bpfnb_add(&slots, &group, ns);
	return 0;
}
