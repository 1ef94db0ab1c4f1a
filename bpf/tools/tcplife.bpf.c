/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP connections that ended: whose they were, how long they lived, and what they carried.
 *
 * The kernel's own counters of bytes serve; nothing happens per packet. What it calls received has the FIN in it, which
 * is no byte of anybody's; what it sent has the retransmissions. */
#include <bpfnb/owners.h>
#define SOCK_DIRECT
#include <bpfnb/sock.h>

struct tcplife_life {
	ktime_ns_t time DESCRIPTION("when it ended");
	ns_t duration DESCRIPTION("from the first packet to the end");
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie HIDDEN;
	bytes_t tx_bytes DESCRIPTION("sent, each byte once");
	bytes_t rx_bytes DESCRIPTION("received, each byte once");
	u64 tx_kb DESCRIPTION("whole KiB that were sent");
	u64 rx_kb DESCRIPTION("whole KiB that were received");
	us_t srtt DESCRIPTION("round-trip time at the end, smoothed; 0: never measured");
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid DESCRIPTION("whose socket it was; 0: nobody's");
	u32 uid HIDDEN;
	u32 retrans DESCRIPTION("segments that were sent again");
	errno_t err DESCRIPTION("0, or what the program was told: ECONNRESET, ETIMEDOUT, ...");
	char comm[16];
	u8 ip HIDDEN;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, u64);
} begun SEC(".maps");

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	u64 now = bpf_ktime_get_ns(), *start;
	struct bpfnb_owner *owner;
	struct tcplife_life *e;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == SYN_SENT || newstate == SYN_RECV) {
		start = bpf_sk_storage_get(&begun, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (start)
			*start = now;
		return 0;
	}
	start = newstate == CLOSE ? bpf_sk_storage_get(&begun, sk, NULL, 0) : NULL;
	if (!start || !*start)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (bpfnb_wanted_owner(owner) && bpfnb_wanted_sock(sk) && (e = bpf_ringbuf_reserve(&events, sizeof(*e), 0))) {
		e->time = now;
		e->duration = now - *start;
		e->cookie = bpf_get_socket_cookie(sk);
		e->tx_bytes = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
		e->rx_bytes = BPF_CORE_READ(tcp, bytes_received) - (sk->__sk_common.skc_flags >> SOCK_DONE & 1);
		e->tx_kb = e->tx_bytes >> 10;
		e->rx_kb = e->rx_bytes >> 10;
		e->srtt = BPF_CORE_READ(tcp, srtt_us) >> 3;
		e->retrans = BPF_CORE_READ(tcp, total_retrans);
		e->err = sk->sk_err;
		bpfnb_endpoints(e, sk);
		bpfnb_owner_row(e, owner);
		bpf_ringbuf_submit(e, 0);
	}
	*start = 0;
	return 0;
}
