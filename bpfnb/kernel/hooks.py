"""What a program of this kernel can attach to or call: tracepoints, functions, kfuncs, helpers, iterators and the rest.

Names come from tracefs, from the kernel's BTF and from libbpf's header of helpers, each read once a process and
system. How to attach to each is said by its section prefix, see :mod:`bpfnb.kernel.section_names`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfnb.btf import Btf
from bpfnb.btf_types import Composite, Enum, Func, FuncProto, Modifier, Pointer
from bpfnb.errors import BpfnbError, UnknownName, nearest
from bpfnb.kernel import system
from bpfnb.kernel.section_names import SECTIONS

__all__ = [
    "KINDS",
    "SECTIONS",
    "Field",
    "Helper",
    "Hook",
    "arguments",
    "find",
    "helper_number",
    "helpers",
    "iterators",
    "kfuncs",
    "lsm_hooks",
    "raw_arguments",
    "raw_tracepoints",
    "signature",
    "similar_tracepoints",
    "struct_ops",
    "tracepoint_format",
    "tracepoints",
]

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_FIELD = re.compile(
    r"\tfield:(?P<type>.*?)\s*(?P<name>\w+)(?P<array>\[.*?\])?;\toffset:(\d+);\tsize:(\d+);(?:\tsigned:(\d))?;"
)
_HELPER = re.compile(
    r"/\*\n \* (?P<name>bpf_\w+)\n(?P<doc>.*?)\*/\nstatic (?P<returns>[^\n]*?)\(\*(?: const )?\w+\)"
    r"\((?P<arguments>[^\n]*)\) = \(void \*\) ?(?P<number>\d+);",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a tracepoint's record: ``type`` as C has it, ``offset`` and ``size`` in bytes.

    A ``type`` that begins with ``__data_loc`` is a u32 whose low half is the offset of the data and whose high half
    is their length.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Helper:
    """A BPF helper: the number that programs call, its C prototype, and its documentation where libbpf has it."""

    name: str
    number: int
    prototype: str
    doc: str


@dataclass(frozen=True, slots=True)
class Hook:
    """Something that a program can attach to or call. ``kind`` is one of :data:`KINDS`."""

    kind: str
    name: str

    @property
    def detail(self) -> str:
        """A C signature, a tracepoint's fields, or a description, in one line."""
        return KINDS[self.kind][1](self.name)


def find(pattern: str) -> list[Hook]:
    """Hooks whose name matches *pattern*, by kind and name.

    ``*``, ``?`` and ``[...]`` match as in a shell; a pattern without any is searched for inside names. A kind before
    ``/`` or ``:`` (``tracepoint/sched*``, ``helper:*time*``, ``fentry/tcp_*``) leaves only that kind; tracepoints are
    named ``category:name``.
    """
    kinds, pattern = _split(pattern.strip())
    if not re.search(r"[*?[]", pattern):
        pattern = f"*{pattern}*"
    out = []
    for kind in kinds:
        names = KINDS[kind][0]()
        wanted = _regex(pattern.replace("/", ":") if kind == "tracepoint" else pattern)
        if kind == "tracepoint" and ":" not in pattern.replace("/", ":"):
            wanted = _regex(pattern, before=r"[^\n:]*:")
        # One search in the joined names: tens of thousands of calls of re.match would take longer.
        found = wanted.findall("\n".join(names) if len(names) < 1000 else _joined(kind))
        out += [Hook(kind, name) for name in sorted(found)]
    return out


_ALIASES = {
    "tp": "tracepoint",
    "raw_tp": "raw tracepoint",
    "raw_tracepoint": "raw tracepoint",
    "tp_btf": "raw tracepoint",
    "fentry": "function",
    "fexit": "function",
    "kprobe": "function",
    "kretprobe": "function",
    "func": "function",
    "iter": "iterator",
    "sec": "section",
}


def _split(pattern: str) -> tuple[list[str], str]:
    head, mark, rest = pattern.partition("/" if "/" in pattern.partition(":")[0] else ":")
    kind = _ALIASES.get(head.strip(), head.strip())
    if mark and kind in KINDS:
        return [kind], rest.strip() or "*"
    everywhere = [kind for kind in KINDS if kind != "raw tracepoint"]
    # Only tracepoints have a colon in their names.
    return (["tracepoint"] if ":" in pattern else everywhere), pattern


def _regex(pattern: str, before: str = "") -> re.Pattern[str]:
    parts = re.split(r"(\*|\?|\[[^\]]*\])", pattern)
    wild = {"*": r"[^\n]*", "?": r"[^\n]"}
    body = "".join(
        wild.get(part) or (part.replace("[!", "[^") if part.startswith("[") else re.escape(part))
        for part in parts
    )
    return re.compile(f"^{before}{body}$", re.MULTILINE)


@system.known_once
def _joined(kind: str) -> str:
    return "\n".join(KINDS[kind][0]())


def _type_names(kind: str, prefix: str) -> list[str]:
    """Names of the kernel's types without *prefix*; none where the kernel has no BTF."""
    try:
        names = Btf.kernel().names(kind)
    except BpfnbError:
        return []
    return sorted({name.removeprefix(prefix) for name in names if name.startswith(prefix) and name != prefix})


# Tracepoints.


@system.known_once
def _events() -> Path | None:
    places = map(system.path, _TRACEFS)
    return next((path / "events" for path in places if _readable(path / "available_events")), None)


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@system.known_once
def tracepoints() -> list[str]:
    """All tracepoints as ``category:name``, from tracefs; empty where it is not mounted or may not be read."""
    events = _events()
    return sorted((events.parent / "available_events").read_text().split()) if events else []


@system.known_once
def raw_tracepoints() -> list[str]:
    """Names for raw_tp and tp_btf sections, from the kernel's BTF (Linux 5.5)."""
    return _type_names("typedef", "btf_trace_")


@system.known_once
def tracepoint_format(category: str, name: str) -> tuple[Field, ...]:
    """The fields of a tracepoint's record, the common ones left out.

    From tracefs, or from BTF (``struct trace_event_raw_<class>``) where the class has the tracepoint's own name.
    Raises UnknownName, which names the nearest tracepoints.
    """
    events = _events()
    if events is not None:
        try:
            text = (events / category / name / "format").read_text()
        except OSError:
            wanted = f"{category}:{name}"
            hints = [f"Nearest: {near}." for near in nearest(wanted, tracepoints())]
            raise UnknownName(f"This kernel has no tracepoint {wanted}.", hints=hints) from None
        fields = []
        for found in _FIELD.finditer(text):
            kind = found["type"] + (found["array"] or "")
            fields.append(Field(found["name"], kind, int(found[4]), int(found[5]), found[6] == "1"))
        return tuple(field for field in fields if not field.name.startswith("common_"))
    return tuple(_fields_of(category, name))


def _fields_of(category: str, name: str) -> Iterator[Field]:
    struct = (
        f"trace_event_raw_{'sys_enter' if category == 'syscalls' and name.startswith('sys_enter') else name}"
    )
    btf = Btf.kernel()
    found = btf.get(struct, "struct")
    if not isinstance(found, Composite):
        raise UnknownName(
            f"The fields of tracepoint {category}:{name} cannot be read: tracefs is not mounted.",
            hints=["As root: mount -t tracefs nodev /sys/kernel/tracing"],
        )
    for member in found.members:
        if member.name and member.name not in ("ent", "__data"):
            kind = btf.describe(member.type)
            signed = bool(getattr(btf.resolve(member.type), "signed", False))
            yield Field(member.name, kind, member.bit_offset // 8, btf.size(member.type), signed)


def _tracepoint_detail(name: str) -> str:
    try:
        return ", ".join(
            _declared(field.type, field.name) for field in tracepoint_format(*name.split(":", 1))
        )
    except BpfnbError:
        return ""


@system.known_once
def _token_weights() -> dict[str, float]:
    counts = Counter(token for name in tracepoints() for token in set(re.split(r"[:_]", name)))
    return {token: math.log(1 + len(tracepoints()) / count) for token, count in counts.items()}


def similar_tracepoints(function: str, count: int = 3) -> list[str]:
    """The tracepoints that share the rarest words with the name of a kernel function, best first."""
    weights = _token_weights()
    words = {word for word in function.strip("_").split("_") if len(word) > 1 and word in weights}
    scored = []
    for name in tracepoints():
        if name.startswith("syscalls:"):
            continue
        tokens = set(re.split(r"[:_]", name))
        common = sum(weights[word] for word in words & tokens)
        same = 4 if name.startswith(function.strip("_").split("_")[0] + ":") else 0  # the same subsystem
        extra = sum(weights[word] for word in tokens - words)
        scored.append((common + same - extra / 10, common, name))
    scored.sort(key=lambda row: (-row[0], row[2]))
    # One common word such as "free" says nothing.
    return [name for _, common, name in scored[:count] if common > 6]


# Functions.


@system.known_once
def _functions() -> list[str]:
    return _type_names("func", "")


@system.known_once
def kfuncs() -> list[str]:
    """Kernel functions that programs may call, by their BTF tag ``bpf_kfunc`` (Linux 6.9)."""
    try:
        btf = Btf.kernel()
    except BpfnbError:
        return []
    tagged = (
        target for (target, component), tags in btf._tags.items() if component == -1 and "bpf_kfunc" in tags
    )
    return sorted({btf[target].name for target in tagged})


def lsm_hooks() -> list[str]:
    """Names for lsm sections (Linux 5.7)."""
    return _type_names("func", "bpf_lsm_")


@system.known_once
def iterators() -> list[str]:
    """Names for iter sections (Linux 5.8): those with a context, ``struct bpf_iter__<name>``."""
    return _type_names("struct", "bpf_iter__")


@system.known_once
def struct_ops() -> list[str]:
    """Kernel structures of callbacks that programs may implement (Linux 5.6)."""
    names = _type_names("struct", "bpf_struct_ops_")
    return [name for name in names if Btf.kernel().get(name, "struct") is not None]


def signature(function: str, prefix: str = "") -> str:
    """The C prototype of a kernel function, from BTF."""
    btf = Btf.kernel()
    found = btf.get(prefix + function, "func")
    proto = btf[found.proto] if isinstance(found, Func) else None
    if not isinstance(proto, FuncProto):
        return ""
    arguments = [_declared(btf.describe(kind), name) if kind else "..." for name, kind in proto.params]
    return f"{_declared(btf.describe(proto.returns), function)}({', '.join(arguments) or 'void'})"


def arguments(function: str) -> list[str]:
    """The names of what a kernel function takes, from BTF; none where there is no such function."""
    btf = Btf.kernel()
    found = btf.get(function, "func")
    proto = btf[found.proto] if isinstance(found, Func) else None
    return [name for name, _ in proto.params] if isinstance(proto, FuncProto) else []


def raw_arguments(tracepoint: str) -> int:
    """How many arguments a raw tracepoint has, from BTF; 0 where there is no such tracepoint."""
    btf = Btf.kernel()
    typedef = btf.get(f"btf_trace_{tracepoint}", "typedef")
    pointer = btf.resolve(typedef.target) if isinstance(typedef, Modifier) else None
    proto = btf.resolve(pointer.target) if isinstance(pointer, Pointer) else None
    return (
        len(proto.params) - 1 if isinstance(proto, FuncProto) else 0
    )  # the first is the program's own context


def _declared(kind: str, name: str) -> str:
    return f"{kind}{'' if kind.endswith('*') else ' '}{name}".rstrip()


def _iterator_detail(name: str) -> str:
    found = Btf.kernel().get(f"bpf_iter__{name}", "struct")
    if not isinstance(found, Composite):
        return ""
    members = Btf.kernel().get(f"bpf_iter_{name}", "func")
    return signature(name, "bpf_iter_") if members is not None else f"struct bpf_iter__{name}"


def _struct_ops_detail(name: str) -> str:
    found = Btf.kernel().get(name, "struct")
    return (
        ", ".join(member.name for member in found.members if member.name)
        if isinstance(found, Composite)
        else ""
    )


# Helpers.


@system.known_once
def _helpers() -> dict[str, Helper]:
    """Every helper of the kernel's own list, with libbpf's prototype and documentation where it has them."""
    documented = {}
    for folder in ("/usr/local/include", "/usr/include"):
        path = Path(folder, "bpf", "bpf_helper_defs.h")
        if path.is_file():
            for found in _HELPER.finditer(path.read_text()):
                prototype = f"{found['returns'].strip()} {found['name']}({found['arguments']})".replace(
                    "* bpf", "*bpf"
                )
                doc = re.sub(r"^ \*[ \t]?", "", found["doc"], flags=re.MULTILINE).strip()
                documented[found["name"]] = Helper(found["name"], int(found["number"]), prototype, doc)
            break
    try:
        numbers = Btf.kernel().get("bpf_func_id", "enum")
    except BpfnbError:
        numbers = None
    if not isinstance(numbers, Enum):
        return documented
    out = {}
    for constant, number in numbers.values:
        name = f"bpf_{constant.removeprefix('BPF_FUNC_')}"
        if constant.startswith("BPF_FUNC_") and number:
            out[name] = documented.get(name) or Helper(name, number, signature(name) or name, "")
    return out


def helpers() -> list[str]:
    """Names of the helpers that this kernel has. Which program types may call one: features.helper_programs."""
    return sorted(_helpers())


def helper(name: str) -> Helper:
    """Prototype, number and documentation of a helper. Raises UnknownName, which names the nearest."""
    try:
        return _helpers()[name]
    except KeyError:
        hints = [f"Nearest: {near}." for near in nearest(name, helpers())]
        raise UnknownName(f"This kernel has no helper {name}.", hints=hints) from None


def helper_number(name: str) -> int | None:
    found = _helpers().get(name)
    return found.number if found else None


KINDS: dict[str, tuple[Callable[[], list[str]], Callable[[str], str]]] = {
    "tracepoint": (tracepoints, _tracepoint_detail),
    "raw tracepoint": (raw_tracepoints, lambda name: signature(f"__bpf_trace_{name}")),
    "helper": (helpers, lambda name: helper(name).prototype),
    "kfunc": (kfuncs, signature),
    "iterator": (iterators, _iterator_detail),
    "lsm": (lsm_hooks, lambda name: signature(name, "bpf_lsm_")),
    "struct_ops": (struct_ops, _struct_ops_detail),
    "section": (lambda: list(SECTIONS), lambda name: SECTIONS[name]),
    "function": (_functions, signature),
}
"""Kinds of hooks: a function that lists their names, and one that describes one of them."""
