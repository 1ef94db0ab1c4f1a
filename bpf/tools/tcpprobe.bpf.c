/* SPDX-License-Identifier: GPL-2.0-only */
/* The congestion control of TCP connections, with every segment that comes in: window, threshold, round-trip time.
 *
 * The kernel's tcp:tcp_probe, before it looks at the segment: the numbers are what the one before left. */
#include <bpfnb/owners.h>
#define SOCK_DIRECT
#include <bpfnb/sock.h>

const volatile bool changes DESCRIPTION("only where the congestion window or its threshold changed") = false;

struct tcpprobe_tcp_segment {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie DESCRIPTION("the socket's number, as ss -e has it");
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid DESCRIPTION("whose socket it is; 0: nobody's");
	u32 uid HIDDEN;
	u32 snd_cwnd UNIT(packets) DESCRIPTION("congestion window: what may be on the way");
	u32 ssthresh UNIT(packets) DESCRIPTION("slow start goes on up to here; 2147483647: without end");
	u32 in_flight UNIT(packets) DESCRIPTION("what is on the way");
	u32 snd_wnd UNIT(bytes) DESCRIPTION("the window that the other side offers");
	u32 rcv_wnd UNIT(bytes) DESCRIPTION("the window offered to the other side");
	u32 snd_nxt DESCRIPTION("number of the next byte to send");
	u32 snd_una DESCRIPTION("number of the first byte that is not acknowledged");
	u32 data_len UNIT(bytes) DESCRIPTION("data in the segment that came");
	us_t srtt DESCRIPTION("round-trip time, smoothed");
	u64 pacing_rate UNIT(bytes) DESCRIPTION("bytes a second that it lets itself send");
	enum tcp_ca_state ca_state;
	char comm[16];
	u8 ip HIDDEN;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } events SEC(".maps");

struct tcpprobe_window { u32 cwnd, ssthresh; };
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct tcpprobe_window);
} seen SEC(".maps");

static bool same(struct sock *sk, struct tcp_sock *tcp)
{
	struct tcpprobe_window *before = bpf_sk_storage_get(&seen, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	struct tcpprobe_window now = {tcp->snd_cwnd, tcp->snd_ssthresh};
	bool equal;

	if (!before)
		return false;
	equal = before->cwnd == now.cwnd && before->ssthresh == now.ssthresh;
	*before = now;
	return equal;
}

SEC("tp_btf/tcp_probe") int BPF_PROG(probed, struct sock *sk, struct sk_buff *skb)
{
	struct bpfnb_owner *owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	struct tcpprobe_tcp_segment *e;
	u8 offset = 0;

	if (!tcp || !bpfnb_wanted_owner(owner) || !bpfnb_wanted_sock(sk) || (changes && same(sk, tcp)))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->cookie = bpf_get_socket_cookie(sk);
	bpfnb_endpoints(e, sk);
	bpfnb_owner_row(e, owner);
	e->snd_cwnd = tcp->snd_cwnd;
	e->ssthresh = tcp->snd_ssthresh;
	e->in_flight = tcp->packets_out - tcp->sacked_out - tcp->lost_out +
		       tcp->retrans_out;
	e->snd_wnd = tcp->snd_wnd;
	e->rcv_wnd = tcp->rcv_wnd;
	e->snd_nxt = tcp->snd_nxt;
	e->snd_una = tcp->snd_una;
	e->srtt = tcp->srtt_us >> 3;
	e->pacing_rate = sk->sk_pacing_rate;
	e->ca_state = BPF_CORE_READ_BITFIELD(&tcp->inet_conn, icsk_ca_state);
	bpf_probe_read_kernel(&offset, 1, skb->data + 12); /* the upper half: words of TCP's header */
	e->data_len = skb->len - (offset >> 4) * 4;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
