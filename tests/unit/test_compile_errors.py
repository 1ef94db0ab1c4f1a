"""What clang complains of, said at the cell's own lines, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfnb.compile import Source, compile, find_clang
from bpfnb.compile.diagnostics import parse
from bpfnb.errors import CompileError, Diagnostic, Location

INCLUDES = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'


def _refused(text: str, name: str = "io", **more: object) -> CompileError:
    with pytest.raises(CompileError) as caught:
        compile(Source(text, name, **more))  # type: ignore[arg-type]
    return caught.value


def _program(body: str, before: str = "") -> str:
    return f'{before}SEC("raw_tp/sys_enter") int f(void *ctx)\n{{\n\t{body}\n}}\n'


def _places(error: CompileError) -> list[tuple[int, int]]:
    return [(d.where.line, d.where.column) for d in error.diagnostics if d.severity == "error" and d.where]


# Places


def test_the_message_counts_the_errors_and_quotes_the_first() -> None:
    error = _refused(_program("return nought;\n\treturn nil;"))
    assert error.message == "2 errors in cell io: use of undeclared identifier 'nought'"
    assert _places(error) == [(3, 9), (4, 9)]
    assert error.where == Location("io", 3, 9)
    assert error.source is not None
    assert "io:3:9: error:" in error.log
    assert "return nought;" in error.render()


def test_one_error_is_one_sentence() -> None:
    assert _refused("int x = y;").message == "Cell io does not compile: use of undeclared identifier 'y'"
    assert (
        _refused("int x = y;", "cell").message
        == "The cell does not compile: use of undeclared identifier 'y'"
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("int x = y;", (1, 9)),
        ("\n\n\n   int x = y;\n", (4, 12)),
        ("/* größer ✓ */ int x = y;", (1, 24)),
        ("\t\tint x = y;", (1, 11)),
        ("#define Q z\nint x =\n  Q;", (3, 3)),
        ("int a;\\\nint x = y;", (2, 9)),
        ("\r\nint x = y;\r\n", (2, 9)),
        (INCLUDES + "int x = y;", (3, 9)),
        ("#include <stddef.h>\nint x = y;", (2, 9)),
    ],
)
def test_lines_and_columns_are_the_cells_own(text: str, place: tuple[int, int]) -> None:
    assert _places(_refused(text)) == [place]


def test_counting_and_precompiling_leave_no_trace_in_diagnostics() -> None:
    ring = 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");\n'
    error = _refused(_program("return bpf_ringbuf_output(&rb, ctx, missing, 0);", ring))
    assert _places(error) == [(4, 38)]
    assert "bpfnb" not in error.log.replace("bpfnb-", "")
    assert len(error.diagnostics) == 1


def test_an_error_in_a_local_header_names_the_header_and_the_cells_include(tmp_path: Path) -> None:
    (tmp_path / "own.h").write_text("struct own {\n  u32 a b;\n};\n")
    error = _refused(INCLUDES + '#include "own.h"\n' + _program("return 0;"), directory=tmp_path)
    assert error.diagnostics[0].where == Location(str(tmp_path / "own.h"), 2, 8)
    assert error.diagnostics[0].message == "expected ';' at end of declaration list"
    assert error.where == Location("io", 3)


def test_notes_stay_with_their_errors() -> None:
    error = _refused("struct mine_a { int x; };\nstruct mine_a { int y; };\n")
    assert [(d.severity, d.where.line) for d in error.diagnostics if d.where] == [("error", 2), ("note", 1)]


def test_warnings_have_places_too() -> None:
    elf = compile(Source(_program("int x = 0;\n\treturn x == x;"), "warned", flags=("-Wall",)))
    (warning,) = elf.warnings
    assert (warning.severity, str(warning.where)) == ("warning", "warned, line 4, column 11")
    assert "[-Wtautological-compare]" in warning.message


def test_messages_of_the_back_end_are_placed_by_the_functions_name() -> None:
    source = Source(_program("return 1;"), "io")
    log = "error: <unknown>:0:0: in function f i32 (ptr): out of luck\n\n1 error generated.\n"
    assert parse(log, source) == (Diagnostic("error", "out of luck", Location("io", 1, 29)),)
    log = "io:2:1: warning: strange [-Wx]\n/usr/x.h:7:3: note: here\nfatal error: error in backend: Cannot select: 0x5614b07e94a0: i64 = sdiv 0x5614b07e9190, 0x1, io:3:6\n"
    assert parse(log, source) == (
        Diagnostic("warning", "strange [-Wx]", Location("io", 2, 1)),
        Diagnostic("note", "here", Location("/usr/x.h", 7, 3)),
        Diagnostic("error", "unsupported signed division", Location("io", 3, 6)),
    )


# Hints


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("return ETH_P_LOOP;", "'ETH_P_LOOP'", "#define ETH_P_LOOP 0x0060"),
        ("return BPF_F_CURRENT_CPUS;", "'BPF_F_CURRENT_CPUS'", "BPF_F_CURRENT_CPU"),
        ("return SOME_KERNEL_MACRO;", "'SOME_KERNEL_MACRO'", "BTF holds types, enumerators and functions, no macros"),
        ('printf("x"); return 0;', "'printf'", "bpf_printk"),
        ("char b[4] = {}; return strlen(b);", "'strlen'", "no C library"),
        ("return (long)malloc(8);", "'malloc'", "keep the data in a map"),
        ("char a[8] = {}; u64 n = bpf_ktime_get_ns(); memcpy(a, ctx, n); return a[2];", "'memcpy'", "__builtin_memcpy"),
        ("return bpf_get_curent_comm(ctx, 1);", "'bpf_get_curent_comm'", "bpf_get_current_comm"),
        ("return vfs_read();", "'vfs_read'", "cannot call"),
        ("return bpf_task_acquire(0) != 0;", "'bpf_task_acquire'", "__ksym"),
        ("return inet_sk(ctx) != 0;", "'inet_sk'", "(struct inet_sock *)sk"),
        ("return completely_unknown_name();", "'completely_unknown_name'", "functions of their own"),
        ("struct sk_bufff x; return sizeof(x);", "struct sk_bufff", "struct sk_buff"),
        ("struct pid_t x; return sizeof(x);", "struct pid_t", "in this kernel it is pid_t"),
        ("struct task_struct *t = ctx; return t->state;", "'state'", "has __state"),
        ("struct task_struct *t = ctx; return t->tgidd;", "'tgidd'", "has tgid"),
        ("struct task_struct *t = ctx; return t->nothing_like_it;", "'nothing_like_it'", "%bpf struct task_struct"),
        ("double d = bpf_get_prandom_u32(); return d * 1.5;", "is not supported", "no floating point"),
        ("char b[1024]; bpf_get_current_comm(b, 1024); return b[3];", "stack limit", "512 bytes"),
        ("u64 n = bpf_ktime_get_ns(); char b[n]; bpf_get_current_comm(b, n); return 0;", "dynamic stack", "constant size"),
        ("long n = bpf_ktime_get_ns(); return -n / (long)bpf_get_prandom_u32();", "signed division", "unsigned"),
        ("__int128 a = bpf_ktime_get_ns(); return (a * a) / bpf_get_prandom_u32();", "", "64 bits at most"),
        ('asm volatile("mov eax, 1"); return 0;', "", "BPF's own assembly"),
    ],
)  # fmt: skip
def test_hints_for_frequent_mistakes(body: str, message: str, hint: str) -> None:
    error = _refused(_program(body))
    assert message in error.diagnostics[0].message
    assert any(hint in text for text in error.hints), error.hints
    assert len(set(error.hints)) == len(error.hints) <= 4


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('#include "nothere.h"\n', "no directory of local headers was given"),
        ("#include <linux/sched/signal.h>\n" + INCLUDES, "leave out <linux/sched/signal.h>"),
        (INCLUDES + "#include <linux/if_ether.h>\n", "leave out <linux/if_ether.h>"),
        ("#include <bpf/bpf_helpers.h>\n" + _program("return 0;"), "begin it with #include \"vmlinux.h\""),
        ("#include <stddef.h>\n" + _program("return 0;"), "begin it with #include \"vmlinux.h\""),
        ("#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n" + _program("return bpf_ntohs(1);"), "bpf/bpf_endian.h"),
        (
            "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n" + _program("return BPF_CORE_READ((int *)ctx, x);"),
            "bpf/bpf_core_read.h",
        ),
        ("struct sock { int mine; };\n", "the kernel has a type named sock"),
        (
            ("__noinline int g(int a, int b, int c, int d, int e, int f) { return a + b * c + d * e + f; }\n"
             'SEC("xdp") int x(void *c) { return g(bpf_ktime_get_ns(), 2, 3, 4, 5, bpf_ktime_get_ns()); }\n'),
            "five arguments",
        ),
        (
            ("struct mine_q { u64 a[4]; };\n__noinline struct mine_q g(int a) { struct mine_q x = { a }; return x; }\n"
             'SEC("xdp") int x(void *c) { return g(2).a[1]; }\n'),
            "one number or pointer",
        ),
    ],
)  # fmt: skip
def test_hints_about_headers_and_functions(text: str, hint: str) -> None:
    error = _refused(text)
    assert any(hint in found for found in error.hints), error.hints


def test_a_missing_header_says_where_it_was_looked_for(tmp_path: Path) -> None:
    error = _refused('#include "nothere.h"\n', directory=tmp_path, include_dirs=(Path("inc"),))
    assert error.message == "Cell io does not compile: 'nothere.h' file not found"
    assert f"looked in {tmp_path}, {tmp_path / 'inc'}" in error.hints[0]
    assert error.where == Location("io", 1, 10)


def test_an_implicit_declaration_is_an_error_with_every_clang() -> None:
    error = _refused(_program("return undeclared_one();"))
    assert error.diagnostics[0].message in (
        "call to undeclared function 'undeclared_one'",
        "implicit declaration of function 'undeclared_one' is invalid in C99",
    )
    assert find_clang().version >= (14,)


# What compiles and cannot have been meant


def test_a_function_without_a_section_is_warned_of() -> None:
    elf = compile(Source("\n  int lost(void *ctx) { return 0; }\n", "io"))
    assert [(w.message.split(":")[1], str(w.where)) for w in elf.warnings] == [
        (' lost has no SEC("..."), so that nothing can attach it', "io, line 2, column 7")
    ]
    assert compile(Source(_program("return 0;", "__noinline int sub(int x) { return x; }\n"))).warnings == ()


def test_a_map_without_a_section_is_warned_of() -> None:
    text = _program("u32 k = 0; bpf_map_delete_elem(&m, &k); return 0;",
                    "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, u32);\n"
                    "  __type(value, u32); } m;\n")  # fmt: skip
    elf = compile(Source(text, "io"))
    assert [str(w.where) for w in elf.warnings] == ["io, line 2, column 25"]
    assert 'no SEC(".maps")' in elf.warnings[0].message


def test_a_wrong_annotation_is_an_error_at_its_line() -> None:
    error = _refused(
        "struct event { u64 a;\n  u64 took UNIT(nanos); };\n"
        'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } e SEC(".maps");\n'
        + _program("return 0;")
    )
    assert error.where == Location("io", 2, 12)
    assert "struct event.took" in error.message
    assert "nanos" in error.message
