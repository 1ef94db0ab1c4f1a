/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The system calls that read, write, open and sync files, by family: each takes a macro of one call.
 *
 *   #define RETURNED(call) SEC("tp/syscalls/sys_exit_" #call) int ret_##call(struct trace_event_raw_sys_exit *ctx) ...
 *   BPFNB_READS(RETURNED)
 */
#ifndef BPFNB_FILEOPS_H
#define BPFNB_FILEOPS_H

#define BPFNB_READS(CALL) CALL(read) CALL(pread64) CALL(readv) CALL(preadv) CALL(preadv2)
#define BPFNB_WRITES(CALL) CALL(write) CALL(pwrite64) CALL(writev) CALL(pwritev) CALL(pwritev2)
#define BPFNB_SYNCS(CALL) CALL(fsync) CALL(fdatasync)
#ifdef __TARGET_ARCH_x86 /* newer architectures have neither open nor creat */
#define BPFNB_OPENS(CALL) CALL(openat) CALL(openat2) CALL(open) CALL(creat)
#else
#define BPFNB_OPENS(CALL) CALL(openat) CALL(openat2)
#endif

#endif
