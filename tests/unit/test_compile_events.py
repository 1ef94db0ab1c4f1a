"""Record types and drop counters, found in programs that know nothing of bpfnb."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bpfnb.btf import Composite
from bpfnb.btf_elf import read_sections
from bpfnb.compile import BpfElf, Counter, Event, Source, compile, find_clang
from bpfnb.compile.headers import INCLUDE, base_flags, find_headers
from bpfnb.compile.vmlinux import KERNEL_BTF

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.bpf.c"))


def _source(path: Path) -> Source:
    return Source(path.read_text(), path.name.removesuffix(".bpf.c"), directory=path.parent)


def _expected(text: str) -> tuple[set[tuple[str, str, int | None]], dict[str, tuple[str, int]]]:
    """The programs state in comments what is to be found in them."""
    events = {
        (name, type_, None if size == "varies" else int(size))
        for name, type_, size in re.findall(r"^// expect (\w+): (.+) (\d+|varies)$", text, re.M)
        if name != "counters"
    }
    counters = {
        name: (what, int(count))
        for name, what, count in re.findall(r"^// expect counters (\w+): (\w+) (\d+)$", text, re.M)
    }
    return events, counters


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_record_types_and_counters_are_those_the_program_states(path: Path) -> None:
    text = path.read_text()
    events, counters = _expected(text)
    elf = compile(_source(path))
    found = {(name, e.name or "unknown", e.size) for name, records in elf.events.items() for e in records}
    assert found == events
    assert {n: (c[0].what, len(c)) for n, c in elf.counters.items()} == counters
    offsets = [c.offset for n in elf.counters for c in elf.counters[n]]
    assert all(c.section == ".data.bpfnb" for n in elf.counters for c in elf.counters[n])
    assert all(offset % 8 == 0 for offset in offsets)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_types_are_complete_in_the_objects_own_btf(path: Path) -> None:
    elf = compile(_source(path))
    for event in (e for records in elf.events.values() for e in records if e.type_id):
        found = elf.btf.resolve(event.type_id)
        assert found.kind != "fwd"
        if isinstance(found, Composite):
            assert found.members
        if event.size is not None:
            assert elf.btf.size(event.type_id) == event.size


@pytest.mark.parametrize("path", [p for p in CORPUS if p.name in ("reserve.bpf.c", "perf_array.bpf.c", "perf_union.bpf.c", "stack_output.bpf.c", "subprogram.bpf.c", "value_type.bpf.c")], ids=lambda path: path.name)  # fmt: skip
def test_an_object_from_elsewhere_gives_the_same_names_and_sizes(path: Path, tmp_path: Path) -> None:
    events, _ = _expected(path.read_text())
    made = compile(_source(path))
    elf = BpfElf.from_file(_plain(path, tmp_path))
    assert {(name, e.name, e.size) for name, records in elf.events.items() for e in records} == events
    assert elf.counters == {}
    assert elf.programs == made.programs
    assert re.fullmatch(r"clang \d+\.\d+\.\d+", elf.compiler)


RING = 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");\n'
HASH = 'struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } h SEC(".maps");\n'  # fmt: skip


def _body(code: str, before: str = "") -> Source:
    return Source(
        f'{before}{RING}{HASH}SEC("raw_tp/sys_enter") int f(void *ctx) {{ {code} return 0; }}', "io"
    )


def test_a_call_inside_an_argument_of_another_is_counted_too() -> None:
    elf = compile(
        _body(
            "u32 k = 1; u64 v = 2;"
            "bpf_ringbuf_output(&rb, &v, bpf_map_update_elem(&h, &k, &v, 0) ? sizeof(v) : sizeof(v), 0);"
        )
    )
    assert [c.what for c in elf.counters["h"]] == ["full"]
    assert [c.what for c in elf.counters["rb"]] == ["lost"]


def test_counters_do_not_overlap() -> None:
    elf = compile(_body("u32 k = 1; u64 v = 2;" + "bpf_map_update_elem(&h, &k, &v, 0);" * 5))
    offsets = [c.offset for c in elf.counters["h"]]
    assert len(set(offsets)) == 5
    assert elf.counters["h"][0] == Counter(".data.bpfnb", offsets[0], "full")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_without_counting_the_code_is_clangs_own_and_the_types_are_still_known(
    path: Path, tmp_path: Path
) -> None:
    elf = compile(_source(path), count_drops=False)
    found = {(name, e.name or "unknown", e.size) for name, records in elf.events.items() for e in records}
    assert found == _expected(path.read_text())[0]
    assert elf.counters == {}
    plain = read_sections(_plain(path, tmp_path))
    ours = read_sections(elf.data)
    code = {section for _, section in elf.programs} | {".text"}
    assert {name: ours[name].data for name in code} == {name: plain[name].data for name in code}


def _plain(path: Path, folder: Path) -> bytes:
    """What clang makes of a program, without anything of bpfnb's but the search path."""
    clang, headers = find_clang(), find_headers(KERNEL_BTF)
    args = [*base_flags(clang, "v3", ()), *headers.flags]
    if "#include" not in path.read_text():
        args += ["-include", str(INCLUDE / "bpfnb/prelude.h")]
    done = clang.run([*args, "-c", str(path), "-o", "plain.o"], cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "plain.o").read_bytes()


@pytest.mark.parametrize(
    ("code", "before"),
    [
        # a size that begins with an operator cannot be told from a sizeof by the preprocessor
        ("u64 n = 8; u64 *p = &n; u64 v = 1; bpf_ringbuf_output(&rb, &v, *p & 8, 0);", ""),
        # all arguments in one macro
        ("u64 *e = bpf_ringbuf_reserve(ARGS); if (e) bpf_ringbuf_discard(e, 0);", "#define ARGS &rb, 8, 0\n"),
        # a program's own helper of that name
        (
            "return bpf_map_push_elem(3);",
            "#define bpf_map_push_elem(x) own(x)\nstatic int own(int x) { return x; }\n",
        ),
    ],
)
def test_what_compiles_without_counting_compiles_with_it(code: str, before: str) -> None:
    elf = compile(_body(code, before))
    assert elf.programs == (("f", "raw_tp/sys_enter"),)


def test_a_helper_taken_as_a_pointer_is_left_alone() -> None:
    code = "long (*update)(void *, const void *, const void *, __u64) = (void *)bpf_map_update_elem;"
    elf = compile(_body(code + "u32 k = 1; u64 v = 2; update(&h, &k, &v, 0);"))
    assert elf.counters == {}


def test_casts_tell_the_type_where_the_size_does_not() -> None:
    elf = compile(
        _body(
            "u64 n = 24; struct late *e; e = (struct late *)bpf_ringbuf_reserve(&rb, (24), 0);"
            "if (e) { e->a = n; bpf_ringbuf_submit(e, 0); }",
            "struct late { u64 a, b, c; };\n",
        )
    )
    (event,) = elf.events["rb"]
    assert event.name == "struct late"
    assert [m.name for m in elf.btf.resolve(event.type_id).members] == ["a", "b", "c"]  # type: ignore[attr-defined]


def test_two_structs_in_one_buffer_are_two_events() -> None:
    code = "struct p a = {}; struct q b = {}; bpf_ringbuf_output(&rb, &a, sizeof(a), 0); bpf_ringbuf_output(&rb, &b, sizeof(b), 0); bpf_ringbuf_output(&rb, &a, sizeof(a), 0);"  # fmt: skip
    elf = compile(_body(code, "struct p { u64 a; }; struct q { u32 a, b, c; };\n"))
    assert [(e.name, e.size) for e in elf.events["rb"]] == [("struct p", 8), ("struct q", 12)]


def test_an_array_and_a_prefix_are_what_sizeof_says() -> None:
    code = "struct p a[3] = {}; struct q b = {}; bpf_ringbuf_output(&rb, a, sizeof(a), 0); bpf_ringbuf_output(&rb, &b, sizeof(b.head), 0);"  # fmt: skip
    elf = compile(_body(code, "struct p { u64 a; }; struct q { struct p head; u32 rest[9]; };\n"))
    assert [(e.name, e.size) for e in elf.events["rb"]] == [("struct p[3]", 24), ("struct p", 8)]


def test_events_survive_the_cache() -> None:
    source = _body("u64 v = 1; bpf_ringbuf_output(&rb, &v, sizeof(v), 0);")
    first, second = compile(source), compile(source)
    assert second.cached
    assert second.events == first.events == {"rb": (Event(first.events["rb"][0].type_id, 8, "u64"),)}
    assert second.counters == first.counters
