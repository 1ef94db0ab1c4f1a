"""Records whose size is no sizeof: the type comes from the variable that holds them.

``e = bpf_ringbuf_reserve(&events, size, 0)`` tells a macro nothing about the type of ``e``. The text says which
variable it is (or casts the result), the debug information what the variable points to; a declaration appended to
the text then makes BTF describe that type like all the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bpfnb.btf import Btf
from bpfnb.compile.events import SECTION, Call, calls
from bpfnb.compile.source import Source

__all__ = ["Late", "late_records"]

_RESERVE = re.compile(
    r"(?:\b(?P<variable>[A-Za-z_]\w*)\s*=\s*)?(?:\((?P<cast>[\w\s]+?)\s*\*\s*\)\s*)?\bbpf_ringbuf_reserve\s*\("
)


@dataclass(frozen=True, slots=True)
class Late:
    """A record type (as C writes it) for the calls with these expressions."""

    type: str
    call: Call
    number: int

    @property
    def declaration(self) -> str:
        """C that leaves the type in BTF as <bpfnb/count.h> does."""
        tags = ["data", f"map={self.call.map}"], ["size", f"map={self.call.map}", f"size={self.call.size}"]
        tags[0].append(f"size={self.call.size}")
        return " ".join(
            f'static {target} *__bpfnb_late_{how}_{self.number} __attribute__((section("{SECTION}"), used, '
            + ", ".join(f'btf_decl_tag("bpfnb.{_quoted(tag)}")' for tag in (*words, "flags="))
            + "));"
            for how, target, words in (("data", self.type, tags[0]), ("size", "void", tags[1]))
        )


def late_records(btf: Btf, elf: bytes, source: Source) -> list[Late]:
    """The types of records that are reserved with a size that is no sizeof."""
    unknown = [call for call in calls(btf) if not call.data and not call.operand]
    if not unknown:
        return []
    from bpfnb.compile.dwarf import Dwarf  # pyelftools, which few programs need

    functions = Dwarf(elf).functions
    found = []
    for number, call in enumerate(dict.fromkeys(unknown)):
        variables, casts = _mentions(call, source)
        types = set(casts)
        for local in functions.get(call.function, ()):
            if local.pointer and local.name in variables:
                types.add(local.type)
        types = {name for name in types if re.fullmatch(r"(?:struct |union )?[A-Za-z_]\w*", name)}
        found += [
            Late(name, call, number * 8 + place) for place, name in enumerate(sorted(types - _BYTES)[:8])
        ]
    return found


_BYTES = {"void", "char", "u8", "__u8", "uint8_t", "s8", "int8_t"}


def _mentions(call: Call, source: Source) -> tuple[set[str], set[str]]:
    """The variables that take the result of this reserve, and the types that it is cast to.

    The call's expressions are as clang saw them, after macros: calls in the text that have both of them count, else
    those to the same buffer, else all.
    """
    levels: list[tuple[set[str], set[str]]] = [(set(), set()), (set(), set()), (set(), set())]
    for match in _RESERVE.finditer(source.code):
        map_, size, *_ = [_squeezed(text) for text in (*_arguments(source.code[match.end() :]), "", "")]
        level = 2 if map_ != _squeezed(call.map) else 1 if size != _squeezed(call.size) else 0
        if match["cast"]:
            levels[level][1].add(" ".join(match["cast"].replace("const", "").split()))
        if match["variable"]:
            levels[level][0].add(match["variable"])
    return next((found for found in levels if any(found)), levels[0])


def _arguments(text: str) -> list[str]:
    """The arguments of a call whose opening parenthesis stands just before *text*."""
    depth = start = 0
    arguments: list[str] = []
    for place, character in enumerate(text[:2000]):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return [*arguments, text[start:place]]
        elif character == "," and depth == 0:
            arguments.append(text[start:place])
            start = place + 1
    return []


def _squeezed(expression: str) -> str:
    return re.sub(r"\s+", "", expression)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
