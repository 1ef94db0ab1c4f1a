/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The headers of a packet that cgroup_skb and tc programs are given: addresses, ports, how much is in it.
 *
 *   struct bpfnb_packet packet;
 *
 *   if (!bpfnb_packet(skb, &packet)) return 1;          // neither IPv4 nor IPv6
 *
 * Addresses are what ip_t holds: IPv4 in IPv6's form, so that one column has both. What TCP hands to the device in one
 * piece may be longer than the header can say, which is 0 then (IPv6: with a jumbo option); the length is the buffer's,
 * which begins with the IP header in cgroup_skb programs.
 * Linux 4.18 (bpf_skb_load_bytes_relative).
 */
#ifndef BPFNB_PACKET_H
#define BPFNB_PACKET_H

#define TH_FIN 0x01
#define TH_SYN 0x02
#define TH_RST 0x04
#define TH_ACK 0x10
#define NEXTHDR_HOP 0

struct bpfnb_packet {
	u8 saddr[16], daddr[16];
	u16 sport, dport; /* host order; 0 where there are none */
	u8 protocol;      /* IPPROTO_* */
	u8 flags;         /* of TCP */
	u16 payload_at;   /* behind all headers, from the IP header on */
	u32 payload;      /* bytes behind the headers */
};

static __always_inline bool bpfnb_packet(struct __sk_buff *skb, struct bpfnb_packet *p)
{
	u32 length, at;

	__builtin_memset(p, 0, sizeof(*p));
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
			return false;
		p->saddr[10] = p->saddr[11] = p->daddr[10] = p->daddr[11] = 0xff;
		__builtin_memcpy(p->saddr + 12, &ip.saddr, 4);
		__builtin_memcpy(p->daddr + 12, &ip.daddr, 4);
		p->protocol = ip.protocol;
		at = ip.ihl * 4;
		length = ip.tot_len ? bpf_ntohs(ip.tot_len) : skb->len;
		if (ip.frag_off & bpf_htons(0x1fff)) { /* not the first piece: no ports */
			p->payload_at = at;
			p->payload = length - at;
			return true;
		}
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
			return false;
		__builtin_memcpy(p->saddr, &ip.saddr, 16);
		__builtin_memcpy(p->daddr, &ip.daddr, 16);
		p->protocol = ip.nexthdr;
		at = sizeof(ip);
		length = ip.payload_len ? at + bpf_ntohs(ip.payload_len) : skb->len;
		if (ip.nexthdr == NEXTHDR_HOP) {
			struct ipv6_opt_hdr options;

			if (bpf_skb_load_bytes_relative(skb, at, &options, sizeof(options), BPF_HDR_START_NET))
				return false;
			p->protocol = options.nexthdr;
			at += (options.hdrlen + 1) * 8;
		}
	} else {
		return false;
	}
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr tcp;

		if (!bpf_skb_load_bytes_relative(skb, at, &tcp, sizeof(tcp), BPF_HDR_START_NET)) {
			p->sport = bpf_ntohs(tcp.source);
			p->dport = bpf_ntohs(tcp.dest);
			p->flags = (tcp.fin ? TH_FIN : 0) | (tcp.syn ? TH_SYN : 0) | (tcp.rst ? TH_RST : 0) | (tcp.ack ? TH_ACK : 0);
			at += tcp.doff * 4;
		}
	} else if (p->protocol == IPPROTO_UDP) {
		struct udphdr udp;

		if (!bpf_skb_load_bytes_relative(skb, at, &udp, sizeof(udp), BPF_HDR_START_NET)) {
			p->sport = bpf_ntohs(udp.source);
			p->dport = bpf_ntohs(udp.dest);
			at += sizeof(udp);
		}
	}
	p->payload_at = at;
	p->payload = length > at ? length - at : 0;
	return true;
}

#endif
