/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a socket is bound and connected to, as columns, and the filters by it.
 *
 *   struct event {
 *       ip_t laddr, raddr;               // IPv4 addresses in IPv6's form; shown as everyone writes them
 *       port_t lport, rport;
 *       u32 netns HIDDEN;                // the network namespace's inode
 *       u8 ip;                           // 4 or 6: what the packets are
 *       ...
 *   };
 *   if (bpfnb_wanted_sock(sk)) bpfnb_endpoints(e, sk);
 *
 * Fields of these names, in any order; all six. The pointer may be any that the kernel has: all is read with
 * bpf_probe_read_kernel. Where all pointers are typed, as arguments of tp_btf programs are, `#define SOCK_DIRECT` before
 * this file makes plain loads of it, which cost next to nothing. A socket that nobody connected has no remote address (0.0.0.0 or ::) and port 0. Linux 5.11.
 */
#ifndef BPFNB_SOCK_H
#define BPFNB_SOCK_H

#define SOCK_PORTS 16

/* Each list ends at its first zero. Options of bpfnb.tools.endpoints.Sockets. */
const volatile port_t lport[SOCK_PORTS] DESCRIPTION("local ports");
const volatile port_t rport[SOCK_PORTS] DESCRIPTION("remote ports");
const volatile u32 rnet[4] DESCRIPTION("remote network, in network byte order, IPv4 as ::ffff:10.0.0.0");
const volatile u32 rnet_mask[4] DESCRIPTION("its mask; all zero: any address");
const volatile bool rnet_ipv6 DESCRIPTION("only IPv6: networks like ::/0 have IPv4 in them too, as it is written here");

/* The states of a connection by the names that netstat gives them; include/net/tcp_states.h has TCP_ before. */
enum bpfnb_tcp_state {
	ESTABLISHED = 1, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN,
	CLOSING, NEW_SYN_RECV,
};

/* There only where the kernel has IPv6. */
struct sock_common___ipv6 {
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));

#ifdef SOCK_DIRECT
#define SOCK_READ(sk, field) ((sk)->__sk_common.field)
#define SOCK_NETNS(sk) ((sk)->__sk_common.skc_net.net->ns.inum)
#define SOCK_READ_IPV6(to, six, field)                                  \
	({                                                              \
		u32 *__to = (u32 *)(to);                                \
		for (int __i = 0; __i < 4; __i++)                       \
			__to[__i] = (six)->field.in6_u.u6_addr32[__i]; \
	})
#else
#define SOCK_READ(sk, field) BPF_CORE_READ(sk, __sk_common.field)
#define SOCK_NETNS(sk) BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum)
#define SOCK_READ_IPV6(to, six, field) BPF_CORE_READ_INTO((struct in6_addr *)(to), six, field)
#endif

static __always_inline void bpfnb_ipv4(u32 address, u32 *ip)
{
	ip[0] = ip[1] = 0;
	ip[2] = bpf_htonl(0xffff);
	ip[3] = address;
}

/* The remote address, as an ip_t. */
static __always_inline void bpfnb_raddr(const struct sock *sk, void *raddr)
{
	struct sock_common___ipv6 *six = (void *)&sk->__sk_common;

	if (SOCK_READ(sk, skc_family) == AF_INET6)
		SOCK_READ_IPV6(raddr, six, skc_v6_daddr);
	else
		bpfnb_ipv4(SOCK_READ(sk, skc_daddr), raddr);
}

static __always_inline void bpfnb_laddr(const struct sock *sk, void *laddr)
{
	struct sock_common___ipv6 *six = (void *)&sk->__sk_common;

	if (SOCK_READ(sk, skc_family) == AF_INET6)
		SOCK_READ_IPV6(laddr, six, skc_v6_rcv_saddr);
	else
		bpfnb_ipv4(SOCK_READ(sk, skc_rcv_saddr), laddr);
}

/* The port that a closing socket gives back is still in what it sends from. */
static __always_inline u16 bpfnb_lport(const struct sock *sk)
{
	u16 port = SOCK_READ(sk, skc_num);

	return port ?: bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
}

/* 4 or 6: an IPv6 socket that is connected to an IPv4 address sends IPv4. */
static __always_inline int bpfnb_ip_version(const void *address)
{
	const u32 *ip = address;

	return !ip[0] && !ip[1] && ip[2] == bpf_htonl(0xffff) ? 4 : 6;
}

#define bpfnb_endpoints(e, sk)                                                          \
	({                                                                              \
		bpfnb_laddr(sk, (e)->laddr);                                            \
		bpfnb_raddr(sk, (e)->raddr);                                            \
		(e)->lport = bpfnb_lport(sk);                                           \
		(e)->rport = bpf_ntohs(SOCK_READ(sk, skc_dport));                       \
		(e)->netns = SOCK_NETNS(sk);                                            \
		(e)->ip = bpfnb_ip_version((e)->raddr);                                 \
	})

/* Fields pid, uid, cgroup_id and comm of the process that bpfnb/owners.h noted on a socket; zeros where none is known. */
#define bpfnb_owner_row(e, owner)                                                       \
	({                                                                              \
		(e)->cgroup_id = (owner) ? (owner)->cgroup_id : 0;                      \
		(e)->pid = (owner) ? (owner)->pid : 0;                                  \
		(e)->uid = (owner) ? (owner)->uid : 0;                                  \
		if (owner)                                                              \
			__builtin_memcpy((e)->comm, (owner)->comm, sizeof((e)->comm));  \
		else                                                                    \
			__builtin_memset((e)->comm, 0, sizeof((e)->comm));              \
	})

static __always_inline bool bpfnb_in(const volatile port_t *ports, u16 port)
{
	for (int i = 0; i < SOCK_PORTS && ports[i]; i++)
		if (ports[i] == port)
			return true;
	return false;
}

/* Whether ports (in host order) and the remote address (an ip_t) pass the filters. */
static __always_inline bool bpfnb_wanted_endpoints(u16 local, u16 remote, const void *raddr)
{
	const u32 *ip = raddr;

	if (lport[0] && !bpfnb_in(lport, local))
		return false;
	if (rport[0] && !bpfnb_in(rport, remote))
		return false;
	if (rnet_ipv6 && bpfnb_ip_version(raddr) == 4)
		return false;
	for (int i = 0; i < 4; i++)
		if (rnet_mask[i] && (ip[i] & rnet_mask[i]) != rnet[i])
			return false;
	return true;
}

static __always_inline bool bpfnb_filtered_endpoints(void)
{
	return lport[0] || rport[0] || rnet_ipv6 || rnet_mask[0] || rnet_mask[1] || rnet_mask[2] || rnet_mask[3];
}

static __always_inline bool bpfnb_wanted_sock(const struct sock *sk)
{
	u32 raddr[4];

	if (!bpfnb_filtered_endpoints())
		return true;
	bpfnb_raddr(sk, raddr);
	return bpfnb_wanted_endpoints(bpfnb_lport(sk), bpf_ntohs(SOCK_READ(sk, skc_dport)), raddr);
}

/* The current task's socket behind a descriptor, where that is one; in programs of system calls. */
static __always_inline struct sock *bpfnb_sock_of(int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL, **files = BPF_CORE_READ(table, fd);
	struct socket *socket;

	if (fd < 0 || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != 0140000 /* S_IFSOCK */)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool bpfnb_is_tcp(const struct sock *sk)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

#endif
