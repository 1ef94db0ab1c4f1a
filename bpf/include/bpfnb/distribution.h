/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Times in slots of powers of two, with their number and their sum in each, counted in the kernel.
 *
 *   struct key { u32 cpu; u32 slot; };
 *   struct {
 *       __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 16384);
 *       __type(key, struct key); __type(value, struct bpfnb_sum);
 *   } slots SEC(".maps");
 *
 *   key.slot = bpfnb_log2(ns);
 *   bpfnb_add(&slots, &key, ns);
 *
 * Each CPU adds to a value of its own: no locked instruction, no cache line that goes to and fro.
 */
#ifndef BPFNB_DISTRIBUTION_H
#define BPFNB_DISTRIBUTION_H

struct bpfnb_sum {
	u64 count;
	ns_t total;
};

/* A macro: losses are told by the name of the map that is written here. */
#define bpfnb_add(map, key, ns)                                           \
	({                                                                \
		struct bpfnb_sum *__sum = bpf_map_lookup_elem(map, key);  \
		struct bpfnb_sum __first = {1, ns};                       \
		if (__sum) {                                              \
			__sum->count++;                                   \
			__sum->total += __first.total;                    \
		} else {                                                  \
			bpf_map_update_elem(map, key, &__first, BPF_ANY); \
		}                                                         \
	})

#endif
