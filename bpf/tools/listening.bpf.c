/* SPDX-License-Identifier: GPL-2.0-only */
/* Ports that are listened on, and the connections that arrive there.
 *
 * A listening socket carries its number; the connections that it accepts get a copy, by which they are counted. */
#include <bpfnb/snapshot.h>

struct listening_numbered {
	u64 id;
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int); __type(value, struct listening_numbered);
} listeners SEC(".maps");

struct listening_arrivals {
	u64 connections;
	ktime_ns_t last DESCRIPTION("when the last one came");
	ktime_ns_t since DESCRIPTION("since when they are counted");
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384);
	__type(key, u64); __type(value, struct listening_arrivals);
} arrivals SEC(".maps");

static __always_inline void note(struct sock *sk)
{
	struct listening_arrivals none = {.since = bpf_ktime_get_ns()};
	struct listening_numbered *listener;
	u64 id = (u64)sk;

	listener = bpf_sk_storage_get(&listeners, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!listener || listener->id == id)
		return;
	listener->id = id;
	bpf_map_update_elem(&arrivals, &id, &none, BPF_ANY);
}

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, struct sock *sk, int old, int new)
{
	struct listening_numbered *listener;
	struct listening_arrivals *sum;
	u64 id = (u64)sk;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new == TCP_LISTEN) {
		note(sk);
	} else if (old == TCP_LISTEN && new == TCP_CLOSE) { /* connections begin as copies: from LISTEN to SYN_RECV */
		bpf_map_delete_elem(&arrivals, &id);
		bpf_sk_storage_delete(&listeners, sk);
	} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		listener = bpf_sk_storage_get(&listeners, sk, NULL, 0);
		sum = listener ? bpf_map_lookup_elem(&arrivals, &listener->id) : NULL;
		if (sum) {
			__sync_fetch_and_add(&sum->connections, 1);
			sum->last = bpf_ktime_get_ns();
		}
	}
	return 0;
}

/* Those that were there before. */
SEC("iter/tcp") int find_listeners(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tcp;

	if (!common || common->skc_state != TCP_LISTEN)
		return 0;
	tcp = bpf_skc_to_tcp_sock(common);
	if (tcp)
		note((struct sock *)tcp);
	return 0;
}
