/* What counts the failures of a program in bcc's dialect. In front of it stand bcc's macros for tables, changed so that
 * a counter is declared next to each table: bcc numbers tables as they are declared, the first -1, the next -2.
 *
 * bcc rewrites `events.ringbuf_output(&data, sizeof(data), 0)` to `bpf_ringbuf_output((void *)bpf_pseudo_fd(1, -3),
 * &data, sizeof(data), 0)` before it makes code, and only then these macros see a call: the program's text stays as it
 * is. __BPFNB_NUMBER takes -3 from that, so -4 is the counter. Tables of other programs (BPF_TABLE("extern", ...)) have
 * descriptors, and none. */
#define __BPFNB_EAT(...)
#define __BPFNB_NUMBER(map) __BPFNB_NUMBER_(__BPFNB_EAT map)
#define __BPFNB_NUMBER_(map) __BPFNB_NUMBER_OF(map)
#define __BPFNB_NUMBER_OF(map) __BPFNB_##map
#define __BPFNB_bpf_pseudo_fd(kind, number) (number)
#define __BPFNB_COUNT(number) ({ \
	if (number < 0) { \
		int __bpfnb_zero = 0; \
		u64 *__bpfnb_count = bpf_map_lookup_elem_(bpf_pseudo_fd(1, number - 1), &__bpfnb_zero); \
		if (__bpfnb_count) \
			__sync_fetch_and_add(__bpfnb_count, 1); \
	} })
