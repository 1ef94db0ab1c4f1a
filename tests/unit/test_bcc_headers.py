"""Headers made from BTF: offsets as in BTF by clang's own account, what wins over what, and what is warned of."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from layouts import STRUCTS, check_offsets, compiled, emitted, places

from bpfnb.bcc.alignment import Alignment
from bpfnb.bcc.derived import derived
from bpfnb.bcc.find import find_package, module
from bpfnb.bcc.installed import mismatch
from bpfnb.bcc.kernel import Kernel, read_config, version_code
from bpfnb.bcc.lines import Lines
from bpfnb.bcc.messages import Unit, compile_error
from bpfnb.bcc.pack import close, pack
from bpfnb.bcc.scan import scan
from bpfnb.btf import Btf, Composite, fields
from bpfnb.errors import BpfnbError, MissingDependency


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
    return Kernel.running()


def test_whole_types_have_the_offsets_of_btf(kernel: Kernel, tmp_path: Path) -> None:
    assert check_offsets(kernel, STRUCTS, None, tmp_path) > 1000


def test_pruned_types_have_the_offsets_of_btf(kernel: Kernel, tmp_path: Path) -> None:
    named = """pid tgid comm real_parent start_time mm flags in_execve sk_state __sk_common skc_daddr sk_protocol cb len
        sk_type data head protocol i_ino i_size d_name nsproxy snd_cwnd tcp_header_len __data_len"""
    members = frozenset(named.split())
    assert check_offsets(kernel, STRUCTS, members, tmp_path) > 100


def test_a_pruned_struct_is_small_and_keeps_only_what_is_named(kernel: Kernel) -> None:
    text = emitted(kernel, ["task_struct"], frozenset({"tgid", "comm"}))
    assert len(text) < 1500
    assert "tgid;" in text
    assert "comm[16];" in text
    assert "real_parent" not in text
    btf, number = kernel.tag("struct", "task_struct") or pytest.fail("no task_struct")
    assert f"sizeof(struct task_struct) == {btf.size(number)}" in text


def test_bit_fields_of_one_run_stay_together(kernel: Kernel, tmp_path: Path) -> None:
    """One of a run that is named keeps the others, so that clang's loads are as wide as with real headers."""
    btf, number = kernel.tag("struct", "task_struct") or pytest.fail("no task_struct")
    flags = [member for member in fields(btf, number) if member.bit_size]
    made = compiled(
        emitted(kernel, ["task_struct"], frozenset({flags[0].name})) + "struct task_struct t = {};", tmp_path
    )
    kept = places(made, "task_struct")
    assert flags[0].name in kept
    assert kept[flags[1].name] == (flags[1].bit_offset, flags[1].bit_size, btf.size(flags[1].type))


def test_the_programs_own_definitions_win(kernel: Kernel) -> None:
    own = scan(
        "struct nsproxy { int count; };\ntypedef int pid_t;\nenum mine { PIDTYPE_PID, B };"
    ).definitions
    text = emitted(kernel, ["task_struct"], frozenset({"nsproxy", "pid", "thread_pid"}), after=own)
    assert "struct nsproxy {" not in text
    assert "struct nsproxy *nsproxy;" in text
    assert "typedef __kernel_pid_t pid_t" not in text
    assert " pid_t pid;" not in text
    assert "__kernel_pid_t pid;" in text  # the typedef comes later: spelled by what it stands for here
    assert "PIDTYPE_PID" not in text


def test_two_types_of_one_name_are_told_apart() -> None:
    """``struct a`` twice, of 4 and of 8 bytes, and a struct that holds the second."""
    strings = b"\0int\0a\0x\0b\0"
    int_ = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    first = struct.pack("<IIIIII", 5, 4 << 24 | 1, 4, 7, 1, 0)
    second = struct.pack("<IIIIIIIII", 5, 4 << 24 | 2, 8, 7, 1, 0, 9, 1, 32)
    outer = struct.pack("<IIIIII", 9, 4 << 24 | 1, 8, 7, 3, 0)
    types = int_ + first + second + outer
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    kernel = Kernel.of(Btf(header + types + strings), release="6.0.0")
    text = emitted(kernel, ["b", "a"], None)
    assert "struct a___2 { int x; int b; };" in text
    assert "struct b { struct a___2 x; };" in text
    assert "struct a { int x; };" in text
    assert len(kernel.variants("struct", "a")) == 2


def test_types_that_only_a_module_has() -> None:
    strings = b"\0int\0"
    int_ = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(int_), len(int_), len(strings))
    base = Btf(header + int_ + strings)
    own = b"mod\0mem\0"
    type_ = struct.pack("<IIIIII", 5, 4 << 24 | 1, 4, 9, 1, 0)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(type_), len(type_), len(own))
    kernel = Kernel.of(base, release="6.0.0", modules={"mod": lambda: header + type_ + own})
    assert kernel.reaching({("struct", "int")}) is kernel
    assert emitted(kernel.reaching({("struct", "mod")}), ["mod"], None) == "struct mod { int mem; };\n"


def test_packed_structs_are_recognised(kernel: Kernel) -> None:
    btf, number = kernel.tag("struct", "ethhdr") or pytest.skip("no ethhdr")
    found = btf[number]
    assert isinstance(found, Composite)
    assert Alignment.of(btf).packed(found)
    assert Alignment.of(btf).bytes(found) == 1
    task, number = kernel.tag("struct", "task_struct") or pytest.fail("no task_struct")
    assert Alignment.of(task).bytes(number) >= 8


def test_scan_knows_what_a_text_defines() -> None:
    text = scan(
        """
        // struct commented { int x; };
        #define MINE 1
        #ifndef FALLBACK
        #define FALLBACK 2
        #endif
        BPF_HASH(counts, struct key_t, u64);
        BPF_TABLE("hash", u32, u64, longer, 10);
        struct key_t { u32 a, b; char c[MINE]; struct { int in; } d; };
        enum { ONE, TWO = 2 };
        typedef struct { int x; } anon_t;
        typedef u64 (*call_t)(int);
        static inline int helper(struct pt_regs *ctx, int (*f)(int)) { return 0; }
        TRACEPOINT_PROBE(sched, sched_switch) { return 0; }
        int tracepoint__irq__irq_handler_entry(struct tracepoint__irq__irq_handler_entry *args) { return "struct no {"; }
        """
    )
    assert text.definitions.tags == {"struct key_t"}
    assert {"counts", "longer", "ONE", "TWO", "anon_t", "call_t", "helper"} <= text.definitions.names
    assert "sched" not in text.definitions.names
    assert text.definitions.macros == {"MINE"}
    assert text.members("struct key_t") == ("c", "d")
    assert {("sched", "sched_switch"), ("irq", "irq_handler_entry")} <= text.tracepoints
    assert dict(text.conditions) == {"FALLBACK": 4}


def test_macros_come_with_those_that_they_name_and_by_machine() -> None:
    chosen = close(pack("x86_64"), {"PAGE_SIZE", "EPERM"})
    assert set(chosen) - {"_AC", "_UL", "UL"} == {"PAGE_SIZE", "PAGE_SHIFT", "EPERM"}
    assert pack("x86_64")["O_DIRECTORY"].text == "#define O_DIRECTORY 00200000"
    assert pack("aarch64")["O_DIRECTORY"].text == "#define O_DIRECTORY 040000"


def test_lengths_of_arrays_come_from_the_kernel_itself(kernel: Kernel) -> None:
    btf, number = kernel.tag("struct", "dentry") or pytest.fail("no dentry")
    inline = next(m for m in fields(btf, number) if m.name in ("d_iname", "d_shortname"))
    assert derived(kernel, "DNAME_INLINE_LEN") == str(btf.size(inline.type))
    assert derived(kernel, "TASK_COMM_LEN") == "16"
    assert derived(kernel, "ETH_ALEN") is None
    assert derived(Kernel.of(btf, release="5.10.0"), "TASK_TRACED") == "(TASK_WAKEKILL | __TASK_TRACED)"
    assert derived(Kernel.of(btf, release="6.1.0"), "TASK_TRACED") is None


def test_every_macro_without_arguments_is_an_expression(kernel: Kernel, tmp_path: Path) -> None:
    """The constants of the pack compile, and some known ones have the values that the kernel documents."""
    macros = pack("x86_64")
    plain = [
        name
        for name, macro in macros.items()
        if macro.text.startswith(f"#define {name} ") and "sk" not in name
    ]
    numbers = [
        name for name in plain if macros[name].text.split()[2][0] in "0123456789(-" and not macros[name].words
    ]
    numbers.remove("__ARG_PLACEHOLDER_1")
    assert len(numbers) > 2000
    text = "\n".join(macros[name].text for name in numbers)
    checks = {"ETH_P_IPV6": 0x86DD, "ENOTSUPP": 524, "CAP_SYS_ADMIN": 21, "TASK_DEAD": 0x80, "AF_INET6": 10}
    asserts = "".join(f'_Static_assert({name} == {value}, "{name}");\n' for name, value in checks.items())
    values = "".join(f"long long v{at} = (long long)({name});\n" for at, name in enumerate(numbers))
    compiled(f"{text}\n{asserts}{values}", tmp_path)


def test_versions_of_kernels() -> None:
    assert version_code("6.18.44-fc-v445") == 0x06122C
    assert version_code("6.1.0-56-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-01-01)") == 0x0601C0
    assert version_code("5.15.0-91-generic", "x Ubuntu 5.15.0-91.101-generic 5.15.131") == 0x050F83
    assert version_code("4.19.300") == 0x0413FF  # the patch level is capped, as the kernel does it
    assert read_config('# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="x"\n') == {
        "CONFIG_B": "y",
        "CONFIG_C": '"x"',
    }


def test_installed_headers_must_be_of_exactly_this_kernel(kernel: Kernel, tmp_path: Path) -> None:
    generated = tmp_path / "include/generated"
    generated.mkdir(parents=True)
    assert mismatch(tmp_path, kernel) == f"{generated}/utsrelease.h is missing"
    btf, number = kernel.tag("struct", "task_struct") or pytest.fail("no task_struct")
    offset = next(member.bit_offset // 8 for member in fields(btf, number) if member.name == "tgid")
    (generated / "utsrelease.h").write_text(f'#define UTS_RELEASE "{kernel.release}"\n')
    line = "#define TASK_tgid {} /* offsetof(struct task_struct, tgid) */\n"
    (generated / "asm-offsets.h").write_text(line.format(offset))
    assert mismatch(tmp_path, kernel) is None
    (generated / "asm-offsets.h").write_text(line.format(offset + 8))
    assert mismatch(tmp_path, kernel) == (
        f"task_struct.tgid is at byte {offset + 8} there and at {offset} in this kernel"
    )
    (generated / "utsrelease.h").write_text('#define UTS_RELEASE "6.1.0-56-amd64"\n')
    assert mismatch(tmp_path, kernel) == "they are of kernel 6.1.0-56-amd64"


def test_the_distributions_bcc_is_told_from_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "python3.11/site-packages/bcc"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("")
    with pytest.raises(MissingDependency, match="not installed") as missing:
        find_package([tmp_path])
    assert "apt-get install python3-bpfcc" in missing.value.hints[0]
    for version in ("python3.9", "python3.12"):
        folder = tmp_path / version / "dist-packages/bcc"
        folder.mkdir(parents=True)
        for name in ("__init__.py", "libbcc.py", "table.py"):
            (folder / name).write_text("")
    assert find_package([tmp_path]) == tmp_path / "python3.12/dist-packages/bcc"

    other = type(sys)("bcc")
    other.__file__ = str(impostor / "__init__.py")
    monkeypatch.setitem(sys.modules, "bcc", other)
    with pytest.raises(BpfnbError, match="is not the BPF Compiler Collection"):
        module()


LOG = """/virtual/main.c:5:10: error: use of undeclared identifier 'nothing'
  return nothing;
         ^
/virtual/main.c:5:10: note: did you mean 'something'?
././include/linux/kconfig.h:12:8: note: 'something' declared here
1 error generated.
"""


def test_messages_are_placed_in_the_users_text() -> None:
    text = "int x;\n\nint f(void *ctx) {\n  return nothing;\n}\n"
    error = compile_error(LOG, Unit(text, prefix="#include <x.h>\n", name="io"))
    assert error.where is not None
    assert (error.where.file, error.where.line, error.where.column) == ("io", 4, 10)
    assert error.message == "Cell io does not compile: use of undeclared identifier 'nothing'"
    assert [d.severity for d in error.diagnostics] == ["error", "note"]


def test_the_printed_line_corrects_a_reckoned_one() -> None:
    lines = Lines("a\nb\n  return c;\nd\n")
    assert lines.of_checked(3) == 3
    assert lines.of_checked(1, "  return c;") == 3
    assert lines.of_generated(10 + 3) == 3
    assert lines.of_generated(11, "return c;") == 3
    assert Lines("a\nb\n", prefix="1\n2\n3\n4\n5\n").of_checked(7, "b") == 2


def test_lines_that_bccs_rewriter_adds() -> None:
    """The text as bcc rewrites it (its own dump of it), each line with the line that it came from."""
    text = """int f(struct pt_regs *ctx) { return 0; }
int g(void *ctx)
{
    return 1;
}
static inline int h(int b) {
    return b; }
struct s { int (*call)(int); };
int i(struct pt_regs *ctx, int a) {
    if (a) { return 1; }
    return a; }
"""
    rewritten = [1] * 10 + [1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 9, 10, 11, 12]
    lines = Lines(text)
    assert [lines.of_generated(number) for number in range(1, len(rewritten) + 1)] == rewritten
    assert [lines.of_checked(number) for number in range(1, 13)] == list(range(1, 13))
