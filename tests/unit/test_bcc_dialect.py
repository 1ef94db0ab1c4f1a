"""What is read off a text before bcc sees it: its dialect, its functions, how it counts into histograms."""

from __future__ import annotations

import pytest

from bpfnb.bcc.dialect import Histogram, check_places, functions, histograms, recognise
from bpfnb.errors import BadValue, CompileError, UnknownName

LIBBPF = 'SEC("tracepoint/sched/sched_switch") int f(void *ctx) { return 0; }\n'

ONES = [
    "BPF_HASH(counts, u32);",
    "BPF_ARRAY(counts, u64, 1);",
    "BPF_HISTOGRAM(dist);",
    'BPF_TABLE("lru_hash", u32, u64, recent, 64);',
    'BPF_TABLE_PINNED("hash", u32, u64, shared, 64, "/sys/fs/bpf/x");',
    "BPF_PERF_OUTPUT(events);",
    "BPF_RINGBUF_OUTPUT(events, 8);",
    "BPF_STACK_TRACE(traces, 64);",
    "BPF_PERCPU_HASH(counts, u32);",
    "BPF_PERCPU_ARRAY(counts, u32, 1);",
    "BPF_LPM_TRIE(routes, struct key);",
    "BPF_QUEUE(q, u64, 8);",
    "BPF_STACK(s, u64, 8);",
    "BPF_PROG_ARRAY(progs, 4);",
    "BPF_CGROUP_ARRAY(groups, 1);",
    'BPF_HASH_OF_MAPS(outer, u32, "inner", 8);',
    "TRACEPOINT_PROBE(sched, sched_switch) { return 0; }",
    "RAW_TRACEPOINT_PROBE(sched_switch) { return 0; }",
    "KFUNC_PROBE(vfs_read, struct file *f) { return 0; }",
    "KRETFUNC_PROBE(vfs_read, struct file *f) { return 0; }",
    "LSM_PROBE(bpf, int cmd) { return 0; }",
    "BPF_ITER(task) { return 0; }",
    "int kprobe__sys_clone(void *ctx) { return 0; }",
    "int kretprobe__vfs_read(struct pt_regs *ctx) { return 0; }",
    "int tracepoint__sched__sched_switch(void *args) { return 0; }",
    "void f(void *ctx) { struct d x; events.perf_submit(ctx, &x, sizeof(x)); }",
    "int f(void *c) { u64 x; bpf_usdt_readarg(1, c, &x); return 0; }",
    "int count(struct pt_regs *ctx) { return 0; }",
    'int hello(void *ctx) { bpf_trace_printk("Hello, World!\\n"); return 0; }',
    "#include <uapi/linux/ptrace.h>\nint f(void *ctx) { return 0; }",
]


@pytest.mark.parametrize("text", ONES)
def test_bccs_dialect_by_one_mark(text):
    assert recognise(text) == "bcc"


@pytest.mark.parametrize("text", ONES)
def test_marks_in_comments_and_strings_do_not_count(text):
    quoted = text.replace("\\", "").replace('"', "'").replace("\n", " ")
    assert recognise(f'/* {text} */ // {quoted}\nconst char x[] = "{quoted}";\n') is None
    assert recognise(f"{LIBBPF}/* {text} */") == "clang"


def test_libbpfs_and_what_is_neither():
    assert recognise(LIBBPF) == "clang"
    assert recognise("#define BPF_HASH(n, k) int n\nBPF_HASH(x, y);\n" + LIBBPF) == "clang"
    assert recognise('#include "mine.h"\nBPF_HASH(x, y);\n' + LIBBPF) == "clang"  # a macro of that header
    assert recognise("int x;") is None
    assert recognise("int f(void *ctx) { return 0; }") is None
    assert recognise("int f(void *ctx) { return 0; }", {"f": "xdp"}) == "bcc"
    assert recognise("static int f(struct pt_regs *ctx) { return 0; }") is None


def test_a_text_of_both_is_an_error_at_both_places():
    with pytest.raises(CompileError, match=r"BPF_HASH is bcc's, SEC\(\) is libbpf's") as caught:
        recognise("\nBPF_HASH(counts, u32);\n" + LIBBPF, name="io")
    assert [str(one.where) for one in caught.value.diagnostics] == [
        "io, line 2, column 1",
        "io, line 3, column 1",
    ]
    assert any("--engine" in hint for hint in caught.value.hints)
    with pytest.raises(CompileError, match="perf_submit is bcc's"):
        recognise(LIBBPF + "int g(void *c) { int d; e.perf_submit(c, &d, 4); return 0; }")


def test_functions_have_bccs_names_and_their_lines():
    text = """// int no(void *ctx) {}
static int helper(int (*call)(int), int b) { return b; }
static inline __attribute__((always_inline)) void other(void) {}
struct s { int a; };
TRACEPOINT_PROBE(syscalls,
                 sys_enter_read) {
    if (args->fd) { return helper(0, 1); }
    return 0;
}
RAW_TRACEPOINT_PROBE(sched_switch) { return 0; }
KRETFUNC_PROBE(vfs_read, struct file *file, int ret) { return 0; }
BPF_ITER(task) { return 0; }

int hello(struct pt_regs *ctx,
          int second)
{ return 0; }
"""
    found = functions(text)
    assert {name: (one.line, one.local) for name, one in found.items()} == {
        "helper": (2, True),
        "other": (3, True),
        "tracepoint__syscalls__sys_enter_read": (5, False),
        "raw_tracepoint__sched_switch": (10, False),
        "kretfunc__vfs_read": (11, False),
        "bpf_iter__task": (12, False),
        "hello": (14, False),
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("dist.increment(bpf_log2l(delta));", Histogram(True, -1)),
        ("dist.increment(bpf_log2(delta));", Histogram(True, 0)),
        ("dist.atomic_increment(bpf_log2l(delta / 1000), 2);", Histogram(True, -1)),
        ("u32 slot = bpf_log2l(delta);\n dist.increment(slot);", Histogram(True, -1)),
        ("struct key k = {}; k.slot = bpf_log2l(delta); dist.increment(k);", Histogram(True, -1)),
        ("struct key k = {.slot = bpf_log2l(delta)}; dist.increment(k);", Histogram(True, -1)),
        ("struct key *k = &key; k->slot = bpf_log2l(delta); dist.increment(*k);", Histogram(True, -1)),
        ("dist.increment(delta / 1024);", Histogram(False)),
        ("if (slot == bpf_log2l(1)) dist.increment(slot);", Histogram(False)),
        ("other.increment(bpf_log2l(delta)); dist.increment(delta);", Histogram(False)),
        ("// dist.increment(bpf_log2l(delta));\n dist.increment(delta);", Histogram(False)),
    ],
)
def test_how_a_histogram_is_counted_into(body, expected):
    text = (
        "BPF_HISTOGRAM(dist);\nint before(void *ctx) {\n u64 delta = bpf_log2l(5);\n return 0;\n}\n"
        f"int f(struct pt_regs *ctx) {{\n u64 delta = 5;\n {body}\n return 0;\n}}\n"
    )
    assert histograms(text) == {"dist": expected}


def test_places_are_functions_and_sections():
    text = "int count(struct pt_regs *ctx) { return 0; }\nstatic int helper(void) { return 0; }"
    check_places(text, {"count": ["uprobe/libc.so.6:strlen", "perf_event", "usdt/x:y:z", "tracepoint"]})
    with pytest.raises(UnknownName, match="no function 'conut'") as unknown:
        check_places(text, {"conut": ["xdp"]})
    assert unknown.value.hints == ("did you mean count?",)
    with pytest.raises(BadValue, match="no section 'uprob/x:y'"):
        check_places(text, {"count": ["uprob/x:y"]})
    with pytest.raises(BadValue, match="no section"):
        check_places(text, {"count": []})
    check_places("#define F(x) int f_##x(void *c)\nF(a) { return 0; }", {"f_a": ["xdp"]})
