/* SPDX-License-Identifier: GPL-2.0-only */
/* Flows: packets and bytes of each five-tuple in both directions, and how they are spread over time.
 *
 * By default at the sockets (cgroup hooks): all that processes of this machine send and receive, each with its process,
 * bytes with the IP header. With INTERFACE defined at one network interface (tc): all that crosses it, bytes with the
 * link's header, as the interface itself counts. */
#include <bpfnb/owners.h>
#include <bpfnb/packet.h>

const volatile ns_t interval DESCRIPTION("length of the intervals that traffic is spread over; 0: none") = 1000000000;

struct flows_flow {
	u32 netns DESCRIPTION("network namespace, by inode; 0 where no process is known");
	ip_t laddr DESCRIPTION("the address here");
	ip_t raddr DESCRIPTION("the peer's address");
	port_t lport;
	port_t rport;
	u8 protocol;
};

struct flows_traffic {
	ktime_ns_t first DESCRIPTION("when its first packet was seen");
	ktime_ns_t last DESCRIPTION("when its last packet was seen");
	u64 id;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid DESCRIPTION("the process that uses the socket; 0: not known");
	u32 uid;
	u64 tx_packets UNIT(packets);
	bytes_t tx_bytes;
	u64 rx_packets UNIT(packets);
	bytes_t rx_bytes;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct flows_flow); __type(value, struct flows_traffic);
} flows SEC(".maps");

struct flows_when {
	u64 id;
	u64 number DESCRIPTION("how many intervals the machine ran before");
};

struct flows_part {
	u64 tx_packets UNIT(packets);
	bytes_t tx_bytes;
	u64 rx_packets UNIT(packets);
	bytes_t rx_bytes;
};

/* The least recently used go first: a history as long as there is room for. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 131072);
	__type(key, struct flows_when); __type(value, struct flows_part);
} intervals SEC(".maps");

static __always_inline void spread(u64 id, u64 now, u32 bytes, bool out)
{
	struct flows_when when = {id, now / interval};
	struct flows_part *part = bpf_map_lookup_elem(&intervals, &when);

	if (!part) {
		struct flows_part none = {};

		bpf_map_update_elem(&intervals, &when, &none, BPF_NOEXIST);
		part = bpf_map_lookup_elem(&intervals, &when);
		if (!part)
			return;
	}
	__sync_fetch_and_add(out ? &part->tx_packets : &part->rx_packets, 1);
	__sync_fetch_and_add(out ? &part->tx_bytes : &part->rx_bytes, bytes);
}

static __always_inline void count(struct __sk_buff *skb, bool out)
{
	struct bpfnb_owner *owner = NULL;
	struct flows_traffic *traffic;
	struct bpfnb_packet packet;
	struct flows_flow flow = {};
	u64 now;

#ifdef INTERFACE
	if (out) /* the socket of one that arrives is the sender's, where that is in another namespace here */
#endif
		owner = bpfnb_owner(skb);
	bpfnb_packet(skb, &packet); /* of other protocols the addresses stay empty */
	__builtin_memcpy(flow.laddr, out ? packet.saddr : packet.daddr, 16);
	__builtin_memcpy(flow.raddr, out ? packet.daddr : packet.saddr, 16);
	flow.lport = out ? packet.sport : packet.dport;
	flow.rport = out ? packet.dport : packet.sport;
	flow.protocol = packet.protocol;
#ifndef INTERFACE
	flow.netns = owner ? owner->netns : 0;
#endif
	traffic = bpf_map_lookup_elem(&flows, &flow);
#ifdef INTERFACE
	if (out || !traffic) /* one that arrives has no socket yet: it belongs to the flow of what was sent */
#endif
		if (!bpfnb_wanted_owner(owner))
			return;
	now = bpf_ktime_get_ns();
	if (!traffic) {
		struct flows_traffic none = {.first = now, .id = now << 8 | (bpf_get_smp_processor_id() & 0xff)};

		bpf_map_update_elem(&flows, &flow, &none, BPF_NOEXIST);
		traffic = bpf_map_lookup_elem(&flows, &flow);
		if (!traffic)
			return; /* full, which is counted */
	}
	traffic->last = now;
	if (owner && traffic->pid != owner->pid) {
		traffic->pid = owner->pid;
		traffic->uid = owner->uid;
		traffic->cgroup_id = owner->cgroup_id;
		__builtin_memcpy(traffic->comm, owner->comm, sizeof(traffic->comm));
	}
	__sync_fetch_and_add(out ? &traffic->tx_packets : &traffic->rx_packets, 1);
	__sync_fetch_and_add(out ? &traffic->tx_bytes : &traffic->rx_bytes, skb->len);
	if (interval)
		spread(traffic->id, now, skb->len, out);
}

#ifdef INTERFACE
SEC("tc") int sent(struct __sk_buff *skb)
{
	count(skb, true);
	return TC_ACT_UNSPEC;
}

SEC("tc") int received(struct __sk_buff *skb)
{
	count(skb, false);
	return TC_ACT_UNSPEC;
}
#else
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
#endif
