/* SPDX-License-Identifier: GPL-2.0-only */
/* Who talks to whom: connections, requests, bytes and round trips between processes here and their peers.
 *
 * Each end of a connection that is on this machine counts for itself, by process, addresses and the service's port; the
 * tool joins the two. A request begins when the client sends after the server did: in protocols of question and answer
 * these are the requests, in others the changes of direction. Of UDP each datagram to the server is one. */
#include <bpfnb/owners.h>
#include <bpfnb/packet.h>

enum netmap_role { unknown, client, server };

struct netmap_end {
	u32 netns;
	ip_t laddr;
	ip_t raddr;
	port_t port DESCRIPTION("the service's port");
	u8 protocol;
	u8 role DESCRIPTION("1 of the client, 2 of the server");
	char comm[16];
};

struct netmap_talk {
	u64 connections;
	u64 requests;
	u64 answers;
	ns_t waited DESCRIPTION("from requests to the beginning of their answers, in all");
	u64 tx_packets UNIT(packets);
	bytes_t tx_bytes DESCRIPTION("without headers");
	u64 rx_packets UNIT(packets);
	bytes_t rx_bytes DESCRIPTION("without headers");
	us_t rtt_sum;
	u64 rtts;
	u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct netmap_end); __type(value, struct netmap_talk);
} talks SEC(".maps");

/* Who is at an end, also those whom the filters leave out: the other end is shown with their name. */
struct netmap_place {
	u32 netns;
	ip_t laddr;
	ip_t raddr;
	port_t port;
	u8 protocol;
	u8 role;
};
struct netmap_name { char comm[16]; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, struct netmap_place); __type(value, struct netmap_name);
} names SEC(".maps");

/* Noted on the socket; a listener's is copied to the connections that it accepts. */
struct netmap_conversation {
	ktime_ns_t asked; /* 0: no answer is awaited */
	u32 pid;          /* whose name is known */
	u8 role;
	bool counted;
	bool asking; /* the last data was the client's */
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int); __type(value, struct netmap_conversation);
} conversations SEC(".maps");

static __always_inline u8 role_of(struct bpf_sock *sk, struct bpfnb_packet *packet, bool out)
{
	if (packet->protocol == IPPROTO_UDP)
		return out ? client : server; /* who speaks first */
	if (packet->flags & TH_SYN) {
		bool first = !(packet->flags & TH_ACK);

		return first == out ? client : server;
	}
	if (sk->state == BPF_TCP_LISTEN)
		return server;
	return (out ? packet->sport < packet->dport : packet->dport < packet->sport) ? server : client; /* began before us */
}

static __always_inline void count(struct __sk_buff *skb, bool out)
{
	struct netmap_conversation *conversation;
	struct bpf_tcp_sock *tcp = NULL;
	struct bpf_sock *sk = skb->sk;
	struct netmap_talk *talk, none = {};
	struct bpfnb_packet packet;
	struct bpfnb_owner *owner;
	struct netmap_end end = {};
	bool wanted, asks;

	if (!sk || !bpfnb_packet(skb, &packet) || (packet.protocol != IPPROTO_TCP && packet.protocol != IPPROTO_UDP))
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	conversation = bpf_sk_storage_get(&conversations, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!owner || !conversation)
		return;
	wanted = bpfnb_wanted_owner(owner);
	if (!conversation->role)
		conversation->role = role_of(sk, &packet, out);
	end.netns = owner->netns;
	__builtin_memcpy(end.laddr, out ? packet.saddr : packet.daddr, 16);
	__builtin_memcpy(end.raddr, out ? packet.daddr : packet.saddr, 16);
	end.role = conversation->role;
	end.protocol = packet.protocol;
	/* the service's port is the destination of what the client sends */
	asks = (end.role == client) == out;
	end.port = asks ? packet.dport : packet.sport;
	if (packet.protocol == IPPROTO_UDP || !conversation->counted || conversation->pid != owner->pid) {
		struct netmap_place place = {.netns = end.netns, .port = end.port, .protocol = end.protocol, .role = end.role};
		struct netmap_name *known;

		conversation->pid = owner->pid;
		__builtin_memcpy(place.laddr, end.laddr, 16);
		__builtin_memcpy(place.raddr, end.raddr, 16);
		known = bpf_map_lookup_elem(&names, &place);
		if (!known)
			bpf_map_update_elem(&names, &place, (struct netmap_name *)owner->comm, BPF_ANY);
		else
			__builtin_memcpy(known->comm, owner->comm, sizeof(known->comm));
	}
	if (!wanted)
		goto counted;
	__builtin_memcpy(end.comm, owner->comm, sizeof(end.comm));
	talk = bpf_map_lookup_elem(&talks, &end);
	if (!talk) {
		bpf_map_update_elem(&talks, &end, &none, BPF_NOEXIST);
		talk = bpf_map_lookup_elem(&talks, &end);
		if (!talk)
			return;
	}
	talk->pid = owner->pid;
	__sync_fetch_and_add(out ? &talk->tx_packets : &talk->rx_packets, 1);
	__sync_fetch_and_add(out ? &talk->tx_bytes : &talk->rx_bytes, packet.payload);
	if (packet.payload && asks && (!conversation->asking || packet.protocol == IPPROTO_UDP)) {
		__sync_fetch_and_add(&talk->requests, 1);
		conversation->asking = true;
		conversation->asked = bpf_ktime_get_ns();
	} else if (packet.payload && !asks) {
		if (conversation->asked) {
			__sync_fetch_and_add(&talk->answers, 1);
			__sync_fetch_and_add(&talk->waited, bpf_ktime_get_ns() - conversation->asked);
		}
		conversation->asking = false;
		conversation->asked = 0;
	}
	if (packet.protocol == IPPROTO_TCP && sk->state == BPF_TCP_ESTABLISHED) {
		if (!conversation->counted)
			__sync_fetch_and_add(&talk->connections, 1);
		tcp = out ? NULL : bpf_tcp_sock(sk);
		if (tcp && tcp->srtt_us) {
			__sync_fetch_and_add(&talk->rtt_sum, tcp->srtt_us >> 3);
			__sync_fetch_and_add(&talk->rtts, 1);
		}
	}
counted:
	if (packet.protocol == IPPROTO_TCP && sk->state == BPF_TCP_ESTABLISHED)
		conversation->counted = true;
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
