"""Compiling: what a cell is given, what its object holds, and what the cache saves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bpfnb.btf import Func
from bpfnb.btf_elf import read_sections
from bpfnb.compile import BpfElf, Clang, Source, cache_dir, compile, dialect, find_clang, vmlinux_h
from bpfnb.compile import build as build_module
from bpfnb.compile.cache import _ours_alone
from bpfnb.compile.clang import target_arch
from bpfnb.compile.headers import base_flags, find_headers, may_use_precompiled, precompiled
from bpfnb.compile.vmlinux import KERNEL_BTF, btf_hash
from bpfnb.errors import BpfnbError, CompileError, MissingDependency

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.bpf.c"))
TINY = 'SEC("raw_tp/sys_enter") int f(void *ctx) { return 0; }\n'


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _strings(section: bytes) -> set[str]:
    return {part.decode(errors="replace") for part in section.split(b"\0")}


def _license(elf: BpfElf) -> bytes:
    return read_sections(elf.data)["license"].data


# What a cell is given


def test_a_cell_without_includes_is_given_types_helpers_macros_and_licence() -> None:
    elf = compile(
        Source(
            "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }\n"
            '  seen SEC(".maps");\n'
            'SEC("tp_btf/sched_switch") int BPF_PROG(sw, bool preempt, struct task_struct *prev, struct task_struct *next)\n'
            "{\n"
            "  u32 pid = BPF_CORE_READ(next, pid), family = bpf_ntohs(AF_INET); u64 one = 1;\n"
            "  if (prev->__state != TASK_RUNNING && family != ETH_P_IP && (prev->flags & PF_KTHREAD) == 0)\n"
            "    bpf_map_update_elem(&seen, &pid, &one, BPF_ANY);\n"
            '  bpf_printk("%d", pid);\n'
            "  return TC_ACT_OK;\n"
            "}\n",
            "first",
        )
    )
    assert elf.programs == (("sw", "tp_btf/sched_switch"),)
    assert _license(elf) == b"GPL\0"
    assert elf.warnings == ()
    assert isinstance(elf.btf.get("sw", "func"), Func)
    assert elf.source.name == "first"
    assert re.fullmatch(r"[0-9a-f]{64}", elf.key)


def test_a_licence_of_its_own_is_kept() -> None:
    elf = compile(Source('char L[] SEC("license") = "Dual MIT/GPL";\n' + TINY))
    assert _license(elf) == b"Dual MIT/GPL\0"


def test_a_licence_in_a_comment_is_none() -> None:
    assert _license(compile(Source('// SEC("license")\n' + TINY))) == b"GPL\0"


def test_user_probes_have_their_own_macros_with_old_headers_too() -> None:
    elf = compile(
        Source(
            'SEC("uprobe") int BPF_UPROBE(enter, size_t size) { return size > 8; }\n'
            'SEC("uretprobe") int BPF_URETPROBE(leave, int result) { return result; }\n'
        )
    )
    assert elf.programs == (("enter", "uprobe"), ("leave", "uretprobe"))
    assert not elf.warnings


def test_a_cell_may_define_the_preludes_macros_again() -> None:
    elf = compile(Source("#define AF_INET 0x2\n#define ETH_P_IP 2048\n" + TINY))
    assert elf.warnings == ()


def test_a_cell_with_includes_is_given_nothing() -> None:
    with pytest.raises(CompileError) as caught:
        compile(
            Source(
                '#include <stddef.h>\nint x = AF_INET;\nchar L[] __attribute__((section("license"))) = "GPL";\n'
            )
        )
    assert caught.value.diagnostics[0].message == "use of undeclared identifier 'AF_INET'"


def test_user_space_headers_of_the_kernel_work() -> None:
    elf = compile(
        Source(
            "#include <linux/bpf.h>\n#include <linux/if_ether.h>\n#include <linux/ip.h>\n#include <stdbool.h>\n"
            "#include <bpf/bpf_helpers.h>\n"
            'SEC("xdp") int pass(struct xdp_md *ctx) { return ctx->data_end - ctx->data > ETH_HLEN ? XDP_PASS : XDP_DROP; }\n'
        )
    )
    assert elf.programs == (("pass", "xdp"),)


def test_the_architecture_is_defined() -> None:
    arch = target_arch()
    assert arch is not None
    elf = compile(Source(f"#ifndef __TARGET_ARCH_{arch}\n#error no architecture\n#endif\n" + TINY))
    assert elf.programs == (("f", "raw_tp/sys_enter"),)
    machines = [
        "x86_64",
        "aarch64",
        "armv7l",
        "armv8l",
        "s390x",
        "ppc64le",
        "riscv64",
        "loongarch64",
        "mips64",
        "sh4",
    ]
    assert [target_arch(m) for m in machines] == [
        "x86", "arm64", "arm", "arm", "s390", "powerpc", "riscv", "loongarch", "mips", None,
    ]  # fmt: skip


def test_defines_flags_and_cpu_reach_clang() -> None:
    text = (
        "#if !defined(ON) || N != 7\n#error wrong\n#endif\n"
        'SEC("xdp") int f(void *ctx) { int unused; return N; }\n'
    )
    elf = compile(Source(text, defines=("ON", "-DN=7"), flags=("-Wunused-variable",)))
    assert [w.message for w in elf.warnings] == ["unused variable 'unused' [-Wunused-variable]"]
    assert str(elf.warnings[0].where) == "cell, line 4, column 35"


def test_cpu_chooses_the_instruction_set() -> None:
    source = Source('SEC("xdp") int f(struct xdp_md *ctx) { return (int)bpf_get_prandom_u32() > 5; }\n')
    classes = [
        {code & 7 for code in read_sections(compile(source, cpu=cpu).data)["xdp"].data[::8]}
        for cpu in ("v2", "v3")
    ]
    assert 6 not in classes[0]  # BPF_JMP32
    assert 6 in classes[1]


def test_local_headers_beside_the_notebook_and_in_other_directories(tmp_path: Path) -> None:
    (tmp_path / "beside.h").write_text("#define BESIDE 1\n")
    other = tmp_path / "other dir"
    other.mkdir()
    (other / "far.h").write_text('#include "beside.h"\n#define FAR 2\n')
    third = tmp_path / "third"
    third.mkdir()
    (third / "flagged.h").write_text("#define FLAGGED 4\n")
    text = (
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include "beside.h"\n#include <far.h>\n'
        '#include <flagged.h>\nSEC("xdp") int f(void *ctx) { return BESIDE + FAR + FLAGGED; }\n'
    )
    source = Source(text, directory=tmp_path, include_dirs=(Path("other dir"),), flags=("-Ithird",))
    assert compile(source).programs == (("f", "xdp"),)


def test_ten_thousand_lines() -> None:
    lines = [f"static __always_inline u64 f{i}(u64 x) {{ return x * {i + 3} + {i}; }}" for i in range(9990)]
    text = "\n".join(
        [*lines, 'SEC("xdp") int last(void *ctx) {', "  return f77(f9000(bpf_ktime_get_ns()));", "}", ""]
    )
    elf = compile(Source(text))
    assert elf.programs == (("last", "xdp"),)
    with pytest.raises(CompileError) as caught:
        compile(Source(text + "int y = nothing;\n"))
    assert (caught.value.where.line, caught.value.where.column) == (9994, 9)  # type: ignore[union-attr]


# What the object holds


def test_line_information_names_the_cell_and_quotes_its_lines() -> None:
    text = "\n\n" + 'SEC("raw_tp/sys_enter") int f(void *ctx)\n{\n\treturn bpf_get_prandom_u32();\n}\n'
    strings = _strings(read_sections(compile(Source(text, "io")).data)[".BTF"].data)
    assert "./io" in strings
    assert "\treturn bpf_get_prandom_u32();" in strings
    assert not any("bpfnb-" in string for string in strings)


def test_line_information_survives_headers_and_counting() -> None:
    elf = compile(Source((CORPUS[0].parent / "stack_output.bpf.c").read_text(), "stack"))
    strings = _strings(read_sections(elf.data)[".BTF"].data)
    assert "\tbpf_map_update_elem(&start, &tid, &ts, BPF_ANY);" in strings


def test_the_object_does_not_depend_on_where_it_was_compiled(empty_cache: Path) -> None:
    first = compile(Source(TINY, "same"))
    shutil.rmtree(empty_cache / "objects")
    assert compile(Source(TINY, "same")).data == first.data


def test_an_object_without_types_still_names_its_programs(tmp_path: Path) -> None:
    text = '__attribute__((section("xdp"), used)) int bare(void *ctx) { return 2; }\n'
    (tmp_path / "bare.c").write_text(text)
    args = ["-target", "bpf", "-O2", "-c", "bare.c", "-o", "bare.o"]
    assert find_clang().run(args, cwd=tmp_path).returncode == 0
    elf = BpfElf.from_file(tmp_path / "bare.o")
    assert elf.programs == (("bare", "xdp"),)
    assert (elf.events, elf.compiler, elf.source.name) == ({}, "unknown", "bare.o")
    with pytest.raises(BpfnbError):
        BpfElf.from_file(b"no object at all")


@pytest.mark.parametrize("name", ["a b/c d.bpf.c", "пример", "x'y\"z", "..", "-o"])
def test_any_name_will_do(name: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile(Source("int x = y;", name))
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line, caught.value.where.column) == (name, 1, 9)


@pytest.mark.parametrize(
    "path", [p for p in CORPUS if "vmlinux.h" in p.read_text()], ids=lambda path: path.name
)
def test_precompiled_headers_give_the_code_that_plain_ones_give(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BPFNB_CACHE", str(_shared_without_objects(tmp_path)))
    source = Source(path.read_text(), path.stem, directory=path.parent)
    headers = find_headers(KERNEL_BTF)
    assert may_use_precompiled(source, headers)
    fast = read_sections(compile(source, count_drops=False).data)
    monkeypatch.setattr(build_module, "may_use_precompiled", lambda *_: False)
    shutil.rmtree(tmp_path / "cache/objects")
    plain = read_sections(compile(source, count_drops=False).data)
    code = [
        name for name in plain if not name.startswith((".debug", ".rel", ".BTF", ".llvm", ".str", ".sym"))
    ]
    assert {name: fast[name].data for name in code} == {name: plain[name].data for name in code}
    assert sum(len(plain[name].data) for name in code) > 0


def _shared_without_objects(tmp_path: Path) -> Path:
    """A cache of its own with the usual one's kernel headers and precompiled headers, which are slow to make."""
    usual, own = cache_dir(), tmp_path / "cache"
    own.mkdir()
    for name in ("kernels", "pch"):
        (usual / name).mkdir(exist_ok=True)
        (own / name).symlink_to(usual / name)
    return own


# When the precompiled header may be used


@pytest.mark.parametrize(
    ("text", "defines", "flags", "may"),
    [
        (TINY, (), (), True),
        ('#include "vmlinux.h"\n', (), (), True),
        ("// #define X\n/* #include <a.h> */\n#include <vmlinux.h>\n", (), ("-Wall",), True),
        ('#include "vmlinux.h"\n', ("DEBUG_BPFNB=1",), (), True),
        ('#define BPF_NO_PRESERVE_ACCESS_INDEX\n#include "vmlinux.h"\n', (), (), False),
        ('#include <linux/bpf.h>\n#include "vmlinux.h"\n', (), (), False),
        ("#include <linux/bpf.h>\n", (), (), False),
        (TINY, ("BPF_NO_PRESERVE_ACCESS_INDEX",), (), False),
        (TINY, ("task_struct=other",), (), False),
        (TINY, (), ("-fno-builtin",), False),
    ],
)
def test_precompiled_only_where_the_headers_mean_the_same(
    text: str, defines: tuple[str, ...], flags: tuple[str, ...], may: bool
) -> None:
    source = Source(text, defines=defines, flags=flags)
    assert may_use_precompiled(source, find_headers(KERNEL_BTF)) is may


def test_a_vmlinux_h_of_the_users_own_is_used(tmp_path: Path) -> None:
    (tmp_path / "vmlinux.h").write_text(
        "typedef unsigned u32; typedef unsigned long long u64; enum { MINE = 5 };\n"
    )
    text = '#include "vmlinux.h"\nint mine = MINE;\n'
    assert compile(Source(text, directory=tmp_path)).programs == ()


def test_a_damaged_precompiled_header_is_made_anew(empty_cache: Path) -> None:
    first = compile(Source(TINY))
    (pch,) = (empty_cache / "pch").glob("*.pch")
    pch.write_bytes(b"not a precompiled header")
    shutil.rmtree(empty_cache / "objects")
    assert compile(Source(TINY)).data == first.data
    assert not pch.exists() or pch.stat().st_size > 1_000_000
    compile(Source(TINY + "// again"))
    assert pch.stat().st_size > 1_000_000


# The cache


def test_an_unchanged_cell_costs_under_two_milliseconds() -> None:
    source = Source((CORPUS[0].parent / "reserve.bpf.c").read_text(), "fast")
    first = compile(source)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        again = compile(source)
        times.append(time.perf_counter() - start)
    assert again.cached
    assert (again.data, again.key, again.compiler, again.programs) == (
        first.data, first.key, first.compiler, first.programs,
    )  # fmt: skip
    assert min(times) < 0.002


@pytest.mark.parametrize(
    "change",
    [
        {"text": TINY + "\n"},
        {"name": "other"},
        {"defines": ("X",)},
        {"flags": ("-Wall",)},
        {"include_dirs": (Path("/x"),)},
    ],
)
def test_whatever_the_object_is_made_from_is_part_of_its_key(change: dict[str, object]) -> None:
    first = compile(Source(TINY))
    other = compile(Source(**({"text": TINY} | change)))  # type: ignore[arg-type]
    assert other.key != first.key
    assert compile(Source(TINY), cpu="v2").key != first.key
    assert compile(Source(TINY), count_drops=False).key != first.key


def test_a_changed_local_header_is_noticed(tmp_path: Path) -> None:
    header = tmp_path / "n.h"
    text = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include "n.h"\nSEC("xdp") int f(void *ctx) { return N; }\n'
    source = Source(text, directory=tmp_path)
    header.write_text("#define N 3\n")
    first = compile(source)
    assert compile(source).cached
    header.write_text("#define N 4\n")
    second = compile(source)
    assert not second.cached
    assert read_sections(second.data)["xdp"].data != read_sections(first.data)["xdp"].data
    header.unlink()
    with pytest.raises(CompileError):
        compile(source)


def test_reading_what_is_const_is_no_reason_to_warn() -> None:
    read = "const struct sock *s = 0; return BPF_CORE_READ(s, __sk_common.skc_state);"
    elf = compile(Source(f'SEC("raw_tp/sys_enter") int f(void *c) {{ {read} }}'))
    assert elf.warnings == ()


def test_warnings_come_back_from_the_cache() -> None:
    source = Source("int f(void *ctx) { return 0; }\n", "nosec")
    first, second = compile(source), compile(source)
    assert second.cached
    assert second.warnings == first.warnings != ()


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_damaged_entries_are_ignored(
    damage: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = _shared_without_objects(tmp_path)
    monkeypatch.setenv("BPFNB_CACHE", str(own))
    first = compile(Source(TINY))
    (entry,) = (own / "objects").iterdir()
    content = entry.read_bytes()
    entry.write_bytes(content[:-7] + b"damaged" if damage is None else damage)
    second = compile(Source(TINY))
    assert not second.cached
    assert second.data == first.data
    assert compile(Source(TINY)).cached


def test_the_cache_is_bounded_and_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = _shared_without_objects(tmp_path)
    monkeypatch.setenv("BPFNB_CACHE", str(own))
    sources = [Source(TINY + f"// {i}") for i in range(4)]
    first = compile(sources[0])
    entry = own / "objects" / first.key
    monkeypatch.setattr("bpfnb.compile.cache.MAX_BYTES", entry.stat().st_size * 2 + 100)
    for age, source in enumerate(sources[1:]):
        if entry.exists():
            os.utime(entry, ns=(0, 0))
        compile(source)
        assert len(list((own / "objects").iterdir())) <= 2, age
    assert not compile(sources[0]).cached
    assert compile(sources[3]).cached


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("BPFNB_CACHE", str(blocked / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert compile(Source(TINY)).programs == (("f", "raw_tp/sys_enter"),)


def test_a_cache_that_another_user_could_write_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr("bpfnb.compile.cache._home", lambda: own)
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    monkeypatch.setenv("BPFNB_CACHE", str(theirs / "cache"))
    assert cache_dir() == theirs / "cache"
    theirs.chmod(0o777)
    _ours_alone.cache_clear()
    assert cache_dir() == own / ".cache/bpfnb"
    if os.geteuid() == 0:  # as under sudo -E
        theirs.chmod(0o755)
        os.chown(theirs, 65534, 65534)
        _ours_alone.cache_clear()
        assert cache_dir() == own / ".cache/bpfnb"


def test_cache_dir_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "a"))
    assert cache_dir() == tmp_path / "a"
    monkeypatch.delenv("BPFNB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_dir() == tmp_path / "b/bpfnb"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "c"))
    assert cache_dir() == tmp_path / "c/.cache/bpfnb"


def test_processes_that_start_together_with_an_empty_cache_do_not_disturb_each_other(
    empty_cache: Path,
) -> None:
    script = (
        "from bpfnb.compile import Source, compile; import hashlib;"
        f"print(hashlib.sha256(compile(Source({TINY!r})).data).hexdigest())"
    )
    env = os.environ | {"BPFNB_CACHE": str(empty_cache)}
    running = [
        subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    results = {process.communicate(timeout=100)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(results) == 1
    assert not list(empty_cache.rglob("*.tmp"))


# clang and the kernel's types


def test_vmlinux_h_defines_what_bpftool_defines() -> None:
    bpftool = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin")
    if not bpftool:
        pytest.skip("bpftool is not installed")
    command = [bpftool, "btf", "dump", "file", str(KERNEL_BTF), "format", "c"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours = vmlinux_h().read_text()
    assert _definitions(ours) == _definitions(theirs)
    assert ours.splitlines()[:6] == theirs.splitlines()[:6]
    assert "typedef void __restorefn_t(void);" in ours
    assert vmlinux_h().parent.name == btf_hash()[:32]


def _definitions(text: str) -> dict[str, int]:
    """Every line that defines something, and how often: types with their members, typedefs, enumerators."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        # Newer dumpers keep an enum's mode(byte), and some write kfunc prototypes, which are no types.
        line = re.sub(r" __attribute__\(\(mode\(\w+\)\)\)", "", line)
        if line.strip() and not line.startswith(("extern ", "#")):
            counts[line] = counts.get(line, 0) + 1
    return counts


def test_a_kernel_without_types_says_so(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="types cannot be read") as caught:
        compile(Source(TINY), kernel_btf=tmp_path / "vmlinux")
    assert "CONFIG_DEBUG_INFO_BTF=y" in caught.value.hints[0]


def test_types_come_from_the_kernel_that_is_named(tmp_path: Path, empty_cache: Path) -> None:
    small = compile(
        Source("struct only_here { int x; }; typedef struct only_here t; t variable;\n", flags=("-DX",))
    )
    other = tmp_path / "other.btf"
    other.write_bytes(read_sections(small.data)[".BTF"].data)
    text = '#include "vmlinux.h"\nstruct only_here y;\n'
    assert compile(Source(text), kernel_btf=other).data
    assert "struct only_here" in vmlinux_h(other).read_text()
    with pytest.raises(CompileError):
        compile(Source(text))


def test_clang_is_found_once_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    clang = find_clang()
    assert clang.version >= (14,)
    assert clang.description == f"clang {'.'.join(map(str, clang.version))} ({clang.origin})"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("clang was asked again"))
    assert find_clang() == clang


def _fake(folder: Path, name: str, version: str, bpf: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f'#!/bin/sh\ncase "$1" in --version) echo "Some clang version {version} (x)";; *) exit {int(not bpf)};; esac\n'
    )
    path.chmod(0o755)
    return path


def test_the_newest_clang_with_the_bpf_target_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.delenv("BPFNB_CLANG", raising=False)
    first, second = tmp_path / "1", tmp_path / "2"
    _fake(first, "clang", "15.0.7")
    _fake(second, "clang-17", "17.0.6")
    _fake(second, "clang-99", "99.1.0", bpf=False)
    _fake(second, "clang-format-98", "98.0.0")
    monkeypatch.setenv("PATH", f"{first}:{second}:/bin:/usr/bin-none")
    assert find_clang() == Clang(second / "clang-17", (), (17, 0, 6), "PATH")
    _fake(second, "clang-18", "18.1.8")
    assert find_clang().version == (18, 1, 8)


def test_an_old_clang_gives_way_to_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.delenv("BPFNB_CLANG", raising=False)
    _fake(tmp_path / "bin", "clang-14", "14.0.6")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    assert find_clang().origin == "ziglang"
    monkeypatch.setattr("bpfnb.compile.clang._wheel_folders", lambda search: ())
    assert find_clang().version == (14, 0, 6)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency) as caught:
        find_clang()
    assert caught.value.hints[0].startswith("pip install ziglang")


def test_the_environment_names_a_clang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.setenv("BPFNB_CLANG", str(_fake(tmp_path, "mine", "20.1.0")))
    assert find_clang() == Clang(tmp_path / "mine", (), (20, 1, 0), "BPFNB_CLANG")
    monkeypatch.setenv("BPFNB_CLANG", "/nonexistent/clang")
    with pytest.raises(MissingDependency, match="/nonexistent/clang"):
        find_clang()


@pytest.mark.parametrize("path", [CORPUS[0], *[p for p in CORPUS if p.name in ("notebook.bpf.c", "macros.bpf.c", "scalar.bpf.c")]], ids=lambda p: p.name)  # fmt: skip
def test_the_wheel_and_the_systems_clang_agree_on_events_and_counters(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ziglang = pytest.importorskip("ziglang")
    source = Source(path.read_text(), "agree")
    usual = compile(source)
    monkeypatch.setenv("BPFNB_CLANG", str(Path(ziglang.__file__).parent / "zig"))
    other = compile(source)
    assert other.compiler.endswith("(BPFNB_CLANG)")
    names = [
        {n: {(e.name, e.size) for e in records} for n, records in elf.events.items()}
        for elf in (usual, other)
    ]
    assert names[0] == names[1]
    assert {n: len(c) for n, c in usual.counters.items()} == {n: len(c) for n, c in other.counters.items()}
    assert usual.programs == other.programs


def test_the_precompiled_header_is_made_once_for_each_set_of_options(empty_cache: Path) -> None:
    clang, headers = find_clang(), find_headers(KERNEL_BTF)
    first = precompiled(clang, headers, base_flags(clang, "v3", ()))
    assert first is not None
    made = first.stat().st_mtime_ns, first.stat().st_ino
    assert precompiled(clang, headers, base_flags(clang, "v3", ("X",))) == first
    assert first.stat().st_ino == made[1]
    assert precompiled(clang, headers, base_flags(clang, "v2", ())) != first


# Dialects


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BPF_HASH(counts, u32);\nint f(void *ctx) { return 0; }", "bcc"),
        ("#include <uapi/linux/ptrace.h>\nint f(struct pt_regs *ctx) { return 0; }", "bcc"),
        ("TRACEPOINT_PROBE(random, urandom_read) { return 0; }", "bcc"),
        (
            "int f(struct pt_regs *ctx) { struct d x = {}; events.perf_submit(ctx, &x, sizeof(x)); return 0; }",
            "bcc",
        ),
        (TINY, "libbpf"),
        ("// BPF_HASH(counts, u32);\n" + TINY, "libbpf"),
        ("#define BPF_HASH(n, k) int n\nBPF_HASH(x, y);\n" + TINY, "libbpf"),
        ("int x;", "libbpf"),
    ],
)
def test_dialects_are_told_apart(text: str, expected: str) -> None:
    assert dialect(text) == expected


def test_bccs_dialect_is_refused_with_a_reason() -> None:
    with pytest.raises(CompileError, match="bcc's dialect"):
        compile(Source("BPF_HASH(counts, u32);\nint f(void *ctx) { return 0; }"))


def test_comments_and_strings_do_not_hide_or_imitate_directives() -> None:
    source = Source(
        '/* #include <a.h> */ // #include <b.h>\n#include /* x */ "c.h"\n  # include <d.h> // e\n'
        'char s[] = "/* ";\n#include "f.h"\nchar t[] = "*/";\n#define Q \\\n  "r"\n'
    )
    assert source.includes == ("c.h", "d.h", "f.h")
    assert source.directives[-1] == ("define", 'Q    "r"')
    assert source.code.count("\n") == source.text.count("\n")
