/* SPDX-License-Identifier: GPL-2.0-only */
/* What a cell without any #include is given: the kernel's types, libbpf's helpers, the names below, annotations and,
 * unless the cell has its own, the licence "GPL" (most helpers and all kernel functions ask for a compatible one).
 *
 * BTF holds types, enumerators and functions, but no macros. These are the ones that short programs cannot do
 * without; a name that only some programs need is left for the cell to define, since a macro breaks a cell that has
 * a variable of that name. A cell may define any of them again. */
#ifndef BPFNB_PRELUDE_H
#define BPFNB_PRELUDE_H

#include <bpfnb/kernel.h>
#include <bpfnb/annotations.h>
#include <bpfnb/hist.h>

#ifndef NULL /* what a look-up gives for an absent key; libbpf's headers have it since 1.0 */
#define NULL ((void *)0)
#endif

/* User-space probes by their own names: libbpf's headers have these only since 1.2, bpfnb takes 1.1. */
#ifndef BPF_UPROBE
#define BPF_UPROBE BPF_KPROBE
#define BPF_URETPROBE BPF_KRETPROBE
#endif

/* Results of programs: tc classifiers, netfilter. (XDP_*, SK_*, TCX_* are enumerators and come from BTF.) */
#define TC_ACT_UNSPEC (-1)
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define TC_ACT_REDIRECT 7
#define NF_DROP 0
#define NF_ACCEPT 1

/* Errors: what helpers return, and what a cgroup or LSM program denies with. */
#define EPERM 1
#define ENOENT 2
#define E2BIG 7
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EEXIST 17
#define EINVAL 22

/* Packets. (IPPROTO_* and TCP_ESTABLISHED ... are enumerators.) */
#define ETH_ALEN 6
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86DD

/* Sockets: the family decides how an address is read. (SOCK_* are enumerators.) */
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

/* Tasks: states as sched_switch reports them, and the flag that tells kernel threads from processes. */
#define TASK_RUNNING 0
#define TASK_INTERRUPTIBLE 1
#define TASK_UNINTERRUPTIBLE 2
#define PF_KTHREAD 0x00200000

/* Files: the kind in an inode's i_mode, and the device number's two halves (the kernel's, not the C library's). */
#define S_IFMT 00170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_ISREG(mode) (((mode)&S_IFMT) == S_IFREG)
#define S_ISDIR(mode) (((mode)&S_IFMT) == S_IFDIR)
#define MAJOR(device) ((unsigned int)((device) >> 20))
#define MINOR(device) ((unsigned int)((device)&0xfffff))

/* Time: bpf_ktime_get_ns counts nanoseconds; bpf_timer_init asks for a clock. */
#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL
#define CLOCK_MONOTONIC 1
#define CLOCK_BOOTTIME 7

#ifndef BPFNB_OWN_LICENSE
char __bpfnb_license[] SEC("license") = "GPL";
#endif

#endif
