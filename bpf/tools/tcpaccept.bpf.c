/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP connections that processes here accept, and how long each had waited for it. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>
#include <bpfnb/sock.h>

struct tcpaccept_accept {
	ktime_ns_t time;
	ns_t wait DESCRIPTION("from the end of the handshake to accept(); 0 where that was not seen");
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie HIDDEN;
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid, tid, uid;
	u32 fd DESCRIPTION("the new descriptor");
	char comm[16];
	u8 ip DESCRIPTION("4 or 6");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

/* When connections that wait were established, by socket: programs of system calls have no storage on sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536); __type(key, u64); __type(value, u64);
} waiting SEC(".maps");

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, struct sock *sk, int oldstate, int newstate)
{
	u64 key = (u64)sk, now = bpf_ktime_get_ns();

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (oldstate == SYN_RECV && newstate == ESTABLISHED && bpfnb_wanted_sock(sk)) {
		bpf_get_socket_cookie(sk); /* gives it one */
		bpf_map_update_elem(&waiting, &key, &now, BPF_ANY);
	} else if (newstate == CLOSE) {
		bpf_map_delete_elem(&waiting, &key);
	}
	return 0;
}

static int accepted(long fd)
{
	u64 key, *since;
	struct tcpaccept_accept *e;
	struct sock *sk;

	if (fd < 0 || !bpfnb_wanted())
		return 0;
	sk = bpfnb_sock_of(fd);
	if (!sk || !bpfnb_is_tcp(sk) || !bpfnb_wanted_sock(sk))
		return 0;
	key = (u64)sk;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		bpfnb_row(e);
		since = bpf_map_lookup_elem(&waiting, &key);
		e->wait = since ? e->time - *since : 0;
		e->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
		e->fd = fd;
		bpfnb_endpoints(e, sk);
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&waiting, &key);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept") int accept_returned(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx->ret);
}

SEC("tp/syscalls/sys_exit_accept4") int accept4_returned(struct trace_event_raw_sys_exit *ctx)
{
	return accepted(ctx->ret);
}
