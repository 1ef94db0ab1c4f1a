/* SPDX-License-Identifier: GPL-2.0-only */
/* UDP datagrams by process and peer, and how long answers take: from the first datagram that awaits one.
 *
 * Who sends first asks: the client. Its own port is not told, so that one that takes a new port for each question stays
 * one row. */
#include <bpfnb/owners.h>
#include <bpfnb/packet.h>

enum udp_role { client = 1, server };

const volatile u16 port DESCRIPTION("only the service at this port; 0: all") = 0;

struct udp_peer {
	u32 netns;
	u32 pid;
	ip_t laddr DESCRIPTION("the address here");
	ip_t raddr DESCRIPTION("the peer's address");
	port_t port DESCRIPTION("the server's port");
	enum udp_role role DESCRIPTION("of the process: who sends first is the client");
	char comm[16];
};

struct udp_datagrams {
	u64 tx UNIT(packets) DESCRIPTION("datagrams sent");
	bytes_t tx_bytes DESCRIPTION("without headers");
	u64 rx UNIT(packets) DESCRIPTION("datagrams received");
	bytes_t rx_bytes DESCRIPTION("without headers");
	u64 answers DESCRIPTION("datagrams that followed one in the other direction");
	ns_t waited DESCRIPTION("by all answers together");
	ns_t latency_max;
	u32 uid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct udp_peer); __type(value, struct udp_datagrams);
} peers SEC(".maps");

/* Two ends that talk: who began, and since when an answer is awaited. */
struct udp_pair {
	u32 netns;
	u8 laddr[16], raddr[16];
	u16 lport, rport;
};
struct udp_question {
	ktime_ns_t asked; /* 0: answered */
	u32 role;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, struct udp_pair); __type(value, struct udp_question);
} questions SEC(".maps");

struct udp_wait_slot {
	u32 slot;
	char comm[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct udp_wait_slot); __type(value, u64);
} latency SEC(".maps") VIEW(hist, log2, ns);

static __always_inline void count(struct __sk_buff *skb, bool out)
{
	struct bpfnb_owner *owner = bpfnb_owner(skb);
	struct udp_question *question, asks;
	struct udp_datagrams *sum, none = {};
	struct udp_wait_slot key = {};
	struct udp_peer peer = {};
	struct udp_pair pair = {};
	struct bpfnb_packet packet;
	u64 now, *hits, waited = 0, one = 1;

	if (!owner || !bpfnb_wanted_owner(owner) || !bpfnb_packet(skb, &packet) || packet.protocol != IPPROTO_UDP)
		return;
	if (port && packet.sport != port && packet.dport != port)
		return;
	now = bpf_ktime_get_ns();
	pair.netns = peer.netns = owner->netns;
	__builtin_memcpy(pair.laddr, out ? packet.saddr : packet.daddr, 16);
	__builtin_memcpy(pair.raddr, out ? packet.daddr : packet.saddr, 16);
	pair.lport = out ? packet.sport : packet.dport;
	pair.rport = out ? packet.dport : packet.sport;
	question = bpf_map_lookup_elem(&questions, &pair);
	if (!question) {
		asks.asked = now;
		asks.role = out ? client : server;
		bpf_map_update_elem(&questions, &pair, &asks, BPF_NOEXIST);
		question = &asks;
	} else if ((question->role == client) == out) {
		if (!question->asked)
			question->asked = now;
	} else if (question->asked) {
		waited = now - question->asked;
		question->asked = 0;
	}

	peer.role = question->role;
	peer.port = peer.role == client ? pair.rport : pair.lport;
	if (port && peer.port != port)
		return;
	peer.pid = owner->pid;
	__builtin_memcpy(peer.comm, owner->comm, sizeof(peer.comm));
	__builtin_memcpy(peer.laddr, pair.laddr, 16);
	__builtin_memcpy(peer.raddr, pair.raddr, 16);
	sum = bpf_map_lookup_elem(&peers, &peer);
	if (!sum) {
		none.uid = owner->uid;
		bpf_map_update_elem(&peers, &peer, &none, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&peers, &peer);
		if (!sum)
			return;
	}
	__sync_fetch_and_add(out ? &sum->tx : &sum->rx, skb->gso_segs ?: 1); /* several at once, to be cut later */
	__sync_fetch_and_add(out ? &sum->tx_bytes : &sum->rx_bytes, packet.payload);
	if (!waited)
		return;
	__sync_fetch_and_add(&sum->answers, 1);
	__sync_fetch_and_add(&sum->waited, waited);
	if (waited > sum->latency_max)
		sum->latency_max = waited;
	key.slot = bpfnb_log2(waited);
	__builtin_memcpy(key.comm, owner->comm, sizeof(key.comm));
	hits = bpf_map_lookup_elem(&latency, &key);
	if (hits)
		__sync_fetch_and_add(hits, 1);
	else
		bpf_map_update_elem(&latency, &key, &one, BPF_ANY);
}

SEC("cgroup_skb/egress") int sent(struct __sk_buff *skb)
{
	count(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress") int received(struct __sk_buff *skb)
{
	count(skb, false);
	return 1;
}
