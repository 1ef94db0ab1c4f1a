/* SPDX-License-Identifier: GPL-2.0-only */
/* Slots of a histogram that is counted in the kernel. */
#ifndef BPFNB_HIST_H
#define BPFNB_HIST_H

/* The power of two that a value begins with: slot i holds 2^i <= value < 2^(i+1), and slot 0 also zeros.
 * At most 63, so an array of 64 counters never needs a bound check. */
static __attribute__((always_inline, unused)) unsigned int bpfnb_log2(unsigned long long value)
{
	unsigned int slot = 0, shift;

	shift = (value > 0xffffffffULL) << 5; value >>= shift; slot |= shift;
	shift = (value > 0xffff) << 4; value >>= shift; slot |= shift;
	shift = (value > 0xff) << 3; value >>= shift; slot |= shift;
	shift = (value > 0xf) << 2; value >>= shift; slot |= shift;
	shift = (value > 0x3) << 1; value >>= shift; slot |= shift;
	return slot | (value >> 1);
}

#endif
