/* SPDX-License-Identifier: GPL-2.0-only */
/* The running kernel's types and libbpf's helpers. bpfnb precompiles this file; each of the five guards itself, so a
 * cell that includes them too gets them for nothing. */
#ifndef BPFNB_KERNEL_H
#define BPFNB_KERNEL_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#endif
