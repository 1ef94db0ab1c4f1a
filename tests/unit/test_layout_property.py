"""Any struct that clang can lay out decodes to what the compiler itself says is there.

Random structs are rendered as C and compiled for BPF. The oracle never looks at BTF: offsets and sizes come from
``__builtin_offsetof`` and ``sizeof``, the bits of bit fields from constants with all bits of one field set, and the
values from Python's own ``int.from_bytes`` and ``struct``.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfnb.btf import Btf
from bpfnb.btf_elf import read_sections
from bpfnb.compile import find_clang
from bpfnb.frames.layout import Layout

INTEGERS = {  # C name -> (size, signed)
    "signed char": (1, True), "unsigned char": (1, False), "short": (2, True), "unsigned short": (2, False),
    "int": (4, True), "unsigned int": (4, False), "long": (8, True), "unsigned long": (8, False),
    "long long": (8, True), "unsigned long long": (8, False), "char": (1, True), "u32_t": (4, False),
    "const volatile s64_t": (8, True), "const u8_t": (1, False),
}  # fmt: skip
FLOATS = {"float": "f", "double": "d"}
ENUMS = {  # C name -> (size, signed)
    "enum few": (4, False), "enum signs": (4, True), "enum wide": (8, False), "enum wide_signs": (8, True),
    "enum tiny": (1, False),
}  # fmt: skip
PRELUDE = """
enum few { FEW_A, FEW_B = 3, FEW_C = 4000000000u };
enum signs { SIGN_A = -3, SIGN_B, SIGN_C = 9 };
enum wide { WIDE_A = 1, WIDE_B = 1ull << 63 };
enum wide_signs { WIDER_A = -1ll << 40, WIDER_B = 1ll << 40 };
enum __attribute__((packed)) tiny { TINY_A, TINY_B = 200 };
typedef unsigned int u32_t;
typedef long long s64_t;
typedef unsigned char u8_t;
"""


@dataclass(frozen=True)
class Scalar:
    c: str


@dataclass(frozen=True, repr=False)
class Group:
    """A struct or union without a tag."""

    keyword: str
    members: tuple[Member, ...]
    attributes: str

    @property
    def c(self) -> str:
        body = " ".join(member.c for member in self.members)
        return f"{self.keyword} {{ {body} }} {self.attributes}"

    def __repr__(self) -> str:
        return self.c


@dataclass(frozen=True)
class Member:
    """A field; without a name an anonymous struct or union, or padding."""

    name: str
    type: Scalar | Group
    dims: tuple[int, ...] = ()
    bits: int | None = None
    aligned: int = 0

    @property
    def c(self) -> str:
        dims = "".join(f"[{n}]" for n in self.dims)
        bits = "" if self.bits is None else f" : {self.bits}"
        aligned = f" __attribute__((aligned({self.aligned})))" if self.aligned else ""
        return f"{self.type.c} {self.name}{dims}{bits}{aligned};"


# Generating structs, by hand rather than with st.builds, whose reports grow exponentially with the nesting.

PLAIN = [*INTEGERS, *FLOATS, *ENUMS, "_Bool", "void *", "__int128"]
BIT_FIELDS = [*(name for name in INTEGERS if "volatile" not in name), *ENUMS, "_Bool"]
ATTRIBUTES = ["", "", "__attribute__((packed))", "__attribute__((aligned(16)))"]
ALIGNMENTS = [0, 0, 0, 2, 8, 32]
DIMS = [(1,), (2,), (3,), (2, 3), (2, 2, 2), (16,), (2, 16), (64,), (65,), (8, 8), (5, 14), (70, 2)]
GROUP_DIMS = [(), (), (2,), (3,), (2, 2)]
MOST_COLUMNS = 100


@st.composite
def structs(draw: st.DrawFn) -> Group:
    return draw_group(draw, 2, (f"m{i}" for i in count()))


def draw_group(draw: st.DrawFn, depth: int, names: Iterator[str]) -> Group:
    keyword = draw(st.sampled_from(["struct", "struct", "union"]))
    members = [draw_member(draw, depth, names) for _ in range(draw(st.integers(1, 5)))]
    if not any(member.name or isinstance(member.type, Group) for member in members):
        members.append(Member(next(names), Scalar("int")))  # C wants one that has a name
    return Group(keyword, tuple(members), draw(st.sampled_from(ATTRIBUTES)))


def draw_member(draw: st.DrawFn, depth: int, names: Iterator[str]) -> Member:
    def pick(values: list[Any]) -> Any:
        return draw(st.sampled_from(values))

    match pick(["scalar", "bits", "bits", "array"] + (["nested", "anonymous"] if depth else [])):
        case "scalar":
            return Member(next(names), Scalar(pick(PLAIN)), aligned=pick(ALIGNMENTS))
        case "array":
            return Member(next(names), Scalar(pick(PLAIN)), pick(DIMS), aligned=pick(ALIGNMENTS))
        case "bits":
            base = pick(BIT_FIELDS)
            width = draw(st.integers(0, 1 if base == "_Bool" else 8 * {**INTEGERS, **ENUMS}[base][0]))
            padding = not width or draw(st.integers(0, 9)) == 9
            return Member("" if padding else next(names), Scalar(base), bits=width)
        case "anonymous":
            return Member("", draw_group(draw, depth - 1, names))
    inner, dims = draw_group(draw, depth - 1, names), pick(GROUP_DIMS)
    return Member(next(names), inner, dims if prod(dims) * most_columns(inner) <= MOST_COLUMNS else ())


def most_columns(group: Group) -> int:
    return sum(
        most_columns(m.type) * prod(m.dims) + 1 if isinstance(m.type, Group) else min(64, prod(m.dims))
        for m in group.members
    )


# What the compiler says.


@dataclass
class Oracle:
    """Asks the compiler for constants: collects questions first, then answers from the object's .rodata."""

    questions: list[str] = field(default_factory=list)
    masks: list[tuple[str, str]] = field(default_factory=list)  # outer struct, path
    answered: bool = False
    numbers: list[int] = field(default_factory=list)
    patterns: list[bytes] = field(default_factory=list)

    def number(self, expression: str) -> int:
        if self.answered:
            return self.numbers.pop(0)
        self.questions.append(expression)
        return 0

    def pattern(self, struct_name: str, path: str) -> bytes:
        if self.answered:
            return self.patterns.pop(0)
        self.masks.append((struct_name, path))
        return b"\1"


@dataclass(frozen=True)
class Leaf:
    """An expected column: its values by the compiler's offset, size and the C type's own meaning."""

    name: str
    kind: str
    offset: int
    size: int
    c: str = ""
    mask: int = 0
    shape: tuple[int, ...] = ()

    def value(self, row: bytes) -> Any:
        raw = row[self.offset : self.offset + self.size]
        match self.kind:
            case "bits":
                return bits_value(self.c, row, self.mask)
            case "text":
                return raw.split(b"\0")[0].decode(errors="replace")
            case "bytes" | "union":
                return raw
            case "list":
                width = self.size // prod(self.shape)
                flat = [scalar_value(self.c, raw[i : i + width]) for i in range(0, self.size, width)]
                return nest(flat, self.shape)
        return scalar_value(self.c, raw)


def signed(c: str) -> bool:
    return {**INTEGERS, **ENUMS}.get(c, (0, False))[1]


def scalar_value(c: str, raw: bytes) -> Any:
    if c == "_Bool":
        return any(raw)
    if c in FLOATS:
        return struct.unpack(FLOATS[c], raw)[0]
    return int.from_bytes(raw, "little", signed=signed(c))


def bits_value(c: str, row: bytes, mask: int) -> int | bool:
    shift = (mask & -mask).bit_length() - 1
    width = mask.bit_count()
    value = (int.from_bytes(row, "little") & mask) >> shift
    if c == "_Bool":
        return bool(value)
    return value - (1 << width) if signed(c) and value >> (width - 1) else value


def nest(flat: list[Any], shape: tuple[int, ...]) -> list[Any]:
    if len(shape) == 1:
        return flat
    step = len(flat) // shape[0]
    return [nest(flat[i : i + step], shape[1:]) for i in range(0, len(flat), step)]


def expected(oracle: Oracle, top: str, group: Group, c_path: str, path: str, own: bool = False) -> list[Leaf]:
    """The columns that a struct or union at *c_path* should have; *own* says that *path* is its own name."""
    if group.keyword == "struct":
        return [leaf for member in group.members for leaf in of_member(oracle, top, member, c_path, path)]
    shown = [m for m in group.members if m.name or isinstance(m.type, Group)]
    widths = [
        m.bits or 8 * oracle.number(f"sizeof({m.type.c}{''.join(f'[{n}]' for n in m.dims)})") for m in shown
    ]
    columns = [of_member(oracle, top, m, c_path, path) for m in shown]
    inner = columns[widths.index(max(widths))]
    if not own:
        return inner
    offset = oracle.number(f"__builtin_offsetof(struct {top}, {c_path})")
    size = oracle.number(f"sizeof(((struct {top} *)0)->{c_path})")
    same = len(inner) == 1 and (inner[0].kind, inner[0].size) == ("bytes", size)
    return inner if same else [*inner, Leaf(path, "union", offset, size)]


def of_member(oracle: Oracle, top: str, member: Member, c_path: str, path: str) -> list[Leaf]:
    if not member.name:
        if isinstance(member.type, Group):
            return expected(oracle, top, member.type, c_path, path)
        return []
    here = f"{c_path}.{member.name}" if c_path else member.name
    name = f"{path}.{member.name}" if path else member.name
    if member.bits is not None:
        assert isinstance(member.type, Scalar)
        mask = int.from_bytes(oracle.pattern(top, here), "little")
        return [Leaf(name, "bits", 0, 0, member.type.c, mask)]
    return of_array(oracle, top, member.type, member.dims, here, name)


def of_array(
    oracle: Oracle, top: str, kind: Scalar | Group, dims: tuple[int, ...], here: str, name: str
) -> list[Leaf]:
    if isinstance(kind, Group):
        if not dims:
            return expected(oracle, top, kind, here, name, own=True)
        return [
            leaf
            for i in range(dims[0])
            for leaf in of_array(oracle, top, kind, dims[1:], f"{here}[{i}]", f"{name}.{i}")
        ]
    text, octets = kind.c == "char", kind.c in ("unsigned char", "const u8_t")
    units = dims[:-1] if text or octets else dims  # a char[N] is one value
    whole = bool(dims) and len(units) < len(dims)
    if units and prod(units) <= 64:
        return [
            leaf
            for i in range(dims[0])
            for leaf in of_array(oracle, top, kind, dims[1:], f"{here}[{i}]", f"{name}.{i}")
        ]
    offset = oracle.number(f"__builtin_offsetof(struct {top}, {here})")
    size = oracle.number(f"sizeof(((struct {top} *)0)->{here})")
    if units and (whole or kind.c == "__int128"):
        return [Leaf(name, "bytes", offset, size)]
    if units:
        return [Leaf(name, "list", offset, size, kind.c, shape=dims)]
    if kind.c == "__int128" or (whole and octets):
        return [Leaf(name, "bytes", offset, size)]
    return [Leaf(name, "text" if whole else "scalar", offset, size, kind.c)]


@dataclass(frozen=True)
class Compiled:
    layout: Layout
    size: int
    leaves: list[Leaf]


def compile_structs(groups: list[Group]) -> list[Compiled]:
    """Compiles all structs at once and asks the compiler about each."""
    oracle = Oracle()
    source = [PRELUDE]
    for i, group in enumerate(groups):
        body = " ".join(member.c for member in group.members)
        source.append(f"{group.keyword} s{i} {{ {body} }} {group.attributes};")
        source.append(
            f"struct w{i} {{ {group.keyword} s{i} w; }}; struct w{i} v{i};"
        )  # offsetof takes any path
        ask(oracle, i, group)
    for i, (owner, path) in enumerate(oracle.masks):
        source.append(f"const struct {owner} mask_{i} = {{ .{path} = -1 }};")
    source.append(f"const unsigned long long answers[] = {{ {', '.join(oracle.questions)} }};")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "structs.c").write_text("\n".join(source))
        flags = ["-target", "bpf", "-O1", "-g", "-w", "-c", "structs.c", "-o", "structs.o"]
        done = find_clang().run(flags, scratch)
        assert done.returncode == 0, done.stderr
        elf = (scratch / "structs.o").read_bytes()
    rodata = read_sections(elf)[".rodata"]
    oracle.numbers = list(
        struct.unpack_from(f"<{len(oracle.questions)}Q", rodata.data, rodata.symbols["answers"])
    )
    sizes = dict(zip(oracle.questions, oracle.numbers, strict=True))
    for i, (owner, _) in enumerate(oracle.masks):
        start = rodata.symbols[f"mask_{i}"]
        oracle.patterns.append(rodata.data[start : start + sizes[f"sizeof(struct {owner})"]])
    oracle.answered = True
    btf, compiled = Btf.from_elf(elf), []
    for i, group in enumerate(groups):
        size, leaves = ask(oracle, i, group)
        layout = Layout.of(btf, btf.find(f"s{i}", group.keyword).id)
        compiled.append(Compiled(layout, size, leaves))
    assert not oracle.numbers
    assert not oracle.patterns
    return compiled


def ask(oracle: Oracle, i: int, group: Group) -> tuple[int, list[Leaf]]:
    size = oracle.number(f"sizeof(struct w{i})")
    return size, expected(oracle, f"w{i}", group, "w", "")


def same(actual: Any, wanted: Any) -> bool:
    """Equality of values and of kind, with NaN equal to itself."""
    if isinstance(wanted, list):
        return len(actual) == len(wanted) and all(map(same, actual, wanted))
    if isinstance(wanted, bool):
        return actual is wanted
    if isinstance(wanted, float):
        return bool(actual == wanted) or (actual != actual and wanted != wanted)
    return bool(actual == wanted)


def as_python(column: Any) -> list[Any]:
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
    return values


def bool_in_union(group: Group, inside: bool = False) -> bool:
    inside = inside or group.keyword == "union"
    return any(
        bool_in_union(m.type, inside) if isinstance(m.type, Group) else inside and m.type.c == "_Bool"
        for m in group.members
    )


@settings(
    max_examples=120,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(structs(), min_size=1, max_size=8), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_columns_are_what_the_compiler_laid_out(groups: list[Group], seed: int, extra: int) -> None:
    random = np.random.default_rng(seed)
    for group, made in zip(groups, compile_structs(groups), strict=True):
        layout = made.layout
        assert layout.size == made.size
        columns = {column.name: column for column in layout.columns}
        assert len(columns) == len(layout.columns)
        wanted = [leaf.name for leaf in made.leaves]
        assert [name for name in columns if name in set(wanted)] == wanted
        others = [column for name, column in columns.items() if name not in set(wanted)]
        assert all(column.kind == "bytes" for column in others)  # whole unions without a name

        rows = random.integers(0, 256, (5, layout.size + extra), np.uint8)
        decoded = layout.decode(rows)
        compare(made, decoded, rows)
        again = layout.concat([layout.decode(rows[:2]), layout.decode(rows[2:])])
        compare(made, again, rows)
        cells = [rows[:, at : at + size].flatten() for at, size in layout.fields]
        compare(made, layout.assemble(cells), rows)
        assert len(layout.frame(decoded, hidden=True).columns) == len(columns)

        if not bool_in_union(group):  # there a bool's other bytes would be lost
            rows = random.integers(1, 128, (3, layout.size), np.uint8)  # text without NUL, in ASCII
            back = [layout.encode(layout.decode_one(row.tobytes())) for row in rows]
            again = layout.decode(np.frombuffer(b"".join(back), np.uint8).reshape(rows.shape))
            compare(made, again, rows, unions=False)  # their padding is not kept


def compare(made: Compiled, decoded: dict[str, Any], rows: np.ndarray, unions: bool = True) -> None:
    for leaf in made.leaves:
        if leaf.kind == "union" and not unions:
            continue
        column = decoded[leaf.name]
        actual, wanted = as_python(column), [leaf.value(row.tobytes()) for row in rows]
        assert same(actual, wanted), (leaf, made.layout.name, actual, wanted)
        if isinstance(column, np.ndarray):
            assert column.flags.c_contiguous
