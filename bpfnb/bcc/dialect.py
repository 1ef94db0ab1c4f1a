"""bcc's dialect: how a text in it is told from libbpf C, and what its functions and histograms are meant for.

Everything is read off the text before bcc compiles it, so that what this kernel lacks is said first. Comments and
the contents of strings do not count.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bpfnb.bcc.lines import functions_in
from bpfnb.bcc.programs import section_kind
from bpfnb.bcc.scan import scan
from bpfnb.compile.source import BCC_WORDS, dialect
from bpfnb.errors import BadValue, CompileError, Diagnostic, Location, UnknownName

__all__ = ["Function", "Histogram", "check_places", "functions", "histograms", "recognise"]

_SEC = re.compile(r"\bSEC\s*\(")
# What a function's definition begins with: a macro of bcc's, or its own name.
_MACROS = {
    "TRACEPOINT_PROBE": "tracepoint",
    "RAW_TRACEPOINT_PROBE": "raw_tracepoint",
    "KFUNC_PROBE": "kfunc",
    "KRETFUNC_PROBE": "kretfunc",
    "MODULE_KFUNC_PROBE": "kfunc",
    "MODULE_KRETFUNC_PROBE": "kretfunc",
    "KMOD_RET": "kmod_ret",
    "LSM_PROBE": "lsm",
    "BPF_ITER": "bpf_iter",
}
_ARGUMENTS = {"TRACEPOINT_PROBE": 2, "MODULE_KFUNC_PROBE": 2, "MODULE_KRETFUNC_PROBE": 2}
_HEAD = re.compile(r"\b(\w+)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*$")
_LOCAL = re.compile(r"\bstatic\b|\binline\b|\b__always_inline\b")
_NAMED = re.compile(
    r"^(?:kprobe|kretprobe|tracepoint|raw_tracepoint|kfunc|kretfunc|kmod_ret|lsm|bpf_iter)__\w"
)
_PT_REGS = re.compile(r"^\s*struct\s+pt_regs\s*\*")
_PRINTS = re.compile(r'\bbpf_trace_printk\s*\(\s*"|\bbpf_usdt_read\w+\s*\(')
_HISTOGRAM = re.compile(r"\bBPF_HISTOGRAM\s*\(\s*(\w+)")
_WORDS = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Function:
    """A function that a text defines: the ``name`` that bcc knows it by, and its 1-based ``line``.

    ``local``: static or inline, so never a program. bcc lets programs call no others.
    """

    name: str
    line: int
    arguments: str = ""
    local: bool = False


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a program counts into a BPF_HISTOGRAM: by powers of two or linearly, ``first`` the exponent of slot 0."""

    log2: bool
    first: int = 0


def recognise(text: str, attach: Collection[str] = (), *, name: str = "cell") -> str | None:
    """``"bcc"`` or ``"clang"`` (libbpf C), None where a text has the marks of neither.

    *attach* names the functions that were given places from outside, which only bcc's dialect needs. Raises
    CompileError for a text that mixes both: tables or probes of bcc's beside SEC().
    """
    code = scan(text).code
    if placed := _SEC.search(code):
        words = (m for m in BCC_WORDS.finditer(code) if m[0].rstrip("( \t\n") not in scan(text).defines)
        mixed = next(words, None)
        if mixed and all(one.startswith(_SYSTEM) for one in scan(text).includes):
            raise _mixed(text, code, mixed, placed, name)
        return "clang"
    if dialect(text) == "bcc" or attach or _PRINTS.search(code):
        return "bcc"
    found = functions(text).values()
    marks = any(_NAMED.match(one.name) or (_PT_REGS.match(one.arguments) and not one.local) for one in found)
    return "bcc" if marks else None


# Headers of the system's: what others define is not known here.
_SYSTEM = ("linux/", "uapi/", "asm/", "net/", "bpf/", "vmlinux", "bpfnb/", "std", "bcc/", "sys/")


def _mixed(text: str, code: str, mark: re.Match[str], placed: re.Match[str], name: str) -> CompileError:
    def place(at: int) -> Location:
        return Location(name, code.count("\n", 0, at) + 1, at - code.rfind("\n", 0, at))

    word = mark[0].strip(". \t\n(")
    ours, theirs = place(mark.start() + mark[0].index(word)), place(placed.start())
    return CompileError(
        f"the cell mixes two dialects: {word} is bcc's, SEC() is libbpf's",
        where=ours,
        source=text,
        diagnostics=[
            Diagnostic("error", "bcc's dialect", ours),
            Diagnostic("error", "libbpf's dialect", theirs),
        ],
        hints=[
            'in libbpf C tables are structs in SEC(".maps"), and a tracepoint is SEC("tracepoint/CATEGORY/NAME")',
            "in bcc's dialect a function's name or --attach FUNC=SECTION says where it is attached",
            "--engine bcc or --engine clang takes the cell for one of the two",
        ],
    )


@lru_cache(maxsize=64)
def functions(text: str) -> Mapping[str, Function]:
    """The functions that a text defines itself, by the names that bcc gives them, in order."""
    code = scan(text).code
    found: dict[str, Function] = {}
    for start, head, _ in functions_in(code):
        match = _HEAD.search(head)
        if match is None:
            continue
        name, arguments = match[1], match[2]
        if prefix := _MACROS.get(name):
            parts = [part.strip() for part in arguments.split(",")][: _ARGUMENTS.get(name, 1)]
            name = "__".join([prefix, *parts])
        line = code.count("\n", 0, start) + 1
        found[name] = Function(name, line, arguments, bool(_LOCAL.search(head[: match.start()])))
    return found


def check_places(text: str, places: Mapping[str, Sequence[str]]) -> None:
    """Whether each place that was asked for is one: a function of the text, and a section that libbpf knows.

    Raises UnknownName for a function, BadValue for a section, each with the nearest.
    """
    known = functions(text)
    for function, sections in places.items():
        if function not in known and "##" not in text:  # a macro may make names that cannot be read off
            own = [name for name, one in known.items() if not one.local]
            raise UnknownName.among(own, function, f"the program has no function '{function}'")
        if not sections:
            raise BadValue(f"'{function}' is given no section")
        for section in sections:
            section_kind(section)


def histograms(text: str) -> Mapping[str, Histogram]:
    """How each BPF_HISTOGRAM of a text is counted into.

    Slots are powers of two where bpf_log2l() or bpf_log2() makes them, in the increment itself or in what is assigned
    to the variable that it names; else they are the numbers themselves. bpf_log2l(v) is one more than the exponent of
    v's highest bit, bpf_log2(v) the exponent (bcc's helpers.h).
    """
    code = scan(text).code
    return {name: _counted(code, name) for name in _HISTOGRAM.findall(code)}


def _counted(code: str, name: str) -> Histogram:
    found: set[str] = set()
    for use in re.finditer(rf"\b{re.escape(name)}\s*\.\s*\w+\s*\(", code):
        argument = code[use.end() : code.find(";", use.end())]
        function = code[code.rfind("\n}", 0, use.start()) + 1 : use.start()]
        found |= set(re.findall(r"\bbpf_log2l?\b", argument))
        for word in set(_WORDS.findall(argument)):
            assigned = rf"\b{re.escape(word)}(?:\s*(?:\.|->)\s*\w+)*\s*=(?!=)([^;]*)"
            for value in re.findall(assigned, function):
                found |= set(re.findall(r"\bbpf_log2l?\b", value))
    if not found:
        return Histogram(log2=False)
    return Histogram(log2=True, first=-1 if "bpf_log2l" in found else 0)
