"""Macros of the kernel's headers that BTF cannot hold: those that a program names, with those that they name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpfnb.bcc.kept import kept
from bpfnb.compile.cache import identity

__all__ = ["Macro", "close", "pack"]

_DEFINE = re.compile(r"^#define (\w+)(.*)$", re.M)
_WORD = re.compile(r"\b[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Macro:
    """``#define`` *text*; *words* are the identifiers in what it stands for."""

    text: str
    words: frozenset[str]


@cache
def pack(machine: str) -> Mapping[str, Macro]:
    """All macros by name, for a machine as uname names it."""
    own = {"x86_64": "pack_x86.h", "aarch64": "pack_arm64.h"}
    names = ["pack_uapi.h", "pack_kernel.h", *([own[machine]] if machine in own else [])]
    files = [Path(__file__).with_name(name) for name in names]

    def make() -> dict[str, tuple[str, frozenset[str]]]:
        return {
            macro: (f"#define {macro}{rest}", frozenset(_WORD.findall(rest)))
            for file in files
            for macro, rest in _DEFINE.findall(file.read_text())
        }

    known = kept(" ".join(map(identity, files)), Path(__file__), make)
    return {name: Macro(text, words) for name, (text, words) in known.items()}


def close(macros: Mapping[str, Macro], words: Collection[str]) -> dict[str, Macro]:
    """The macros that *words* name, directly or through other macros."""
    chosen: dict[str, Macro] = {}
    waiting = [word for word in words if word in macros]
    while waiting:
        name = waiting.pop()
        if name not in chosen:
            chosen[name] = macros[name]
            waiting += [word for word in macros[name].words if word in macros]
    return chosen
