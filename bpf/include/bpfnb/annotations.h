/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the fields of a cell mean: typedefs whose names say it, and macros for the rest.
 *
 *   struct event {
 *       ktime_ns_t ts;                                   // shown as a date
 *       ipv4_t saddr;                                    // shown as 10.0.0.1
 *       unsigned int queue UNIT(packets) DESCRIPTION("waiting when the packet came");
 *       unsigned long long cookie HIDDEN;                // left out of tables
 *   };
 *   struct { ... } latency SEC(".maps") UNIT(ns) VIEW(hist, log2);
 *
 * They end up in BTF and cost nothing in the kernel. Works with and without vmlinux.h; an unknown unit, format or
 * view is an error when the cell is compiled. The lists are in bpfnb/annotations.py.
 */
#ifndef BPFNB_ANNOTATIONS_H
#define BPFNB_ANNOTATIONS_H

#if __has_attribute(btf_decl_tag)
#define BPFNB_TAG(text) __attribute__((btf_decl_tag("bpfnb:" text)))
#else
#define BPFNB_TAG(text)
#endif

/* The unit of a number: ns, us, ms, s, bytes, pages, packets, Hz, percent. */
#define UNIT(unit) BPFNB_TAG("unit=" #unit)
/* How to show a value: timestamp, duration, bytes, ipv4, ipv6, mac, port, port_be, errno, syscall, stack, cgroup, text. */
#define FORMAT(format) BPFNB_TAG("format=" #format)
/* One sentence, a string literal. */
#define DESCRIPTION(text) BPFNB_TAG("description=" text)
/* Keep the field out of tables and charts; it stays in raw frames. */
#define HIDDEN BPFNB_TAG("hidden")
/* How to draw a map or a stream: VIEW(table), VIEW(hist), VIEW(hist, log2), VIEW(hist, linear, us). */
#define VIEW(...) BPFNB_TAG("view=" #__VA_ARGS__)

/* A point in time: what bpf_ktime_get_ns() returns. */
typedef unsigned long long ktime_ns_t;
/* Time that passed. */
typedef unsigned long long ns_t;
typedef unsigned long long us_t;
typedef unsigned long long ms_t;
typedef unsigned long long s_t;
/* An amount of memory or data. */
typedef unsigned long long bytes_t;
/* Addresses, in network byte order as the kernel holds them; a port in host order, and one in network order. */
typedef unsigned int ipv4_t;
typedef unsigned char ipv6_t[16];
typedef unsigned char mac_t[6];
typedef unsigned short port_t;
typedef unsigned short port_be_t;
/* An error number of either sign (0: none), a system call's number. */
typedef int errno_t;
typedef int syscall_t;
/* What bpf_get_stackid() and bpf_get_current_cgroup_id() return. */
typedef int stack_id_t;
typedef unsigned long long cgroup_id_t;

#endif
