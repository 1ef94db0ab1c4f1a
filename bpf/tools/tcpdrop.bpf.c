/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets that the kernel drops: why, where, and whose they were. */
#include <bpfnb/owners.h>
#include <bpfnb/stacks.h>

const volatile u32 reason DESCRIPTION("only this reason, by its number in enum skb_drop_reason; 0: all") = 0;
const volatile u8 protocol DESCRIPTION("only this IP protocol, by number; 0: all") = 0;
const volatile bool receiver DESCRIPTION("the kernel tells the receiving socket (Linux 6.11)") = false;

struct tcpdrop_drop {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid DESCRIPTION("the process of the socket; 0: there is none, or it is not known");
	u32 uid;
	u32 netns;
	enum skb_drop_reason reason;
	ip_t saddr DESCRIPTION("who sent it");
	ip_t daddr;
	port_t sport;
	port_t dport;
	u8 protocol;
	u8 flags DESCRIPTION("of TCP");
	u8 state DESCRIPTION("of the TCP socket");
	u32 len UNIT(bytes) DESCRIPTION("of the packet, from the IP header on");
	u32 ifindex;
	u64 location DESCRIPTION("where in the kernel");
	stack_id_t kernel_stack;
	char device[16];
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct tcpdrop_why {
	enum skb_drop_reason reason;
	u32 protocol;
};
/* Counts them all, also where the ring buffer has no room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, struct tcpdrop_why); __type(value, u64);
} reasons SEC(".maps");

struct tcpdrop_headers {
	u8 saddr[16], daddr[16];
	u16 sport, dport;
	u8 protocol, flags;
	u32 len;
};

static __always_inline void read_headers(struct sk_buff *skb, struct tcpdrop_headers *h)
{
	unsigned char *at = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	u16 kind = BPF_CORE_READ(skb, protocol), ports[2] = {};
	u64 below = (u64)at - (u64)BPF_CORE_READ(skb, data);

	if (BPF_CORE_READ(skb, network_header) == 0xffff)
		return; /* dropped before anybody looked for it */
	h->len = BPF_CORE_READ(skb, len) - (s32)below;
	if (kind == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), at) || ip.version != 4)
			return;
		h->saddr[10] = h->saddr[11] = h->daddr[10] = h->daddr[11] = 0xff;
		__builtin_memcpy(h->saddr + 12, &ip.saddr, 4);
		__builtin_memcpy(h->daddr + 12, &ip.daddr, 4);
		h->protocol = ip.protocol;
		h->len = bpf_ntohs(ip.tot_len);
		if (ip.frag_off & bpf_htons(0x1fff))
			return;
		at += ip.ihl * 4;
	} else if (kind == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_probe_read_kernel(&ip, sizeof(ip), at) || ip.version != 6)
			return;
		__builtin_memcpy(h->saddr, &ip.saddr, 16);
		__builtin_memcpy(h->daddr, &ip.daddr, 16);
		h->protocol = ip.nexthdr;
		h->len = bpf_ntohs(ip.payload_len) + sizeof(ip);
		at += sizeof(ip);
	}
	if (h->protocol != IPPROTO_TCP && h->protocol != IPPROTO_UDP)
		return;
	bpf_probe_read_kernel(ports, sizeof(ports), at);
	h->sport = bpf_ntohs(ports[0]);
	h->dport = bpf_ntohs(ports[1]);
	if (h->protocol == IPPROTO_TCP)
		bpf_probe_read_kernel(&h->flags, 1, at + 13);
}

SEC("tp_btf/kfree_skb") int dropped(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sock *sk = receiver ? (struct sock *)ctx[3] : NULL;
	struct tcpdrop_why why = {.reason = ctx[2]};
	struct net_device *device;
	struct bpfnb_owner *owner = NULL;
	struct tcpdrop_headers h = {};
	u64 *count, one = 1;
	u32 netns = 0;
	struct tcpdrop_drop *e;

	if (reason && why.reason != reason)
		return 0;
	if (!sk)
		sk = skb->sk;
	if (sk) {
		netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
		owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	}
	device = BPF_CORE_READ(skb, dev);
	if (!netns && device)
		netns = BPF_CORE_READ(device, nd_net.net, ns.inum);
	if (filter_netns[0] && !bpfnb_wanted_netns(netns))
		return 0;
	if ((filter_pid[0] || filter_comm[0][0] || filter_uid[0] >= 0 || filter_cgroup[0]) && !(owner && owner->wanted))
		return 0;
	read_headers(skb, &h);
	if (protocol && h.protocol != protocol)
		return 0;

	why.protocol = h.protocol;
	count = bpf_map_lookup_elem(&reasons, &why);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&reasons, &why, &one, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = bpf_ktime_get_ns();
	e->reason = why.reason;
	e->netns = netns;
	__builtin_memcpy(e->saddr, h.saddr, 16);
	__builtin_memcpy(e->daddr, h.daddr, 16);
	e->sport = h.sport;
	e->dport = h.dport;
	e->protocol = h.protocol;
	e->flags = h.flags;
	e->len = h.len;
	e->location = ctx[1];
	if (sk && h.protocol == IPPROTO_TCP)
		e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (device) {
		e->ifindex = BPF_CORE_READ(device, ifindex);
		bpf_probe_read_kernel_str(e->device, sizeof(e->device), device->name);
	}
	if (owner) {
		e->pid = owner->pid;
		e->uid = owner->uid;
		e->cgroup_id = owner->cgroup_id;
		__builtin_memcpy(e->comm, owner->comm, sizeof(e->comm));
	}
	e->kernel_stack = bpfnb_kernel_stack(ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
