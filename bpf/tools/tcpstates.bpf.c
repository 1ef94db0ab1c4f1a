/* SPDX-License-Identifier: GPL-2.0-only */
/* Every change of state of every TCP connection, with the time that was spent in the state before. */
#include <bpfnb/owners.h>
#define SOCK_DIRECT
#include <bpfnb/sock.h>

struct tcpstates_change {
	ktime_ns_t time;
	ns_t duration DESCRIPTION("time in the old state; 0 where that was not seen to begin");
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie DESCRIPTION("the socket's number, as ss -e has it");
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid DESCRIPTION("whose socket it is; 0: nobody's");
	u32 uid HIDDEN;
	enum bpfnb_tcp_state oldstate, newstate;
	char comm[16];
	u8 ip HIDDEN;
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, u64);
} since SEC(".maps");

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, struct sock *sk, int oldstate, int newstate)
{
	struct bpfnb_owner *owner;
	struct tcpstates_change *e;
	u64 now = bpf_ktime_get_ns(), *start;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	owner = bpf_sk_storage_get(&owners, sk, NULL, 0);
	if (!bpfnb_wanted_owner(owner) || !bpfnb_wanted_sock(sk))
		return 0;
	start = bpf_sk_storage_get(&since, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (e) {
		e->time = now;
		e->duration = start && *start ? now - *start : 0;
		e->cookie = bpf_get_socket_cookie(sk);
		bpfnb_endpoints(e, sk);
		bpfnb_owner_row(e, owner);
		e->oldstate = oldstate;
		e->newstate = newstate;
		bpf_ringbuf_submit(e, 0);
	}
	if (start)
		*start = newstate == CLOSE ? 0 : now; /* a closed socket may be used again, or never */
	return 0;
}
