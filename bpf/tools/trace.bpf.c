/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints as tables: what is the same for all. Rows and programs follow, made for the tracepoints that are asked
 * for; their records are read at the offsets that tracefs tells, so that no struct of the kernel's is needed. */
#include <bpfnb/filter.h>
#include <bpfnb/matching.h>

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } events SEC(".maps");
