"""What to do about the compiler's most frequent complaints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from bpfnb.btf import Btf, Composite, Member
from bpfnb.compile.headers import Headers
from bpfnb.compile.macros import FUNCTION_LIKE, HEADER_OF, LIBC, MACROS
from bpfnb.compile.source import Source
from bpfnb.errors import BpfnbError, Diagnostic, nearest

__all__ = ["hints"]

_MOST = 4
_OWN_INCLUDES = (
    "a cell with an #include of its own is given no other: begin it with "
    '#include "vmlinux.h" and #include <bpf/bpf_helpers.h>, or #include <bpfnb/prelude.h>'
)


class _Context:
    """What a hint may look at."""

    def __init__(self, source: Source, headers: Headers) -> None:
        self.source = source
        self.headers = headers

    @property
    def has_types(self) -> bool:
        names = self.source.includes
        return not names or any(name in ("vmlinux.h", "bpfnb/prelude.h", "bpfnb/kernel.h") for name in names)

    @property
    def kernel(self) -> Btf | None:
        return _kernel(self.headers.kernel_btf)

    @property
    def helpers(self) -> frozenset[str]:
        return _helpers(self.headers.libbpf)


def hints(errors: Sequence[Diagnostic], source: Source, headers: Headers) -> tuple[str, ...]:
    """What to do next about *errors*, in their order, each hint once."""
    context = _Context(source, headers)
    found: dict[str, None] = {}
    for error in errors:
        for pattern, advise in _RULES:
            if (match := pattern.search(error.message)) and (advice := advise(match, context)):
                found[advice] = None
                break
    return tuple(found)[:_MOST]


def _identifier(match: re.Match[str], context: _Context) -> str:
    name = match["name"]
    if name in MACROS:
        return f"{name} is a macro of the kernel, and BTF holds no macros; add: #define {name} {MACROS[name]}"
    if name in HEADER_OF and HEADER_OF[name] not in context.source.includes and context.source.includes:
        return f"{name} comes from #include <{HEADER_OF[name]}>"
    if not context.has_types:
        return _OWN_INCLUDES
    if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", name) and (
        near := _near(name, _enumerators(context.headers.vmlinux))
    ):
        return f"the kernel has {_either(near)}"
    if re.fullmatch(r"[A-Z][A-Z0-9_]{2,}", name):
        return f"if {name} is a macro of the kernel: BTF holds types, enumerators and functions, no macros; #define it"
    return ""


def _call(match: re.Match[str], context: _Context) -> str:
    name = match["name"]
    if name in HEADER_OF and context.source.includes:
        return f"{name} comes from #include <{HEADER_OF[name]}>"
    if name in LIBC:
        return f"there is no C library in the kernel: {LIBC[name]}"
    if name in FUNCTION_LIKE:
        return f"{name} is an inline function or macro of the kernel, which BTF cannot hold: {FUNCTION_LIKE[name]}"
    if context.source.includes and name in context.helpers:
        return f"{name} comes from #include <bpf/bpf_helpers.h>"
    known = set(context.kernel.names("func")) if context.kernel else set()
    if name in known and name.startswith("bpf_"):
        return f"{name} is a function of the kernel; declare it: extern ... {name}(...) __ksym;"
    if near := _near(name, context.helpers):
        return f"did you mean {_either(near)}?"
    if name in known:
        return f"{name} is a function of the kernel that BPF programs cannot call; trace it, or use a helper (bpf_*)"
    return (
        "BPF programs can call helpers (bpf_*), kernel functions declared __ksym, and functions of their own"
    )


def _type(match: re.Match[str], context: _Context) -> str:
    name = match["name"]
    if not context.has_types:
        return _OWN_INCLUDES
    if context.kernel is None or "did you mean" in match.string:
        return ""
    kind = match.groupdict().get("kind")
    kinds = [kind] if kind else ["typedef", "struct", "union", "enum"]
    for other in ("struct", "union", "enum", "typedef"):
        if name in context.kernel.names(other) and other != kind:
            return f"in this kernel it is {'' if other == 'typedef' else other + ' '}{name}"
    names = {
        f"{'' if k == 'typedef' else k + ' '}{n}": n for k in kinds for n in context.kernel.names(k) if n
    }
    near = _near(name, names.values())
    spelled = [full for full, plain in names.items() if plain in near]
    return (
        f"this kernel has {_either(spelled[:3])}" if near else f"this kernel's BTF has no type named {name}"
    )


def _member(match: re.Match[str], context: _Context) -> str:
    if context.kernel is None:
        return ""
    kind, _, name = match["type"].rpartition(" ")
    found = context.kernel.get(name, kind or None)
    if not isinstance(found, Composite):
        return ""
    names = [member.name for member in _members(context.kernel, found)]
    wanted = match["name"]
    near = [
        name for name in (f"__{wanted}", f"_{wanted}", wanted.lstrip("_")) if name in names and name != wanted
    ]
    near = near or nearest(wanted, names)
    if near:
        return f"in this kernel {match['type']} has {_either(near)}"
    return f"this kernel's {match['type']} has no such member: %bpf struct {name} shows those it has"


def _missing(match: re.Match[str], context: _Context) -> str:
    name, source = match["name"], context.source
    if name.startswith("bpf/"):
        return "install libbpf's headers: apt install libbpf-dev"
    if name in ("vmlinux.h",):
        return ""
    if name.startswith(("linux/", "asm/", "net/", "uapi/")):
        return (
            f"headers of the kernel's inside are not needed: leave out <{name}>, vmlinux.h has all types; "
            "for those of user space: apt install linux-libc-dev"
        )
    looked = [str(folder) for folder in ((source.directory,) if source.directory else ()) + source.search]
    where = (
        f"looked in {', '.join(looked)}" if looked else "no directory of local headers was given (directory=)"
    )
    return f"{where}; other directories: include_dirs="


def _redefined(match: re.Match[str], context: _Context) -> str:
    others = [name for name in context.source.includes if name.startswith(("linux/", "asm/", "net/", "sys/"))]
    if others and context.has_types:
        return (
            f"vmlinux.h already has the kernel's types: leave out {', '.join(f'<{name}>' for name in others)}"
        )
    name = re.split(r"[\s(]", match["name"])[-1]
    known = context.kernel
    if (
        context.has_types
        and known
        and any(known.get(name, kind) for kind in ("struct", "union", "enum", "typedef"))
    ):
        return f"the kernel has a type named {name}, and all of the kernel's types are there: choose another name"
    return ""


def _plain(text: str) -> Callable[[re.Match[str], _Context], str]:
    return lambda _match, _context: text


_FLOAT = (
    r"__(?:add|sub|mul|div|neg|eq|ne|lt|le|gt|ge|unord|float\w*|fix\w*|extend\w*|trunc\w*)"
    r"(?:[sdtx]f\w*)|__(?:float|fix)\w+"
)

_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], _Context], str]], ...] = tuple(
    (re.compile(pattern, re.I), advise)
    for pattern, advise in (
        (r"use of undeclared identifier '(?P<name>\w+)'", _identifier),
        (r"call to undeclared (?:library )?function '(?P<name>\w+)'", _call),
        (r"implicit(?:ly)? declar\w+ (?:of )?(?:library )?function '(?P<name>\w+)'", _call),
        (r"unknown type name '(?P<name>\w+)'", _type),
        (
            r"incomplete (?:type|definition of type|result type) '(?P<kind>struct|union|enum) (?P<name>\w+)'",
            _type,
        ),
        (r"has type '(?P<kind>struct|union|enum) (?P<name>\w+)' that is never completed", _type),
        (r"no member named '(?P<name>\w+)' in '(?P<type>[\w ]+)'", _member),
        (r"'(?P<name>[^']+)' file not found", _missing),
        (r"redefinition (?:of|with different types?) \(?'(?P<name>[^']+)'", _redefined),
        (
            rf"built-in function '(?:{_FLOAT})'|floating.point",
            _plain("BPF has no floating point: count in integers of a smaller unit (ns, bytes, 1/1000)"),
        ),
        (
            r"built-in function '__\w*[dt]i\d'|only small returns",
            _plain("BPF computes with 64 bits at most: avoid __int128"),
        ),
        (
            r"built-in function '(?:memcpy|memmove|memset|memcmp|bcmp)'",
            _plain(
                "its size has to be a small constant; for one that varies use bpf_probe_read_kernel(dst, size, src) "
                "or a loop with a constant bound"
            ),
        ),
        (
            r"built-in function '(?P<name>\w+)'",
            lambda match, _: (
                f"BPF has no run-time library, so no {match['name']}: write it as a function of the cell"
            ),
        ),
        (
            r"stack limit|stack frame",
            _plain(
                "a program's stack holds 512 bytes: keep large variables in a per-CPU array map of one entry, "
                "or reserve the record in the ring buffer and fill it there"
            ),
        ),
        (
            r"dynamic stack allocation|variable.length",
            _plain("arrays on the stack need a constant size: take the largest that can occur"),
        ),
        (
            r"signed div\w*|\bsdiv\b|\bsrem\b",
            _plain("before -mcpu=v4 BPF divides unsigned numbers only: make both operands u64"),
        ),
        (
            r"too many arg|stack arguments",
            _plain(
                "functions take five arguments at most: pass a struct's address, or make it static __always_inline"
            ),
        ),
        (
            r"aggregate returns|VarArgs or StructRet|variadic functions",
            _plain(
                "functions return one number or pointer and take a fixed list of arguments: pass a struct's address"
            ),
        ),
        (
            r"loop not unrolled",
            _plain("give the loop a constant bound, or use bpf_loop() or bpf_for() (no unrolling is needed)"),
        ),
        (
            r"must specify a BPF target arch",
            _plain(
                "libbpf knows no registers of this machine's architecture: set one with -D__TARGET_ARCH_..."
            ),
        ),
        (
            r"invalid register/token|unknown register|instruction requires",
            _plain('asm() takes BPF\'s own assembly, for example "r0 = 1"'),
        ),
        (
            r"type specifier missing.*|unknown type name 'SEC'|expected parameter declarator",
            lambda _match, context: "" if context.has_types else _OWN_INCLUDES,
        ),
    )
)


def _members(btf: Btf, composite: Composite) -> Iterable[Member]:
    for member in composite.members:
        inner = btf.resolve(member.type)
        if not member.name and isinstance(inner, Composite):
            yield from _members(btf, inner)
        else:
            yield member


def _near(name: str, names: Iterable[str]) -> list[str]:
    """The nearest of many names: only those of about this length are compared, since comparing is slow."""
    return nearest(
        name, [other for other in names if abs(len(other) - len(name)) <= 3 and other[:1] == name[:1]]
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join(names)


@lru_cache(maxsize=2)
def _kernel(path: Path) -> Btf | None:
    try:
        return Btf(path.read_bytes())
    except (OSError, BpfnbError):
        return None


@lru_cache(maxsize=2)
def _helpers(libbpf: Path | None) -> frozenset[str]:
    path = (libbpf or Path()) / "bpf/bpf_helper_defs.h"
    return (
        frozenset(re.findall(r"\(\*\s*(?:const\s+)?(bpf_\w+)\)\(", path.read_text()))
        if libbpf
        else frozenset()
    )


@lru_cache(maxsize=2)
def _enumerators(vmlinux: Path) -> tuple[str, ...]:
    return tuple(re.findall(r"^\t([A-Z][A-Z0-9_]+) = -?\w+,$", vmlinux.read_text(), re.M))
