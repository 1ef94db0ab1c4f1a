/* SPDX-License-Identifier: GPL-2.0-only */
/* Texts that filters compare, and what tracepoints' records hold. */
#ifndef BPFNB_MATCHING_H
#define BPFNB_MATCHING_H

#define BPFNB_FAULT "(fault)" /* text of a process that is not in memory */
#define BPFNB_PIECE 64

/* A pattern as an automaton: bit n of the state says that its first n characters were matched; a byte moves those bits
 * that its step has, and those of `stay` remain, where a star is. */
static __always_inline bool bpfnb_matches(const char *text, u32 size, const u64 *step, u64 stay, u64 end)
{
	u64 state = 1;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < size && text[i]; i++)
		state = ((state & step[(u8)text[i]]) << 1) | (state & stay);
	return state & end;
}

static __always_inline bool bpfnb_same(const char *one, const char *other, u32 size)
{
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < size; i++) {
		if (one[i] != other[i])
			return false;
		if (!one[i])
			break;
	}
	return true;
}

static __always_inline void bpfnb_bytes(u8 *into, u32 size, const void *from)
{
	__builtin_memset(into, 0, BPFNB_PIECE);
	bpf_probe_read_kernel(into, size < BPFNB_PIECE ? size : BPFNB_PIECE, from);
}

#endif
