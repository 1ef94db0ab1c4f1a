"""Each rejection is provoked on the running kernel; the place, the reason, the remedy and the text are checked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

import bpfnb
from bpfnb.compile import BpfElf, Source, compile
from bpfnb.errors import BpfnbError, VerifierError
from bpfnb.kernel.local import LocalBackend
from bpfnb.kernel.rejections import CATALOGUE
from bpfnb.kernel.verifier import diagnose, explain

HASH = """struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, u32); __type(value, u64); } counts SEC(".maps");
"""
ARRAY = """struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
         __type(key, u32); __type(value, char[64]); } table SEC(".maps");
"""
RING = """struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
"""
LOCKED = """struct locked { struct bpf_spin_lock lock; u64 x; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
         __type(key, u32); __type(value, struct locked); } locked SEC(".maps");
"""
TABLE = """    u32 zero = 0;
    char *slot = bpf_map_lookup_elem(&table, &zero);
    if (!slot)
        return 0;
"""


@dataclass(frozen=True)
class Case:
    """``source`` marks the line that has to be named with ``// HERE``; ``shown`` are parts of the rendered error."""

    key: str
    source: str
    reason: str
    shown: tuple[str, ...] = ()
    registers: str = ""  # part of what is said of one of them; which one is the compiler's choice
    name: str = ""
    dropped: bool = False  # loaded with CAP_BPF and CAP_NET_ADMIN only


def raw_tp(body: str, before: str = "") -> str:
    return f'{before}SEC("raw_tp/sys_enter")\nint p(u64 *ctx)\n{{\n{body}}}\n'


def xdp(body: str, before: str = "") -> str:
    return f'{before}SEC("xdp")\nint p(struct xdp_md *ctx)\n{{\n{body}}}\n'


CASES = [
    Case(
        "null-map-value",
        raw_tp(
            "    u32 key = 0;\n    u64 *n = bpf_map_lookup_elem(&counts, &key);\n    *n += 1; // HERE\n    return 0;\n",
            HASH,
        ),
        "invalid mem access 'map_value_or_null'",
        ("if (!value)", "without a check for NULL"),
        "a pointer to a value of map counts (8 bytes) that may be NULL, from bpf_map_lookup_elem (line 7)",
    ),
    Case(
        "null-map-value",
        "static __noinline u64 add(u64 *n)\n{\n    volatile u64 one = 1;\n    return *n + one; // HERE\n}\n"
        'SEC("raw_tp/sys_exit")\nint other(void *ctx)\n{\n    return bpf_ktime_get_ns() & 1;\n}\n'
        + raw_tp("    u32 key = 0;\n    return add(bpf_map_lookup_elem(&counts, &key));\n", HASH),
        "invalid mem access 'map_value_or_null'",
        ("if (!value)",),
        "a pointer to a value of map counts (8 bytes) that may be NULL",
        name="in a function",
    ),
    Case(
        "null-ringbuf",
        raw_tp(
            "    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);\n    *e = 1; // HERE\n    bpf_ringbuf_submit(e, 0);\n    return 0;\n",
            RING,
        ),
        "invalid mem access 'scalar'",
        ("NULL when the buffer is full", "if (!event)"),
        "the number 0, from bpf_ringbuf_reserve (line 5)",
    ),
    Case(
        "null-known",
        raw_tp(
            "    u32 key = 0;\n    u64 *n = bpf_map_lookup_elem(&counts, &key);\n    if (!n)\n"
            '        return ({ asm volatile("" : "+r"(n)); *n; }); // HERE\n    return 0;\n',
            HASH,
        ),
        "invalid mem access 'scalar'",
        ("is NULL on this path",),
        "the number 0",
    ),
    Case(
        "null-pointer",
        'SEC("iter/task")\nint p(struct bpf_iter__task *ctx)\n{\n    return ctx->task->pid & 1; // HERE\n}\n',
        "trusted_ptr_or_null_",
        ("iterator's object is NULL in its last call",),
        "a trusted pointer to struct task_struct that may be NULL",
    ),
    Case(
        "use-after-release",
        raw_tp(
            "    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!e)\n        return 0;\n"
            "    bpf_ringbuf_submit(e, 0);\n    *e = 1; // HERE\n    return 0;\n",
            RING,
        ),
        "invalid mem access 'scalar'",
        ("behind the last use",),
        "no longer a pointer to a reserved ring buffer record (8 bytes), from bpf_ringbuf_reserve",
    ),
    Case(
        "stale-packet",
        xdp(
            "    u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n"
            "    if (data + 14 > end || bpf_xdp_adjust_head(ctx, -4))\n        return XDP_PASS;\n"
            "    return *data & 1; // HERE\n"
        ),
        "invalid mem access 'scalar'",
        ("Read the pointers again",),
    ),
    Case(
        "untrusted-task",
        raw_tp(
            "    struct task_struct *task = (void *)bpf_get_current_task();\n    return task->pid; // HERE\n"
        ),
        "invalid mem access 'scalar'",
        ("bpf_get_current_task_btf()", "BPF_CORE_READ(task, pid)"),
        "from bpf_get_current_task (line 4)",
    ),
    Case(
        "untrusted-pointer",
        'SEC("tp/syscalls/sys_enter_openat")\nint p(struct trace_event_raw_sys_enter *ctx)\n{\n'
        "    const char *path = (const char *)ctx->args[1];\n    return path[0]; // HERE\n}\n",
        "invalid mem access 'scalar'",
        ("bpf_probe_read_user_str", "BPF_CORE_READ"),
        "an unknown number",
    ),
    Case(
        "packet-bounds",
        xdp(
            "    struct ethhdr *eth = (void *)(long)ctx->data;\n    return eth->h_proto == 8 ? XDP_DROP : XDP_PASS; // HERE\n"
        ),
        "invalid access to packet, off=12 size=2",
        ("(void *)(eth + 1) > data_end", "0 bytes are checked so far"),
        "a pointer into the packet",
    ),
    Case(
        "map-value-bounds",
        raw_tp(TABLE + "    slot[bpf_get_prandom_u32() & 0xff] = 1; // HERE\n    return 0;\n", ARRAY),
        "invalid access to map value, value_size=64 off=255 size=1",
        ("may reach byte 256 of a map value", "index &= SIZE - 1"),
        "a pointer to a value of map table (64 bytes) plus 0 to 255",
    ),
    Case(
        "memory-bounds",
        raw_tp(
            "    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!e)\n        return 0;\n"
            "    e[1] = 1; // HERE\n    bpf_ringbuf_submit(e, 0);\n    return 0;\n",
            RING,
        ),
        "invalid access to memory, mem_size=8 off=8 size=8",
        ("byte 16 of memory of 8 bytes", "sizeof(*event)"),
    ),
    Case(
        "unbounded-index",
        raw_tp(TABLE + "    slot[bpf_ktime_get_ns()] = 1; // HERE\n    return 0;\n", ARRAY),
        "unbounded min value is not allowed",
        ("if (index >= SIZE)",),
        "an unknown number (it may be negative, and as large as 64 bits allow), from bpf_ktime_get_ns (line 10)",
    ),
    Case(
        "negative-size",
        'SEC("tp/syscalls/sys_exit_read")\nint p(struct trace_event_raw_sys_exit *ctx)\n{\n    char b[64];\n'
        "    bpf_probe_read_kernel(b, ctx->ret, ctx); // HERE\n    return b[0] & 1;\n}\n",
        "min value is negative",
        ("if (n <= 0 || n > sizeof(buffer))",),
        "an unknown number",
    ),
    Case(
        "unbounded-memory",
        raw_tp(
            "    char b[64];\n    bpf_probe_read_kernel(b, bpf_get_prandom_u32(), ctx); // HERE\n    return b[0];\n"
        ),
        "unbounded memory access",
        ("size = sizeof(buffer)",),
        "an unknown 32-bit number (0 to 4294967295), from bpf_get_prandom_u32 (line 5)",
    ),
    Case(
        "zero-size",
        raw_tp(
            "    char b[8] = {};\n    return bpf_strtol(b, bpf_get_prandom_u32() & 7, 0, (long *)b); // HERE\n"
        ),
        "invalid zero-size",
        ("if (!size)",),
    ),
    Case(
        "constant-size",
        raw_tp(
            "    u32 n = bpf_get_prandom_u32();\n    u64 *e = bpf_ringbuf_reserve(&events, n, 0); // HERE\n"
            "    if (e)\n        bpf_ringbuf_discard(e, 0);\n    return 0;\n",
            RING,
        ),
        "is not a known constant",
        ("bpf_ringbuf_output(&events, record, size, 0)",),
        "an unknown 32-bit number",
    ),
    Case(
        "stack-variable",
        raw_tp("    volatile char b[16] = {};\n    return b[bpf_get_prandom_u32() & 31]; // HERE\n"),
        "invalid variable-offset read from stack",
        ("index >= ARRAY_SIZE",),
        "a pointer to this function's stack at offset -16 plus 0 to 31",
    ),
    Case(
        "stack-uninitialised",
        xdp("    volatile u64 slots[2];\n    return slots[1] & 1; // HERE\n"),
        "invalid read from stack R10 off",
        ("__builtin_memset(&key, 0, sizeof(key))",),
        dropped=True,
    ),
    Case(
        "stack-bounds",
        raw_tp("    char comm[8];\n    bpf_get_current_comm(comm, 16); // HERE\n    return comm[3];\n"),
        "off=-8 size=16",
        ("16 bytes at stack offset -8", "sizeof(comm)"),
        "a pointer to this function's stack at offset -8",
    ),
    Case(
        "stack-depth",
        "static __noinline int inner(struct xdp_md *ctx, u32 n)\n{\n    char b[300];\n    bpf_xdp_load_bytes(ctx, 0, b, 300);\n"
        "    return b[n & 15];\n}\n"
        + xdp(
            "    char b[300];\n    bpf_xdp_load_bytes(ctx, 0, b, 300);\n    return inner(ctx, b[0]) + b[1];\n"
        ).replace("int p(struct xdp_md *ctx)", "int p(struct xdp_md *ctx) // HERE"),
        "combined stack size of 2 calls is",
        ("BPF_MAP_TYPE_PERCPU_ARRAY",),
    ),
    Case(
        "call-depth",
        "static __noinline int down(int n)\n{\n    volatile int m = n;\n    return m > 10 ? 0 : down(m + 1) + 1; // HERE\n}\n"
        + raw_tp("    return down(bpf_get_prandom_u32());\n"),
        "too deep",
        ("bpf_loop()",),
    ),
    Case(
        "spill-size",
        raw_tp(
            '    asm volatile("*(u64 *)(r10 - 8) = %0; r0 = *(u32 *)(r10 - 8)" ::"r"(ctx) : "r0"); // HERE\n    return 0;\n'
        ),
        "invalid size of register fill",
        ("a variable of its own",),
    ),
    Case(
        "no-return-value",
        raw_tp("    int x;\n    return x;\n")
        .replace("int p(u64 *ctx)\n{", "int p(u64 *ctx) {")
        .replace("return x;", "return x; // HERE"),
        "!read_ok",
        ("return 0;",),
        "never written on this path",
    ),
    Case(
        "uninitialised",
        raw_tp('    asm volatile("r0 = r5" ::: "r0"); // HERE\n    return 0;\n'),
        "!read_ok",
        ("u64 value = 0;",),
        "never written on this path",
    ),
    Case(
        "callback-return",
        "static int turn(u32 i, void *context)\n{\n    return 5; // HERE\n}\n"
        + raw_tp("    bpf_loop(10, turn, 0, 0);\n    return 0;\n"),
        "At callback return the register R0",
        ("Return 0 or 1",),
        "the number 5",
    ),
    Case(
        "return-range",
        'SEC("cgroup/sock_create")\nint p(struct bpf_sock *ctx)\n{\n    return bpf_get_prandom_u32(); // HERE\n}\n',
        "should have been in [0, 1]",
        ("the range [0, 1]", "return 1;"),
        "an unknown",
    ),
    Case(
        "return-unknown",
        'SEC("cgroup_skb/egress")\nint p(struct __sk_buff *ctx)\n{\n    return (long)ctx; // HERE\n}\n',
        "is not a known value (ctx)",
        ("return 1;",),
        "the program's context (its own argument)",
    ),
    Case(
        "leak",
        xdp(
            "    u32 key = 0;\n    u64 *n = bpf_map_lookup_elem(&counts, &key);\n    if (n)\n        *n = (u64)ctx; // HERE\n    return 2;\n",
            HASH,
        ),
        "leaks addr into map",
        ("CAP_PERFMON",),
        "the program's context (its own argument)",
        dropped=True,
    ),
    Case(
        "pointer-comparison",
        xdp("    return (u64)ctx > 1000 ? XDP_DROP : XDP_PASS; // HERE\n"),
        "pointer comparison prohibited",
        ("CAP_PERFMON",),
        dropped=True,
    ),
    Case(
        "pointer-arithmetic",
        raw_tp(TABLE + '    asm volatile("%0 *= 2" : "+r"(slot)); // HERE\n    return *slot;\n', ARRAY),
        "pointer arithmetic with *= operator prohibited",
        ("array[i]",),
    ),
    Case(
        "misaligned",
        xdp('    asm volatile("*(u64 *)(r10 - 9) = r10" ::: "memory"); // HERE\n    return 2;\n'),
        "misaligned stack access",
        ("not a multiple of 8", "__builtin_memcpy"),
    ),
    Case(
        "argument-count",
        'SEC("tp_btf/sched_switch")\nint BPF_PROG(p, bool preempt, struct task_struct *prev, struct task_struct *next, int a, '
        "int b, int c) // HERE\n{\n    return c;\n}\n",
        "func 'sched_switch' doesn't have",
        ("sched_switch has fewer arguments", "%bpf find sched_switch"),
    ),
    Case(
        "context-variable",
        'SEC("tp/sched/sched_switch")\nint p(char *ctx)\n{\n'
        "    return *(volatile u64 *)(ctx + (bpf_get_prandom_u32() & 8)); // HERE\n}\n",
        "variable ctx access",
        ("constant indexes",),
    ),
    Case(
        "context-access",
        'SEC("xdp")\nint p(char *ctx)\n{\n    return *(volatile u32 *)(ctx + 64); // HERE\n}\n',
        "invalid bpf_context access off=64 size=4",
        ("offset 64 (4 bytes)", "struct xdp_md"),
        "the program's context (its own argument)",
    ),
    Case(
        "beyond-struct",
        'SEC("tp_btf/sched_switch")\nint BPF_PROG(p, bool preempt, struct task_struct *prev)\n{\n'
        "    return *(volatile u32 *)((char *)prev + 100000); // HERE\n}\n",
        "access beyond struct task_struct",
        ("end of struct task_struct",),
        "a trusted pointer to struct task_struct plus 100000",
    ),
    Case(
        "read-only",
        'SEC("tp_btf/sched_switch")\nint BPF_PROG(p, bool preempt, struct task_struct *prev)\n{\n    prev->pid = 1; // HERE\n    return 0;\n}\n',
        "only read is supported",
        ("Keep results in a map",),
    ),
    Case(
        "endless-loop",
        raw_tp(
            "    while (bpf_get_prandom_u32()) // HERE\n        bpf_ktime_get_ns(); // HERE\n    return 0;\n"
        ),
        "infinite loop detected",
        ("for (int i = 0; i < 64; i++)", "bpf_loop"),
    ),
    Case(
        "too-large",
        raw_tp(
            "    volatile u64 sum = 0;\n    for (int i = 0; i < 10000000; i++) // HERE\n        sum += i; // HERE\n    return sum;\n"
        ),
        "BPF program is too large. Processed 1000001 insn",
        ("in the loop of line", "bpf_loop(n, callback, &context, 0)"),
    ),
    Case(
        "unreachable",
        raw_tp('    asm volatile("r0 = 0; exit; r0 = 1" ::: "r0"); // HERE\n    return 0;\n'),
        "unreachable insn 2",
        ("undefined behaviour",),
    ),
    Case(
        "no-exit",
        raw_tp('    asm volatile("goto +1000"); // HERE\n    return 0;\n'),
        "jump out of range from insn 0",
        ("return 0;",),
    ),
    Case(
        "division",
        raw_tp('    asm volatile("r0 = 1; r0 /= 0" ::: "r0"); // HERE\n    return 0;\n'),
        "div by zero",
        ("Correct the constant",),
    ),
    Case(
        "gpl",
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "Proprietary";\n'
        + xdp('    bpf_trace_printk("hi", 3); // HERE\n    return 2;\n'),
        "cannot call GPL-restricted function",
        ('SEC("license") = "GPL"',),
    ),
    Case(
        "helper-unavailable",
        xdp("    char b[4];\n    bpf_skb_load_bytes((void *)ctx, 0, b, 4); // HERE\n    return b[0] & 1;\n"),
        "cannot use helper bpf_skb_load_bytes",
        ("bpf_skb_load_bytes can be called from programs of type socket_filter, sched_cls",),
    ),
    Case(
        "core-relocation",
        "struct task_struct___new { int no_such_field; } __attribute__((preserve_access_index));\n"
        + raw_tp(
            "    struct task_struct___new *task = (void *)bpf_get_current_task_btf();\n    return task->no_such_field; // HERE\n"
        ),
        "failed to resolve CO-RE relocation",
        ("does not have struct task_struct___new.no_such_field", "bpf_core_field_exists"),
    ),
    Case(
        "helper-unknown",
        "static long (*nope)(void) = (void *)999;\n" + xdp("    return nope(); // HERE\n"),
        "unknown#999",
        ("helper number 999",),
    ),
    Case(
        "sleepable",
        'SEC("tp_btf/sys_enter")\nint p(u64 *ctx)\n{\n    char b[8];\n    bpf_copy_from_user(b, 8, (void *)1); // HERE\n    return b[0] & 1;\n}\n',
        "might sleep in a non-sleepable prog",
        ("bpf_probe_read_user", 'SEC("uprobe.s/...")'),
    ),
    Case(
        "d-path",
        'SEC("tp_btf/sys_enter")\nint p(u64 *ctx)\n{\n    char b[64];\n'
        "    struct task_struct *task = bpf_get_current_task_btf();\n"
        "    return bpf_d_path(&task->mm->exe_file->f_path, b, 64); // HERE\n}\n",
        "helper call is not allowed in probe",
        ("iter/task_file",),
    ),
    Case(
        "map-helper",
        raw_tp("    u64 x = 1;\n    bpf_ringbuf_output(&counts, &x, 8, 0); // HERE\n    return 0;\n", HASH),
        "cannot pass map_type 1 into func bpf_ringbuf_output",
        ("map of type hash",),
    ),
    Case(
        "argument-type",
        raw_tp("    return !bpf_map_lookup_elem(&counts, (void *)7); // HERE\n", HASH),
        "type=scalar expected=fp",
        ("argument 2 of bpf_map_lookup_elem has to be the address of a variable", "u32 key = 0;"),
        "the number 7",
    ),
    Case(
        "kfunc-forbidden",
        "extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;\n"
        + raw_tp("    return !bpf_task_acquire((void *)bpf_get_current_task()); // HERE\n"),
        "calling kernel function bpf_task_acquire is not allowed",
        ('SEC("tp_btf/...")',),
    ),
    Case(
        "dynptr",
        raw_tp(
            "    struct bpf_dynptr d;\n    u64 x = 0;\n    bpf_dynptr_write(&d, 0, &x, 8, 0); // HERE\n    return 0;\n"
        ),
        "Expected an initialized dynptr",
        ("bpf_ringbuf_discard_dynptr",),
    ),
    Case(
        "dynptr-leak",
        raw_tp(
            "    struct bpf_dynptr d;\n    bpf_ringbuf_reserve_dynptr(&events, 8, 0, &d);\n    return 0; // HERE\n",
            RING,
        ),
        "Unreleased reference",
        ("bpf_ringbuf_reserve_dynptr in line 6", "bpf_ringbuf_submit_dynptr"),
    ),
    Case(
        "ringbuf-leak",
        raw_tp(
            "    u64 *e = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!e)\n        return 0;\n    *e = 1;\n    return 0; // HERE\n} // HERE\n/*",
            RING,
        )
        + "*/",
        "Unreleased reference",
        ("bpf_ringbuf_reserve in line 5", "bpf_ringbuf_submit(event, 0)"),
    ),
    Case(
        "reference-leak",
        "extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;\n"
        'SEC("tp_btf/sched_switch")\nint BPF_PROG(p, bool preempt, struct task_struct *prev) // HERE\n{\n'
        "    bpf_task_acquire(prev);\n    return 0; // HERE\n}\n",
        "Unreleased reference",
        ("bpf_task_acquire in line 5", "bpf_task_release"),
    ),
    Case(
        "rcu-lock",
        "extern void bpf_rcu_read_lock(void) __ksym;\n"
        + raw_tp("    bpf_rcu_read_lock();\n    return 0; // HERE\n"),
        "bpf_rcu_read_lock",
        ("bpf_rcu_read_unlock();",),
    ),
    Case(
        "spin-lock-missing-unlock",
        LOCKED
        + 'SEC("tc")\nint p(struct __sk_buff *ctx)\n{\n    u32 key = 0;\n    struct locked *v = bpf_map_lookup_elem(&locked, &key);\n'
        "    if (!v)\n        return 0;\n    bpf_spin_lock(&v->lock);\n    v->x++;\n    return 0; // HERE\n} // HERE\n",
        "bpf_spin_lock",
        ("bpf_spin_unlock(&value->lock);",),
    ),
    Case(
        "spin-lock-call",
        LOCKED
        + 'SEC("tc")\nint p(struct __sk_buff *ctx)\n{\n    u32 key = 0;\n    struct locked *v = bpf_map_lookup_elem(&locked, &key);\n'
        "    if (!v)\n        return 0;\n    bpf_spin_lock(&v->lock);\n    v->x = bpf_ktime_get_ns(); // HERE\n    bpf_spin_unlock(&v->lock);\n    return 0;\n}\n",
        "function calls are not allowed while holding a lock",
        ("u64 now = bpf_ktime_get_ns();",),
    ),
    Case(
        "spin-lock-tracing",
        LOCKED
        + 'SEC("raw_tp/sys_enter")\nint p(u64 *ctx) // HERE\n{\n    u32 key = 0;\n    struct locked *v = bpf_map_lookup_elem(&locked, &key);\n'
        "    if (!v)\n        return 0;\n    bpf_spin_lock(&v->lock);\n    v->x++;\n    bpf_spin_unlock(&v->lock);\n    return 0;\n}\n",
        "tracing progs cannot use bpf_spin_lock yet",
        ("__sync_fetch_and_add",),
    ),
    Case(
        "kptr",
        "struct held { struct task_struct __kptr *task; };\nstruct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);\n"
        '         __type(key, u32); __type(value, struct held); } held SEC(".maps");\n'
        'SEC("tc")\nint p(struct __sk_buff *ctx)\n{\n    u32 key = 0;\n    struct held *v = bpf_map_lookup_elem(&held, &key);\n'
        "    if (v)\n        v->task = 0; // HERE\n    return bpf_get_current_task_btf()->pid & 1;\n}\n",
        "store to referenced kptr disallowed",
        ("bpf_kptr_xchg",),
    ),
    Case(
        "atomic-target",
        xdp("    __sync_fetch_and_add((u32 *)ctx, 1); // HERE\n    return 2;\n"),
        "ctx is not allowed",
        ("a map value or a global variable",),
    ),
]


def test_the_catalogue_covers_the_thirty_and_every_entry_is_complete():
    assert len(CATALOGUE) >= 30
    assert len({entry.id for entry in CATALOGUE}) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert entry.title
        assert entry.explanation.endswith((".", "$offered"))
        assert entry.remedy
    assert len({case.key for case in CASES}) >= 50


def refused(elf: BpfElf) -> VerifierError:
    with pytest.raises(VerifierError) as caught:
        LocalBackend().load(elf.data).close()
    return caught.value


_CHILD = """
import ctypes, json, sys
from bpfnb.errors import VerifierError
from bpfnb.kernel.local import LocalBackend
data = sys.stdin.buffer.read()
mask = 1 << 39 | 1 << 12
words = (ctypes.c_uint32 * 6)(mask & 0xffffffff, mask & 0xffffffff, 0, mask >> 32, mask >> 32, 0)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert ctypes.CDLL(None).capset(header, words) == 0
try:
    LocalBackend().load(data).close()
except VerifierError as error:
    print(json.dumps([error.message, error.program, error.section, error.errno, error.log]))
"""


def refused_without_perfmon(elf: BpfElf) -> VerifierError:
    child = subprocess.run([sys.executable, "-c", _CHILD], input=elf.data, capture_output=True, check=True)
    message, program, section, code, log = json.loads(child.stdout)
    return VerifierError(message, program=program, section=section, errno=code, log=log)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.key} {case.name}".strip() for case in CASES])
def test_rejection(case: Case):
    elf = compile(Source(case.source))
    load = refused_without_perfmon if case.dropped else refused
    error = load(elf)
    found = diagnose(error.log, elf, program=error.program, section=error.section, errno=error.errno)
    assert found.rejection == case.key, error.log[-1500:]
    better = explain(error, elf)
    assert case.reason in better.reason
    lines = [number for number, text in enumerate(case.source.splitlines(), 1) if "// HERE" in text]
    assert better.where is not None
    assert better.where.file == "cell"
    assert better.where.line in lines
    assert not case.registers or any(case.registers in words for words in better.registers.values())
    text = better.render()
    assert text.startswith("VerifierError: The verifier refused program 'p' (")
    assert f"--> cell, line {better.where.line}" in text
    assert re.search(rf"^ +{better.where.line} \| .*// HERE", text, re.MULTILINE)
    assert case.reason in text
    for part in case.shown:
        assert part in text
    assert "$" not in text  # every placeholder was filled
    assert better.log == error.log
    assert better.errno == error.errno


def test_the_column_points_at_the_expression():
    source = raw_tp(
        "    u32 key = 0;\n    u64 *n = bpf_map_lookup_elem(&counts, &key);\n    *n += 1;\n    return 0;\n",
        HASH,
    )
    elf = compile(Source(source, name="io"))
    better = explain(refused(elf), elf)
    assert better.where is not None
    assert (better.where.file, better.where.line, better.where.column) == ("io", 8, 8)
    assert "    *n += 1;\n      |        ^ R0 invalid mem access 'map_value_or_null'" in better.render()


def _without_places(log: str) -> str:
    """As kernels before 6.9 print the log: the source text without file and line."""
    return re.sub(r"^(; .*) @ \S+:\d+$", r"\1", log, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.key in ("null-map-value", "ringbuf-leak", "call-depth")]
)
def test_older_kernels_logs_are_placed_by_the_objects_line_table(case: Case):
    elf = compile(Source(case.source))
    error = refused(elf)
    old = _without_places(error.log)
    assert old != error.log
    new, found = (diagnose(log, elf, program=error.program) for log in (error.log, old))
    assert found.where is not None
    assert new.where is not None
    assert found.where.line == new.where.line
    assert found.instruction == new.instruction


def test_all_of_libbpfs_output_serves_as_the_log_too():
    elf = compile(Source(CASES[0].source))
    error = refused(elf)
    whole = (
        f"libbpf: prog 'p': BPF program load failed: Permission denied\nlibbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n"
        f"{error.log}-- END PROG LOAD LOG --\nlibbpf: prog 'p': failed to load: -13\nlibbpf: failed to load object 'x'\n"
    )
    found = diagnose(whole, elf)
    assert (found.program, found.section) == ("p", "raw_tp/sys_enter")
    assert found.rejection == "null-map-value"
    assert found.where == diagnose(error.log, elf, program="p").where


def test_a_rejection_that_nobody_knows_keeps_the_verifiers_words():
    elf = compile(Source(CASES[0].source))
    error = VerifierError(
        "x", program="p", log="0: (b7) r0 = 1\nsomething quite new\nprocessed 1 insns (limit 1000000)\n"
    )
    better = explain(error, elf)
    assert better.message == "The verifier refused program 'p' (raw_tp/sys_enter): something quite new."
    assert better.reason == "something quite new"
    assert better.hints == ()


@pytest.mark.parametrize(
    ("source", "key", "shown"),
    [
        (
            "extern void bpf_no_such_kfunc(void) __ksym;\n"
            + raw_tp("    bpf_no_such_kfunc();\n    return 0;\n"),
            "kfunc-missing",
            "bpf_no_such_kfunc",
        ),
        (
            'SEC("tp_btf/no_such_tracepoint")\nint p(u64 *ctx)\n{\n    return 0;\n}\n',
            "no-target",
            "no_such_tracepoint",
        ),
    ],
)
def test_what_libbpf_refuses_itself_is_explained_from_its_messages(source: str, key: str, shown: str):
    elf = compile(Source(source))
    with pytest.raises(BpfnbError) as caught:
        LocalBackend().load(elf.data).close()
    found = diagnose(caught.value.log, elf, program="p")
    assert found.rejection == key
    assert shown in found.title


def test_what_only_one_kind_of_code_can_be_made_for_is_still_refused_by_the_verifiers_words():
    body = """    u32 zero = 0;
    u64 *count = bpf_map_lookup_elem(&counts, &zero);
    return __sync_val_compare_and_swap(count, 0, 1); // may be NULL
"""
    with pytest.raises(VerifierError) as caught:
        bpfnb.load(raw_tp(body, HASH), name="refused")
    assert caught.value.where.line == (HASH + raw_tp(body)).splitlines().index(body.splitlines()[2]) + 1
