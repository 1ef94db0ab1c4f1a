/* SPDX-License-Identifier: GPL-2.0-only */
/* Counts what a program could not deliver, and tells which types it delivers. bpfnb includes this file before all
 * others; no program has to know of it.
 *
 * A ring buffer does not count the records it had no room for, and a full map drops the newcomer with an error code
 * that programs seldom look at. So calls of these helpers are wrapped: each call site gets a counter in the section
 * .data.bpfnb, with declaration tags that carry the map's expression and, for records, a variable of the record's
 * type. bpfnb.compile.events reads both back from the object's BTF.
 *
 * The macros take arguments, so they leave alone what is not a call: libbpf's declarations `(*bpf_ringbuf_output)(`
 * and assignments of a helper to a pointer. Where a program does not compile with them it is compiled without. */
#ifndef BPFNB_COUNT_H
#define BPFNB_COUNT_H

#if __has_attribute(btf_decl_tag)

#define __BPFNB_TAG(tag) __attribute__((__btf_decl_tag__("bpfnb." tag)))
#define __BPFNB_STR(...) #__VA_ARGS__

/* One call site's counter, and what adds to it. The map's expression is taken after macro expansion: the map's own
 * name is wanted. With BPFNB_TYPES_ONLY the code stays as it is and only the types are told. */
#ifdef BPFNB_TYPES_ONLY
#define __BPFNB_COUNT(what, map) (void)0
#define __BPFNB_COUNT_IF(condition, what) (void)0
#else
#define __BPFNB_COUNT(what, map) \
	static unsigned long long __bpfnb_##what \
		__attribute__((__section__(".data.bpfnb"))) __BPFNB_TAG(#what) __BPFNB_TAG("map=" __BPFNB_STR(map))
#define __BPFNB_COUNT_IF(condition, what) \
	if (condition) \
	__sync_fetch_and_add(&__bpfnb_##what, 1)
#endif

/* One call site's record type, as that of a pointer which nobody sets: BTF describes a variable's type in full.
 * `how` says what it points to: "data" what the program passes, "size" the operand of its sizeof. */
#define __BPFNB_TYPE(how, type, map, size, flags) \
	static type __bpfnb_##how __attribute__((__section__(".data.bpfnb"), __used__)) __BPFNB_TAG(#how) \
		__BPFNB_TAG("map=" __BPFNB_STR(map)) __BPFNB_TAG("size=" __BPFNB_STR(size)) \
		__BPFNB_TAG("flags=" __BPFNB_STR(flags))

#define __BPFNB_TYPES(map_, data_, size_, flags_) \
	__BPFNB_TYPE(data, __typeof__(0 ? (data_) : (data_)), map_, size_, flags_); \
	__BPFNB_TYPE(size, __BPFNB_SIZED(size_), map_, size_, flags_)

/* __BPFNB_SIZED(size): a pointer to what `size` is the sizeof of, `void *` for any other expression.
 *
 * The expression's first word is pasted to a prefix. That makes a macro of `sizeof` alone, which leaves its operand:
 * a type or expression in parentheses (what follows those is cut off) or an expression without. An expression that
 * begins with a parenthesis cannot be pasted, so those are sorted out before. */
#define __BPFNB_SIZED(...) __BPFNB_CAT(__BPFNB_SIZED_, __BPFNB_IS_PAREN(__VA_ARGS__))(__VA_ARGS__)
#define __BPFNB_SIZED_1(...) void *
#define __BPFNB_SIZED_0(...) __BPFNB_OPERAND(__BPFNB_CHOOSE(__BPFNB_WORD_##__VA_ARGS__, (void), ~))
#define __BPFNB_WORD_sizeof ~,
#define __BPFNB_OPERAND(...) __BPFNB_CAT(__BPFNB_OPERAND_, __BPFNB_IS_PAREN(__VA_ARGS__))(__VA_ARGS__)
#define __BPFNB_OPERAND_0(...) __typeof__(__VA_ARGS__) *
#define __BPFNB_OPERAND_1(...) __BPFNB_PICK(__BPFNB_TYPEOF __VA_ARGS__)
#define __BPFNB_TYPEOF(...) __typeof__(__VA_ARGS__) *,

#define __BPFNB_FIRST(a, ...) a
#define __BPFNB_SECOND(a, b, ...) b
#define __BPFNB_PICK(...) __BPFNB_FIRST(__VA_ARGS__)
#define __BPFNB_CHOOSE(...) __BPFNB_SECOND(__VA_ARGS__)
#define __BPFNB_CAT(a, b) __BPFNB_CAT_(a, b)
#define __BPFNB_CAT_(a, b) a##b
#define __BPFNB_PAREN(...) ~, 1,
#define __BPFNB_IS_PAREN(...) __BPFNB_CHOOSE(__BPFNB_PAREN __VA_ARGS__, 0, ~)

/* Ring buffers: no room (or a bad flag, which the program's author will notice) loses the record. */
#define bpf_ringbuf_reserve(map_, size_, flags_) \
	({ \
		__BPFNB_COUNT(lost, map_); \
		__BPFNB_TYPE(size, __BPFNB_SIZED(size_), map_, size_, ); \
		void *__bpfnb_result = (bpf_ringbuf_reserve)(map_, size_, flags_); \
		__BPFNB_COUNT_IF(!__bpfnb_result, lost); \
		__bpfnb_result; \
	})

#define bpf_ringbuf_reserve_dynptr(map_, size_, flags_, dynptr_) \
	({ \
		__BPFNB_COUNT(lost, map_); \
		__BPFNB_TYPE(size, __BPFNB_SIZED(size_), map_, size_, ); \
		long __bpfnb_result = (bpf_ringbuf_reserve_dynptr)(map_, size_, flags_, dynptr_); \
		__BPFNB_COUNT_IF(__bpfnb_result < 0, lost); \
		__bpfnb_result; \
	})

#define bpf_ringbuf_output(map_, data_, size_, flags_) \
	({ \
		__BPFNB_COUNT(lost, map_); \
		__BPFNB_TYPES(map_, data_, size_, ); \
		long __bpfnb_result = (bpf_ringbuf_output)(map_, data_, size_, flags_); \
		__BPFNB_COUNT_IF(__bpfnb_result < 0, lost); \
		__bpfnb_result; \
	})

/* Perf buffers: the kernel itself counts lost records, so only the types are taken. The upper half of the flags asks
 * for that many bytes of a packet after the record. */
#define bpf_perf_event_output(ctx_, map_, flags_, data_, size_) \
	({ \
		__BPFNB_TYPES(map_, data_, size_, flags_); \
		(bpf_perf_event_output)(ctx_, map_, flags_, data_, size_); \
	})
#define bpf_skb_output(ctx_, map_, flags_, data_, size_) \
	({ \
		__BPFNB_TYPES(map_, data_, size_, flags_); \
		(bpf_skb_output)(ctx_, map_, flags_, data_, size_); \
	})
#define bpf_xdp_output(ctx_, map_, flags_, data_, size_) \
	({ \
		__BPFNB_TYPES(map_, data_, size_, flags_); \
		(bpf_xdp_output)(ctx_, map_, flags_, data_, size_); \
	})

/* Iterators: the type of the rows that bpf_seq_write writes, by the function's name. */
#define bpf_seq_write(seq_, data_, size_) \
	({ \
		static __typeof__(0 ? (data_) : (data_)) __bpfnb_row __attribute__((__section__(".data.bpfnb"), __used__)); \
		(bpf_seq_write)(seq_, data_, size_); \
	})

/* Maps: a preallocated one that is full answers -E2BIG, any other -ENOMEM. */
#ifndef BPFNB_TYPES_ONLY
#define bpf_map_update_elem(map_, key_, value_, flags_) \
	({ \
		__BPFNB_COUNT(full, map_); \
		long __bpfnb_result = (bpf_map_update_elem)(map_, key_, value_, flags_); \
		__BPFNB_COUNT_IF(__bpfnb_result == -7 || __bpfnb_result == -12, full); \
		__bpfnb_result; \
	})
#define bpf_map_push_elem(map_, value_, flags_) \
	({ \
		__BPFNB_COUNT(full, map_); \
		long __bpfnb_result = (bpf_map_push_elem)(map_, value_, flags_); \
		__BPFNB_COUNT_IF(__bpfnb_result == -7, full); \
		__bpfnb_result; \
	})
#endif

#endif
#endif
