/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the fields of a cell mean: typedefs whose names say it, and macros for the rest.
 *
 *   struct event {
 *       ktime_ns_t ts;                                   // shown as a date
 *       ipv4_t saddr;                                    // shown as 10.0.0.1
 *       unsigned int queue UNIT(packets) DESCRIPTION("waiting when the packet came");
 *       unsigned long long cookie HIDDEN;                // left out of tables
 *       char query[200] SENSITIVE;                       // left out of recordings unless asked for
 *   };
 *   struct { ... } latency SEC(".maps") UNIT(ns) VIEW(hist, log2);
 *   struct { ... } events SEC(".maps") VIEW(hist, column=latency);
 *   volatile ns_t threshold RANGE(0, 1000000) = 0;         // a slider, which goes to 1 ms
 *
 * They end up in BTF and cost nothing in the kernel. Works with and without vmlinux.h; an unknown unit, format,
 * view or column is an error when the cell is compiled. The lists are in bpfnb/annotations.py.
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
/* How to show a value: timestamp, duration, bytes, ipv4, ipv6, ip, mac, port, port_be, errno, signal, syscall, stack, cgroup, text. */
#define FORMAT(format) BPFNB_TAG("format=" #format)
/* One sentence, a string literal. */
#define DESCRIPTION(text) BPFNB_TAG("description=" text)
/* Keep the field out of tables and charts; it stays in raw frames. */
#define HIDDEN BPFNB_TAG("hidden")
/* What a person may not want to hand on (command lines, payloads, queries): recordings leave it out unless asked. */
#define SENSITIVE BPFNB_TAG("sensitive")
/*
 * The values that the slider of a global variable covers, smallest and largest: RANGE(0, 1000), RANGE(-1.5, 1.5). Others
 * can still be typed in and written.
 */
#define RANGE(min, max) BPFNB_RANGE(min, max)
#define BPFNB_RANGE(min, max) BPFNB_TAG("range=" #min "," #max)
/*
 * How to draw a map or a stream, below its object and where it is displayed itself:
 *   VIEW(hist), VIEW(hist, log2), VIEW(hist, linear, us), VIEW(hist, column=latency, by=comm)
 *   VIEW(heatmap, log2, ns), VIEW(heatmap, column=latency)       values over time
 *   VIEW(timeseries, rate), VIEW(timeseries, gauge, column=depth) how often, or how much
 *   VIEW(table), VIEW(servicemap, source=comm, target=daddr), VIEW(waterfall, name=call, lane=comm)
 *   VIEW(flamegraph, stack=kernel_stack, stacks=stacks)          ids of stacks in the map `stacks`
 */
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
typedef unsigned char ip_t[16]; /* either: IPv4 as ::ffff:10.0.0.1, shown as 10.0.0.1 */
typedef unsigned char mac_t[6];
typedef unsigned short port_t;
typedef unsigned short port_be_t;
/* An error number of either sign (0: none), a signal's number (0: none), a system call's. */
typedef int errno_t;
typedef int signal_t;
typedef int syscall_t;
/* What bpf_get_stackid() and bpf_get_current_cgroup_id() return. */
typedef int stack_id_t;
typedef unsigned long long cgroup_id_t;

#endif
