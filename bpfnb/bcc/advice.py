"""What to do about the errors of bcc's compiler."""

from __future__ import annotations

import re
from difflib import get_close_matches

from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.missing import missing_section
from bpfnb.bcc.modules import installed_with
from bpfnb.bcc.programs import section_of
from bpfnb.bcc.scan import scan
from bpfnb.bcc.virtual import own_headers
from bpfnb.btf import fields
from bpfnb.compile.macros import LIBC
from bpfnb.compile.source import BCC_WORDS, Source
from bpfnb.errors import Diagnostic, KernelFeatureMissing, nearest

__all__ = ["advice", "global_variable"]

_WORD = re.compile(r"^[ \t]*([A-Z][A-Z0-9]*_[A-Z0-9_]+)\s*\(", re.M)
_INNER = re.compile(r"[\dX]$|^BPF_F_")  # of bcc's macros, what others are made of
_VARIABLE = re.compile(
    r"(?!typedef\b|const\b|(?:struct|union|enum)\s+\w+\s*;)(?:\w+\s+)+(\w+)(?:\[[^\]]*\])?\s*(?:=[^;(]*)?;"
)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)\(", re.M)

_INTO_PERF = "perf_submit() is a method of a BPF_PERF_OUTPUT(events)"
_INTO_RING = "ringbuf_output() and ringbuf_reserve() are methods of a BPF_RINGBUF_OUTPUT(events, PAGES)"
_INTO_STACKS = "get_stackid() is a method of a BPF_STACK_TRACE(stacks, SIZE)"
_METHODS = {
    "perf_submit": _INTO_PERF,
    "perf_submit_skb": _INTO_PERF,
    "ringbuf_output": _INTO_RING,
    "ringbuf_reserve": _INTO_RING,
    "ringbuf_submit": _INTO_RING,
    "get_stackid": _INTO_STACKS,
    "push": "push(), pop() and peek() are methods of a BPF_QUEUE or a BPF_STACK",
    "pop": "push(), pop() and peek() are methods of a BPF_QUEUE or a BPF_STACK",
    "call": "call() is a method of a BPF_PROG_ARRAY",
    "increment": "increment() is a method of hashes, arrays and histograms",
}
# What libbpf's dialect has and bcc's has not, in the advice on functions of the C library.
_OF_BCC = {
    "bpf_printk(fmt, ...)": 'bpf_trace_printk("format", ...)',
    "a ring buffer": "a BPF_PERF_OUTPUT",
}


def advice(error: Diagnostic, source: Source, kernel: Kernel | None) -> str | None:
    """What to do about one error; *kernel* is that whose types were compiled with, None for installed headers."""
    message = error.message
    line = error.where.line if error.where and error.where.file == source.name else 0
    if "stack limit" in message:
        return "keep large values in a map of one entry: BPF_PERCPU_ARRAY(scratch, struct name, 1)"
    if "signed division" in message:
        return "divide unsigned numbers: cast to u64 first, where the value is never negative"
    if misspelt := _misspelt(source):
        return misspelt
    if "did you mean" in message:
        return None
    if match := re.search(r"no member named '(\w+)' in 'struct \w+_table_t'", message):
        return _METHODS.get(match[1])
    if match := re.search(
        r"implicit declaration of function '(\w+)'|call to undeclared (?:library )?function '(\w+)'"
        r"|implicitly declaring library function '(\w+)'",
        message,
    ):
        return _call(match[1] or match[2] or match[3], kernel)
    if kernel is None:
        return None
    if match := re.search(r"use of undeclared identifier '(\w+)'", message):
        return (
            f"if {match[1]} is a macro of the kernel's headers, #define it here: the kernel's BTF has types, "
            "enumerators and no macros"
        )
    if match := re.search(r"no member named '(\w+)' in '((?:struct|union) \w+)'", message):
        kind, name = match[2].split()
        found = kernel.tag(kind, name)
        if found is None:
            return None
        known = [member.name for member in fields(*found)]
        close = nearest(match[1], known)
        near = f"; the nearest are {', '.join(close)}" if close else ""
        return f"{match[2]} of kernel {kernel.release} has no member {match[1]}{near}"
    if match := re.search(
        r"incomplete (?:definition of )?type '((?:struct|union|enum) \w+)'|has incomplete type '([^']+)'",
        message,
    ):
        tag = (match[1] or match[2]).removesuffix(" *").strip()
        words = tag.split()
        if len(words) == 2 and kernel.tag(*words) is None:
            return _below(tag, source, line) or _whereabouts(words[0], words[1], kernel)
    return None


def global_variable(source: Source) -> str | None:
    """The first variable outside all functions, for which libbpf's dialect makes a map, and bcc nothing."""
    code = scan(source.text).code
    depth = 0
    for line in code.split("\n"):
        if depth == 0 and (match := _VARIABLE.match(line)):
            return match[1]
        depth += line.count("{") - line.count("}")
    return None


def _misspelt(source: Source) -> str | None:
    """Where a line begins with a macro that neither bcc nor the program has: what bcc calls those like it."""
    text = scan(source.text)
    known = {name for header in own_headers().values() for name in _DEFINE.findall(header)}
    for match in _WORD.finditer(text.code):
        if match[1] not in known and match[1] not in text.defines:
            public = [
                name for name in sorted(known) if BCC_WORDS.match(f"{name}(") and not _INNER.search(name)
            ]
            if near := get_close_matches(match[1], public, cutoff=0.8):
                return f"bcc has no macro {match[1]}; the nearest are {', '.join(near)}"
    return None


def _call(name: str, kernel: Kernel | None) -> str | None:
    if name in LIBC:
        instead = LIBC[name]
        for theirs, ours in _OF_BCC.items():
            instead = instead.replace(theirs, ours)
        return f"there is no C library in the kernel: {instead}"
    if kernel is None:
        return None
    if kernel.btf.get(name, "func"):
        return f"{name}() is a function of the kernel, which BPF programs cannot call"
    return (
        f"if {name}() is an inline function or a macro of the kernel's headers, write its body here: "
        "the kernel's BTF has types and no code"
    )


def _below(tag: str, source: Source, line: int) -> str | None:
    """Where the program defines a type itself, and only after its use."""
    code = scan(source.text).code
    match = re.search(rf"\b{tag.replace(' ', chr(92) + 's+')}\s*\{{", code)
    if match is None:
        return None
    defined = code.count("\n", 0, match.start()) + 1
    return f"{tag} is defined in line {defined}: move that above line {line}" if defined > line else None


def _no_tracepoint(function: str) -> KernelFeatureMissing | None:
    section = section_of(function)
    return missing_section(section) if section else None


def _whereabouts(kind: str, name: str, kernel: Kernel) -> str:
    """What is known of a type that neither the kernel nor a module in reach has."""
    tag = f"{kind} {name}"
    if name.startswith("tracepoint__") and (missing := _no_tracepoint(name)):
        return " ".join([missing.message, *missing.hints[:1]])
    if kernel.reaching({(kind, name)}) is not kernel:
        return f"{tag} is a type of a module: bpfnb finds it where the program's own text names '{tag}'"
    if module := installed_with(kernel.release, name):
        unread = kernel.modules.unreadable.get(module) if kernel.modules else None
        if unread is not None:
            return f"{tag} is a type of module {module}, whose type information cannot be read: {unread}"
        return f"{tag} is a type of module {module}, which is not loaded: modprobe {module}"
    return f"kernel {kernel.release} has no {tag} (or only in a module that is not loaded)"
