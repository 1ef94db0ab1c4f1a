/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP connections that processes here open, with how long it took, and those that failed, with the reason.
 *
 * A handshake is told by the states of the socket, so it is seen whoever waits for it and how. A connect() that fails
 * before there is one (no route, no permission, no free port) is told by the system call. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>
#include <bpfnb/sock.h>

#define EINTR 4
#define EALREADY 114
#define EISCONN 106
#define EINPROGRESS 115
#define ECANCELED 125
#define ERESTARTSYS 512

const volatile bool failed DESCRIPTION("only those that failed") = false;
const volatile u64 min_us DESCRIPTION("only those that took so long") = 0;

struct tcpconnect_connect {
	ktime_ns_t time DESCRIPTION("when it was called");
	ns_t latency DESCRIPTION("from the call to the answer");
	cgroup_id_t cgroup_id HIDDEN;
	u64 cookie HIDDEN;
	ip_t laddr, raddr;
	port_t lport, rport;
	u32 netns HIDDEN;
	u32 pid, tid, uid;
	errno_t ret DESCRIPTION("0, or why it failed; ECANCELED: closed before there was an answer");
	char comm[16];
	u8 ip DESCRIPTION("4 or 6");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

/* Handshakes, by socket: the row as far as it is known. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int); __type(value, struct tcpconnect_connect);
} attempts SEC(".maps");

/* Calls of connect(), by thread. */
struct tcpconnect_call { u64 start, address; int fd; bool begun; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 10240);
	__type(key, u64); __type(value, struct tcpconnect_call);
} calls SEC(".maps");

static bool told(u64 latency, int ret)
{
	return !(failed && !ret) && latency >= min_us * NSEC_PER_USEC;
}

SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, struct sock *sk, int oldstate, int newstate)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct tcpconnect_connect *attempt, *e;
	struct tcpconnect_call *call;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == SYN_SENT) {
		if (!bpfnb_wanted())
			return 0;
		call = bpf_map_lookup_elem(&calls, &thread);
		attempt = bpf_sk_storage_get(&attempts, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
		if (!attempt)
			return 0;
		bpfnb_row(attempt);
		if (call) {
			attempt->time = call->start;
			call->begun = true;
		}
		return 0;
	}
	if (oldstate != SYN_SENT)
		return 0;
	attempt = bpf_sk_storage_get(&attempts, sk, NULL, 0);
	if (!attempt || !attempt->time)
		return 0;
	attempt->latency = bpf_ktime_get_ns() - attempt->time;
	attempt->ret = newstate == CLOSE ? sk->sk_err : 0;
	if (newstate == CLOSE && !sk->sk_err) {
		call = bpf_map_lookup_elem(&calls, &thread);
		if (call && call->begun) { /* connect() itself gives up; what it returns is the reason */
			call->begun = false;
			attempt->time = 0;
			return 0;
		}
		attempt->ret = ECANCELED;
	}
	attempt->cookie = bpf_get_socket_cookie(sk);
	bpfnb_endpoints(attempt, sk);
	if (told(attempt->latency, attempt->ret) && bpfnb_wanted_sock(sk))
		bpf_ringbuf_output(&events, attempt, sizeof(*attempt), 0);
	attempt->time = 0;
	return 0;
}

SEC("tp/syscalls/sys_enter_connect") int called(struct trace_event_raw_sys_enter *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct tcpconnect_call call = {.start = bpf_ktime_get_ns(), .address = ctx->args[1], .fd = ctx->args[0]};

	if (bpfnb_wanted())
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

/* A row of a call that began no handshake; the address is the caller's. */
static void refused(struct tcpconnect_call *call, int ret)
{
	struct sock *sk = bpfnb_sock_of(call->fd);
	struct sockaddr_in6 address = {};
	struct sockaddr_in *four = (void *)&address;
	u64 latency = bpf_ktime_get_ns() - call->start;
	struct tcpconnect_connect row = {};

	if (!sk || !bpfnb_is_tcp(sk) || !told(latency, ret))
		return;
	if (bpf_probe_read_user(&address, sizeof(address), (void *)call->address))
		bpf_probe_read_user(four, sizeof(*four), (void *)call->address);
	bpfnb_endpoints(&row, sk);
	row.rport = bpf_ntohs(address.sin6_port);
	if (address.sin6_family == AF_INET)
		bpfnb_ipv4(four->sin_addr.s_addr, (u32 *)row.raddr);
	else
		__builtin_memcpy(row.raddr, &address.sin6_addr, sizeof(row.raddr));
	row.ip = bpfnb_ip_version(row.raddr);
	if (!bpfnb_wanted_endpoints(row.lport, row.rport, row.raddr))
		return;
	bpfnb_row(&row);
	row.time = call->start;
	row.latency = latency;
	row.ret = ret;
	row.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	bpf_ringbuf_output(&events, &row, sizeof(row), 0);
}

SEC("tp/syscalls/sys_exit_connect") int returned(struct trace_event_raw_sys_exit *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct tcpconnect_call *call = bpf_map_lookup_elem(&calls, &thread);
	int ret = -ctx->ret;

	if (!call)
		return 0;
	/* Not refused: under way, or made by another call. */
	if (!call->begun && ret > 0 && ret != EINPROGRESS && ret != EALREADY && ret != EISCONN && ret != EINTR &&
	    ret != ERESTARTSYS)
		refused(call, ret);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}
