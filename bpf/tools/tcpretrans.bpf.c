/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP segments that are sent again: by which connection, and why; with `count` only how many. */
#include <bpfnb/owners.h>
#include <bpfnb/sock.h>

#define ICSK_TIME_LOSS_PROBE 5 /* include/net/inet_connection_sock.h */
#define TCPHDR_SYN 0x02

const volatile bool count DESCRIPTION("only count, by connection and kind") = false;

enum tcpretrans_retransmission {
	FAST,       /* acknowledgements tell of a hole */
	TIMEOUT,    /* nothing was acknowledged in time; and what is sent again until all that was lost then is through */
	LOSS_PROBE, /* the last segment once more, to provoke an acknowledgement */
	SYN,        /* the beginning of a handshake */
	SYNACK,     /* and its answer */
};

struct tcpretrans_retransmit {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie HIDDEN;
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid DESCRIPTION("whose socket it is; 0: nobody's");
	u32 uid HIDDEN;
	u32 segs DESCRIPTION("segments, as the kernel counts them (RetransSegs)");
	bytes_t bytes DESCRIPTION("data in them");
	enum tcpretrans_retransmission kind;
	enum bpfnb_tcp_state state;
	char comm[16];
	u8 ip DESCRIPTION("4 or 6");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct tcpretrans_connection {
	u32 pid;
	enum tcpretrans_retransmission kind;
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	char comm[16];
	u32 ip HIDDEN;
};
struct tcpretrans_total { u64 count, segs; bytes_t bytes; ktime_ns_t time DESCRIPTION("of the latest"); };
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240);
	__type(key, struct tcpretrans_connection); __type(value, struct tcpretrans_total);
} counts SEC(".maps");

static int sent_again(const struct sock *sk, struct bpfnb_owner *owner,
		      enum tcpretrans_retransmission kind, u32 segs, u32 bytes)
{
	u64 now = bpf_ktime_get_ns();
	struct tcpretrans_retransmit *e;

	if (count) {
		struct tcpretrans_total zero = {}, *total;
		struct tcpretrans_connection key = {.kind = kind};

		bpfnb_endpoints(&key, sk);
		if (owner) {
			key.pid = owner->pid;
			__builtin_memcpy(key.comm, owner->comm, sizeof(key.comm));
		}
		total = bpf_map_lookup_elem(&counts, &key);
		if (!total) {
			bpf_map_update_elem(&counts, &key, &zero, BPF_NOEXIST);
			total = bpf_map_lookup_elem(&counts, &key);
		}
		if (total) {
			__sync_fetch_and_add(&total->count, 1);
			__sync_fetch_and_add(&total->segs, segs);
			__sync_fetch_and_add(&total->bytes, bytes);
			total->time = now;
		}
		return 0;
	}
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = now;
	e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	bpfnb_endpoints(e, sk);
	bpfnb_owner_row(e, owner);
	e->segs = segs;
	e->bytes = bytes;
	e->kind = kind;
	e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb") int BPF_PROG(retransmitted, struct sock *sk, struct sk_buff *skb)
{
	struct inet_connection_sock *connection = (struct inet_connection_sock *)sk;
	struct tcp_skb_cb *segment = (struct tcp_skb_cb *)skb->cb;
	struct bpfnb_owner *owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	u8 state = BPF_CORE_READ_BITFIELD_PROBED(connection, icsk_ca_state);
	enum tcpretrans_retransmission kind = state == TCP_CA_Loss ? TIMEOUT : FAST;

	if (!bpfnb_wanted_owner(owner) || !bpfnb_wanted_sock(sk))
		return 0;
	if (BPF_CORE_READ(segment, tcp_flags) & TCPHDR_SYN)
		kind = SYN;
	else if (BPF_CORE_READ(connection, icsk_pending) == ICSK_TIME_LOSS_PROBE && state < TCP_CA_Recovery)
		kind = LOSS_PROBE;
	return sent_again(sk, owner, kind, BPF_CORE_READ(segment, tcp_gso_segs), skb->len);
}

SEC("tp_btf/tcp_retransmit_synack") int BPF_PROG(answered, struct sock *sk, struct request_sock *request)
{
	struct bpfnb_owner *owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	struct sock *half = (struct sock *)request; /* begins as a socket does */

	if (!bpfnb_wanted_owner(owner) || !bpfnb_wanted_sock(half))
		return 0;
	return sent_again(half, owner, SYNACK, 1, 0);
}
