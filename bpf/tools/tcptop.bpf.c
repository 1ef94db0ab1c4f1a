/* SPDX-License-Identifier: GPL-2.0-only */
/* What processes send and receive over TCP, by connection; with `interval` for each interval of time.
 *
 * Counted where a process calls: what it handed over and what it was given, not what is on the wire at the moment. */
#include <bpfnb/filter.h>
#define SOCK_DIRECT
#include <bpfnb/sock.h>

#define MSG_PEEK 2

const volatile ns_t interval DESCRIPTION("count each interval by itself; 0: all in one") = 0;

struct tcptop_use {
	u64 cookie HIDDEN;
	u32 pid;
	u32 number HIDDEN; /* of the interval */
};

struct tcptop_traffic {
	ktime_ns_t time DESCRIPTION("when the interval began; without intervals, the first byte");
	cgroup_id_t cgroup_id HIDDEN;
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 uid HIDDEN;
	bytes_t rx_bytes, tx_bytes;
	char comm[16];
	u32 ip HIDDEN;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct tcptop_use); __type(value, struct tcptop_traffic);
} traffic SEC(".maps");

static __noinline int begin(struct sock *sk, struct tcptop_use *key)
{
	struct tcptop_traffic first = {};

	if (!sk || !key)
		return 0;
	first.time = interval ? key->number * interval : bpf_ktime_get_ns();
	first.cgroup_id = bpf_get_current_cgroup_id();
	first.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(first.comm, sizeof(first.comm));
	bpfnb_endpoints(&first, sk);
	bpf_map_update_elem(&traffic, key, &first, BPF_NOEXIST);
	return 0;
}

static struct tcptop_traffic *entry_of(struct sock *sk)
{
	struct tcptop_use key = {.cookie = bpf_get_socket_cookie(sk), .pid = bpf_get_current_pid_tgid() >> 32};
	struct tcptop_traffic *found;

	if (interval)
		key.number = bpf_ktime_get_ns() / interval;
	found = bpf_map_lookup_elem(&traffic, &key);
	if (found)
		return found;
	begin(sk, &key);
	return bpf_map_lookup_elem(&traffic, &key);
}

static bool wanted(struct sock *sk, int ret)
{
	u16 family = sk->__sk_common.skc_family;

	return ret > 0 && sk->sk_protocol == IPPROTO_TCP && (family == AF_INET || family == AF_INET6) && bpfnb_wanted() && bpfnb_wanted_sock(sk);
}

static int handed_over(struct sock *sk, int ret)
{
	struct tcptop_traffic *entry;

	if (wanted(sk, ret) && (entry = entry_of(sk)))
		__sync_fetch_and_add(&entry->tx_bytes, ret);
	return 0;
}

static int was_given(struct sock *sk, int ret, int flags)
{
	struct tcptop_traffic *entry;

	if (!(flags & MSG_PEEK) && wanted(sk, ret) && (entry = entry_of(sk)))
		__sync_fetch_and_add(&entry->rx_bytes, ret);
	return 0;
}

#ifdef BY_FUNCTION /* before Linux 6.3 */
SEC("fexit/tcp_sendmsg") int BPF_PROG(sent, struct sock *sk, void *message, size_t size, int ret)
{
	return handed_over(sk, ret);
}

SEC("fexit/tcp_sendpage")
int BPF_PROG(sent_page, struct sock *sk, void *page, int offset, size_t size, int flags, int ret)
{
	return handed_over(sk, ret);
}

/* Until Linux 5.18 whether it may wait was an argument of its own, before the flags. */
const volatile u32 flags_at DESCRIPTION("which argument of tcp_recvmsg the flags are") = 3;

SEC("fexit/tcp_recvmsg") int received(u64 *ctx)
{
	if (flags_at == 4)
		return was_given((struct sock *)ctx[0], ctx[6], ctx[4]);
	return was_given((struct sock *)ctx[0], ctx[5], ctx[3]);
}
#else
SEC("tp_btf/sock_send_length") int BPF_PROG(sent, struct sock *sk, int ret, int flags)
{
	return handed_over(sk, ret);
}

SEC("tp_btf/sock_recv_length") int BPF_PROG(received, struct sock *sk, int ret, int flags)
{
	return was_given(sk, ret, flags);
}
#endif
