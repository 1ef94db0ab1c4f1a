"""Tracepoints as tables: their fields from tracefs, as C that reads them and as columns of a frame.

A field's record is where tracefs' ``format`` says, so that no struct of the kernel's is needed: a tracepoint of a
module, or one without a struct of its own name, is read as any other. Names of values come from the ``print fmt``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, UnknownName, nearest
from bpfnb.kernel import hooks
from bpfnb.tools.expression import Binary, Node, Number, Unary, parse
from bpfnb.tools.filter_c import Operand

__all__ = ["Event", "Names", "TraceField", "expand", "find_event"]

_NAMES = re.compile(
    r"__print_(?P<kind>symbolic|flags)\(\s*REC->(?P<field>\w+)(?: & (?P<mask>[^,\"]*))?,\s*"
    r"(?:\"(?P<mark>[^\"]*)\",\s*)?(?P<pairs>(?:\{[^{}]*\}(?:,\s*)?)+)\)(?:\s*:\s*\"(?P<none>[^\"]*)\")?"
)
_PAIR = re.compile(r"\{\s*(?P<number>[^,{}]+?)\s*,\s*\"(?P<name>[^\"]*)\"\s*\}")
_DECLARED = {  # arguments of system calls, all of which take 8 bytes in their records
    "int": "s32",
    "long": "s64",
    "loff_t": "s64",
    "off_t": "s64",
    "pid_t": "s32",
    "unsigned int": "u32",
    "uint32_t": "u32",
    "u32": "u32",
    "__u32": "u32",
    "umode_t": "u16",
    "uid_t": "u32",
    "gid_t": "u32",
    "unsigned": "u32",
}
_V4 = re.compile(r"(?:.*_)?[sd]addr|addr")
_PIECE = 64  # bytes of a dynamic array of anything but characters; as in trace.bpf.c


@dataclass(frozen=True)
class Names:
    """What the print format calls the values of a field: each value by itself, or bits that are joined by *mark*.

    Bits that *mask* leaves out are not named: where any of them is set, the name ends with ``+``.
    """

    of: Mapping[str, int]
    mark: str | None = None
    mask: int | None = None

    def column(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Numbers as a categorical of names; a value that has none as its digits."""
        codes, unique = pd.factorize(values)
        texts = [self.text(int(value)) for value in unique]
        categories = list(dict.fromkeys(texts))
        places = np.array([categories.index(text) for text in texts] + [-1])
        return pd.Series(pd.Categorical.from_codes(places[codes], pd.Index(categories)), index=values.index)

    def text(self, value: int) -> str:
        """One value."""
        if self.mask is not None and value & ~self.mask:
            return self.text(value & self.mask) + "+"
        by_value: dict[int, str] = {number: name for name, number in list(self.of.items())[::-1]}
        if self.mark is None or value in by_value:
            return by_value.get(value, str(value))
        found, left = [], value
        for number, name in by_value.items():
            if number and left & number == number:
                found.append(name)
                left &= ~number
        return self.mark.join([*found, *([hex(left)] if left or not found else [])])


@dataclass(frozen=True)
class TraceField:
    """One field of a tracepoint. ``kind`` is number, text, bytes, array, address or pointer."""

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    kind: str
    c: str
    """Its type in the row, as C; an array's element."""
    dynamic: str = ""
    """``__data_loc`` or ``__rel_loc`` where it stands behind the record, ``user`` where in the caller's memory."""
    names: Names | None = None

    def width(self, text: int) -> int:
        """Bytes in the row, where dynamic texts have *text*."""
        if self.dynamic:
            return text if self.kind == "text" else _PIECE
        return self.size

    def declaration(self, text: int) -> str:
        """The row's member."""
        if self.kind == "text":
            return f"char {self.name}[{self.width(text)}]"
        if self.kind == "bytes":
            return f"u8 {self.name}[{self.width(text)}]"
        if self.kind == "array":
            return f"{self.c} {self.name}[{self.size // _WIDTHS[self.c]}]"
        return f"{self.c}{self.name}" if self.c.endswith("*") else f"{self.c} {self.name}"

    def footprint(self, text: int) -> tuple[int, int]:
        """Size and alignment of the row's member."""
        if self.kind in ("text", "bytes"):
            return self.width(text), 1
        if self.kind == "address":
            return self.size, 4 if self.c == "ipv4_t" else 1
        one = {"bool": 1, "syscall_t": 4, "void *": 8}.get(self.c) or _WIDTHS[self.c]
        return (self.size if self.kind == "array" else one), one

    @property
    def value(self) -> str:
        """A number, straight from the record."""
        stored = f"{'s' if self.signed else 'u'}{8 * self.size}"
        loaded = f"*({stored} *)(ctx + {self.offset})"
        return loaded if self.c in (stored, "void *") else f"({self.c}){loaded}"

    def read(self, into: str, text: int) -> str:
        """The statement that puts it into *into*, a member or a variable that was declared as :meth:`declaration`."""
        if self.kind in ("number", "pointer") and self.loads:
            return f"{into} = {'(void *)' if self.kind == 'pointer' else ''}{self.value};"
        if self.dynamic == "user":
            return (
                f"if (bpf_probe_read_user_str({into}, {text}, (void *)*(u64 *)(ctx + {self.offset})) < 0)\n"
                f"\t\t__builtin_memcpy({into}, BPFNB_FAULT, sizeof(BPFNB_FAULT));"
            )
        place = f"ctx + {self.offset}"
        if self.dynamic:
            start = f"ctx + {self.offset + 4}" if self.dynamic == "__rel_loc" else "ctx"
            place = f"{start} + (u16)*(u32 *)(ctx + {self.offset})"
        if self.kind == "text":
            return f"bpf_probe_read_kernel_str({into}, {self.width(text)}, {place});"
        if self.dynamic:
            size = f"*(u32 *)(ctx + {self.offset}) >> 16"
            return f"bpfnb_bytes({into}, {size}, {place});"
        mark = "&" if self.kind in ("number", "pointer", "address") else ""
        return f"bpf_probe_read_kernel({mark}{into}, {self.size}, {place});"

    @property
    def loads(self) -> bool:
        """Whether the verifier lets it be loaded: it stands at a multiple of its size."""
        return self.size in (1, 2, 4, 8) and self.offset % self.size == 0

    def operand(self, text: int) -> Operand | None:
        """What it is in a filter, from a variable of its name where it is text; None for what cannot be compared."""
        if self.kind == "text":
            return Operand(f"f_{self.name}", self.width(text))
        if self.kind in ("number", "pointer") and self.loads:
            signed = self.c not in ("u64", "void *")  # smaller ones fit into 63 bits
            c = f"(({'s' if signed else 'u'}64){self.value})"
            return Operand(c, 0, signed, self.names.of if self.names else {})
        return None


_WIDTHS = {f"{sign}{8 * size}": size for sign in "su" for size in (1, 2, 4, 8)}


@dataclass(frozen=True)
class Event:
    """A tracepoint with its fields, the common ones left out."""

    category: str
    name: str
    fields: tuple[TraceField, ...]

    def __str__(self) -> str:
        return f"{self.category}:{self.name}"

    @property
    def identifier(self) -> str:
        """A name for it in C."""
        return re.sub(r"\W", "_", f"{self.category}__{self.name}")

    @cached_property
    def by_name(self) -> dict[str, TraceField]:
        return {field.name: field for field in self.fields}


def expand(patterns: Iterable[str]) -> list[str]:
    """The tracepoints that are meant, by name: ``sched:sched_switch``, ``sched_switch``, ``sched/sched_switch``, globs.

    Raises UnknownName with the nearest.
    """
    known = hooks.tracepoints()
    if not known:
        raise UnknownName(
            "tracepoints cannot be listed: tracefs is not mounted, or may not be read",
            hints=["as root: mount -t tracefs nodev /sys/kernel/tracing"],
        )
    found: list[str] = []
    for given in patterns:
        pattern = given.strip().removeprefix("tracepoint:").removeprefix("tp:").replace("/", ":")
        if re.search(r"[*?[]", pattern):
            fitting = [hook.name for hook in hooks.find(f"tracepoint/{pattern}")]
        else:
            fitting = [name for name in known if pattern in (name, name.partition(":")[2])]
        if not fitting:
            raise _unknown(known, pattern)
        if len(fitting) > 1 and "*" not in pattern and "?" not in pattern and "[" not in pattern:
            raise UnknownName(f"'{pattern}' is not one tracepoint", hints=[f"write {' or '.join(fitting)}"])
        found += fitting
    return list(dict.fromkeys(found))


def _unknown(known: list[str], wanted: str) -> UnknownName:
    if ":" in wanted:
        category = wanted.partition(":")[0]
        inside = [one for one in known if one.startswith(f"{category}:")]
        among = inside if inside and nearest(wanted, inside, 1) else known
        error = UnknownName.among(among, wanted, f"this kernel has no tracepoint '{wanted}'")
    else:
        short = {one.partition(":")[2]: one for one in known}
        close = [short[one] for one in nearest(wanted, list(short))] or hooks.similar_tracepoints(wanted)
        error = UnknownName(
            f"this kernel has no tracepoint '{wanted}'",
            hints=[f"did you mean {', '.join(close)}?"][: len(close)],
        )
    if len(" ".join(error.hints)) > 300:
        error.hints = ("bpfnb find 'sched:*' lists those of a category",)
    return error


def find_event(name: str) -> Event:
    """A tracepoint of this kernel by its whole name. Raises UnknownName."""
    category, _, short = name.partition(":")
    names = _names(category, short)
    fields = []
    for field in hooks.tracepoint_format(category, short):
        fields.append(_typed(category, field, names.get(field.name)))
    return Event(category, short, tuple(fields))


def _names(category: str, name: str) -> dict[str, Names]:
    """The values' names by field, from the print format."""
    events = hooks._events()
    text = (events / category / name / "format").read_text() if events else ""
    found: dict[str, Names] = {}
    for match in _NAMES.finditer(text.partition("print fmt:")[2]):
        pairs = {}
        for pair in _PAIR.finditer(match["pairs"]):
            number = _number(pair["number"])
            if number is not None:
                pairs[pair["name"]] = number
        if match["none"] is not None:
            pairs.setdefault(match["none"], 0)
        if pairs and match["field"] not in found:
            mask = _number(match["mask"]) if match["mask"] else None
            found[match["field"]] = Names(pairs, match["mark"] if match["kind"] == "flags" else None, mask)
    return found


def _number(text: str) -> int | None:
    """A constant of a print format: 4, 0x10UL, (1 << 3) | 1. Others are left to their digits."""
    try:
        return _value(parse(re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)))
    except (BadValue, LookupError):
        return None


def _value(node: Node) -> int:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Unary):
        return _SIGNS[node.sign](0, _value(node.of))
    if isinstance(node, Binary):
        return _SIGNS[node.sign](_value(node.left), _value(node.right))
    raise LookupError(node)


_SIGNS: dict[str, Callable[[int, int], int]] = {
    "|": operator.or_,
    "^": operator.xor,
    "&": operator.and_,
    "<<": lambda a, b: a << min(b, 63),
    ">>": operator.rshift,
    "+": operator.add,
    "-": operator.sub,
    "~": lambda _, value: ~value,
}


def _typed(category: str, field: hooks.Field, names: Names | None) -> TraceField:
    def made(kind: str, c: str = "", dynamic: str = "", *, signed: bool = field.signed) -> TraceField:
        return TraceField(field.name, field.type, field.offset, field.size, signed, kind, c, dynamic, names)

    where, _, rest = field.type.partition(" ")
    if where in ("__data_loc", "__rel_loc"):
        text = re.fullmatch(r"(?:const )?char ?\[\]", rest.strip()) is not None
        return made("text" if text else "bytes", dynamic=where)
    bracket = re.fullmatch(r"(.*?) ?\[(\d*)\w*\]", field.type)
    if bracket:
        return _array(field, made, bracket[1], bracket[2])
    if "*" in field.type and field.size == 8:
        if category == "syscalls" and re.fullmatch(r"(?:const )?char (?:__user )?\*", field.type):
            return made("text", dynamic="user")
        return made("pointer", "void *")
    if field.size not in (1, 2, 4, 8):
        return made("bytes")
    if field.type == "bool":
        return made("number", "bool")
    if category == "syscalls":
        if field.name == "__syscall_nr":
            return made("number", "syscall_t")
        declared = _DECLARED.get(
            field.type.removeprefix("const "), f"{'s' if field.signed else 'u'}{8 * field.size}"
        )
        return made("number", declared)
    return made("number", f"{'s' if field.signed else 'u'}{8 * field.size}")


def _array(field: hooks.Field, made: Callable[..., TraceField], base: str, count: str) -> TraceField:
    if base in ("char", "const char"):
        return made("text")
    if base in ("__u8", "u8", "unsigned char", "uint8_t"):
        if field.size == 4 and _V4.fullmatch(field.name):
            return made("address", "ipv4_t")
        if field.size == 16 and "addr" in field.name:
            return made("address", "ipv6_t")
        return made("bytes")
    width = field.size // int(count) if count.isdigit() and int(count) else 0
    if width in (2, 4, 8):
        return made("array", f"{'s' if field.signed else 'u'}{8 * width}")
    return made("bytes")
