"""What DWARF says about a function's variables: the types that code uses and BTF leaves out.

BTF holds the types of globals, maps and functions; a struct that only a local variable points to is in DWARF alone.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

__all__ = ["Dwarf", "Local"]


@dataclass(frozen=True, slots=True)
class Local:
    """A variable or parameter. ``type`` is as C writes it: its own, or where ``pointer`` is set its target's.

    ``size`` is that type's in bytes (0: unknown); ``file`` and ``line`` say where it is declared.
    """

    name: str
    type: str
    pointer: bool
    size: int
    line: int
    file: int


_QUALIFIERS = ("DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_restrict_type", "DW_TAG_LLVM_annotation")
_TAGS = {
    "DW_TAG_structure_type": "struct ",
    "DW_TAG_union_type": "union ",
    "DW_TAG_enumeration_type": "enum ",
}


class Dwarf:
    """The functions of an object with debug information; empty where there is none."""

    def __init__(self, elf: bytes) -> None:
        try:
            file = ELFFile(io.BytesIO(elf))
            self._info = file.get_dwarf_info() if file.has_dwarf_info() else None
        except (ELFError, KeyError, NotImplementedError):
            self._info = None

    @property
    def producer(self) -> str:
        """The compiler, as it names itself."""
        for unit in self._info.iter_CUs() if self._info else ():
            return _text(unit.get_top_DIE(), "DW_AT_producer")
        return ""

    @cached_property
    def functions(self) -> dict[str, list[Local]]:
        """The variables and parameters of every function, those of functions inlined into it included."""
        found: dict[str, list[Local]] = {}
        for unit in self._info.iter_CUs() if self._info else ():
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_subprogram":
                    name = _text(_origin(die), "DW_AT_name")
                    found.setdefault(name, []).extend(self._locals(die))
        return found

    def _locals(self, die: Any) -> Iterator[Local]:
        for child in die.iter_children():
            if child.tag in ("DW_TAG_variable", "DW_TAG_formal_parameter"):
                origin = _origin(child)
                yield _local(origin)
            elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                yield from self._locals(child)


def _local(die: Any) -> Local:
    target = _strip(die)
    pointer = target is not None and target.tag == "DW_TAG_pointer_type"
    if pointer:
        target = _strip(target)
    return Local(
        _text(die, "DW_AT_name"),
        _name(target),
        pointer,
        _size(target),
        _number(die, "DW_AT_decl_line"),
        _number(die, "DW_AT_decl_file"),
    )


def _origin(die: Any) -> Any:
    while "DW_AT_abstract_origin" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    return die


def _strip(die: Any) -> Any:
    """The type of a DIE without qualifiers; None for void."""
    while "DW_AT_type" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag not in _QUALIFIERS:
            return die
    return None


def _name(die: Any) -> str:
    if die is None:
        return "void"
    if die.tag == "DW_TAG_array_type":
        return f"{_name(_strip(die))}[]"
    return _TAGS.get(die.tag, "") + _text(die, "DW_AT_name") if _text(die, "DW_AT_name") else ""


def _size(die: Any) -> int:
    if die is None:
        return 0
    if "DW_AT_byte_size" in die.attributes:
        return _number(die, "DW_AT_byte_size")
    if die.tag == "DW_TAG_array_type":
        total = _size(_strip(die))
        for child in die.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                count = _number(child, "DW_AT_count")
                total *= count or (_number(child, "DW_AT_upper_bound") + 1)
        return total
    return _size(_strip(die)) if die.tag == "DW_TAG_typedef" else 0


def _number(die: Any, attribute: str) -> int:
    value = die.attributes[attribute].value if attribute in die.attributes else 0
    return value if isinstance(value, int) else 0


def _text(die: Any, attribute: str) -> str:
    value = die.attributes[attribute].value if attribute in die.attributes else b""
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
