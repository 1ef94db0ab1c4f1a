"""What a function takes and returns, as the compiler wrote it down: DWARF (versions 2 to 5) of one binary.

A function is found by its address: only the unit that covers it (.debug_aranges, else the units' ranges) is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.descriptions import describe_form_class
from elftools.dwarf.dwarf_expr import DWARFExprParser
from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationExpr, LocationParser
from elftools.dwarf.ranges import RangeEntry
from elftools.elf.elffile import ELFFile

__all__ = ["Member", "Parameter", "Signature", "Signatures", "Type"]

_ALIASES = ("typedef", "const_type", "volatile_type", "restrict_type", "atomic_type", "packed_type")
_POINTERS = ("pointer_type", "reference_type", "rvalue_reference_type")
_STRUCTS = ("structure_type", "class_type")
_BASES = {2: "bool", 4: "float", 5: "int", 6: "int", 7: "int", 8: "int", 16: "int"}  # DW_ATE_*
_SIGNED = (5, 6)
_GO = 0x16  # DW_LANG_Go: its own calling convention

Place = tuple[tuple[str, tuple[Any, ...]], ...]
"""DWARF operations, each with its operands."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct: *offset* in bytes; of a bit field *bits* are (lowest bit from there, number of bits).

    Anonymous members and base classes have no name.
    """

    name: str
    type: Type
    offset: int
    bits: tuple[int, int] | None = None


class Type:
    """A type without its qualifiers. ``kind``: int, bool, float, enum, pointer, struct, union, array, void, other."""

    def __init__(self, die: Any | None) -> None:
        self.spelled = ""
        """The name that the program uses: a typedef's, where there is one."""
        while die is not None and _tag(die) in _ALIASES:
            self.spelled = self.spelled or (_text(die, "DW_AT_name") if _tag(die) == "typedef" else "")
            die = _at(die, "DW_AT_type")
        if die is not None and "DW_AT_declaration" in die.attributes:
            die = _defined(die)
        self._die = die
        self.name = _text(die, "DW_AT_name") if die is not None else "void"
        self.spelled = self.spelled or self.name

    @cached_property
    def kind(self) -> str:
        if self._die is None:
            return "void"
        tag = _tag(self._die)
        if tag == "base_type":
            return _BASES.get(_number(self._die, "DW_AT_encoding"), "other")
        if tag in _POINTERS:
            return "pointer"
        if tag in _STRUCTS:
            return "struct"
        return {"union_type": "union", "enumeration_type": "enum", "array_type": "array"}.get(tag, "other")

    @cached_property
    def size(self) -> int:
        """In bytes; 0 where it is not known."""
        if self._die is None:
            return 0
        if self.kind == "array":
            return self.target.size * self.count
        return _number(self._die, "DW_AT_byte_size", 8 if self.kind == "pointer" else 0)

    @cached_property
    def signed(self) -> bool:
        if self.kind == "enum":
            return any(value < 0 for value in self.enumerators)
        return self._die is not None and _number(self._die, "DW_AT_encoding") in _SIGNED

    @cached_property
    def target(self) -> Type:
        """What a pointer points to, what an array is made of."""
        return Type(_at(self._die, "DW_AT_type"))

    @cached_property
    def count(self) -> int:
        """Elements of an array, of all its dimensions; 0 where its end is open."""
        found = 1
        for child in self._die.iter_children() if self._die is not None else ():
            if _tag(child) == "subrange_type":
                last = _number(child, "DW_AT_upper_bound", -1)
                found *= _number(child, "DW_AT_count", last + 1)
        return found

    @cached_property
    def enumerators(self) -> dict[int, str]:
        children = self._die.iter_children() if self._die is not None else ()
        return {
            _number(c, "DW_AT_const_value"): _text(c, "DW_AT_name")
            for c in children
            if _tag(c) == "enumerator"
        }

    @cached_property
    def members(self) -> list[Member]:
        """Of a struct or union, base classes first as the compiler lists them; static ones are none."""
        children = self._die.iter_children() if self._die is not None else ()
        return [_member(c) for c in children if _tag(c) in ("member", "inheritance") and _placed(c)]

    @property
    def is_text(self) -> bool:
        """Whether it is `char *`, or an array of `char`."""
        return self.kind in ("pointer", "array") and self.target.name == "char"

    @cached_property
    def by_reference(self) -> bool:
        """Whether a C++ object of it is passed by address: it is copied or destroyed by code of its own (Itanium C++
        ABI, 3.1.1). Compilers say so in DWARF 5 at most.
        """
        if self._die is None or self.kind not in ("struct", "union"):
            return False
        said = _number(self._die, "DW_AT_calling_convention")
        if said in (4, 5):  # DW_CC_pass_by_reference, DW_CC_pass_by_value
            return said == 4
        own = any(_own_copy(child, self.name) for child in self._die.iter_children())
        return own or any(m.type.by_reference or m.name.startswith("_vptr") for m in self.members)

    def __str__(self) -> str:
        if self.kind == "pointer":
            return f"{self.target} *"
        if self.kind == "array":
            return f"{self.target}[{self.count}]"
        word = {"struct": "struct ", "union": "union ", "enum": "enum "}.get(self.kind, "")
        return self.spelled if self.spelled != self.name else f"{word}{self.name or '{...}'}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. *at* is where DWARF says it is at the function's entry, as a list of DWARF operations: None where
    it does not say (code that was not optimised keeps it in a place of its own, later), empty where it is nowhere.
    """

    name: str
    type: Type
    at: Place | None


@dataclass(frozen=True, slots=True)
class Signature:
    """A function by its name in the source. ``returns`` is its type; ``go`` says that Go's own convention holds."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: Type
    no_return: bool = False
    go: bool = False
    variadic: bool = False


class Signatures:
    """Functions of the open file *number*, which stays the caller's. Empty where it holds no DWARF."""

    def __init__(self, number: int) -> None:
        self._file = os.fdopen(os.dup(number), "rb")
        try:
            elf = ELFFile(self._file)
            self._info = elf.get_dwarf_info() if elf.has_dwarf_info() else None
        except (ELFError, DWARFError, KeyError, NotImplementedError):
            self._info = None

    def close(self) -> None:
        self._file.close()

    def at(self, address: int) -> Signature | None:
        """The function that begins at *address*; None where DWARF has none."""
        for unit in self._units(address):
            for die in _functions(unit.get_top_DIE()):
                if address in (_entry(die), *(start for start, _ in self._ranges(die))):
                    return self._signature(die, address)
        return None

    def _units(self, address: int) -> Iterator[Any]:
        if self._info is None:
            return
        aranges = self._info.get_aranges()
        offset = aranges.cu_offset_at_addr(address) if aranges is not None else None
        if offset is not None:
            yield self._info.get_CU_at(offset)
            return
        for unit in self._info.iter_CUs():
            if any(start <= address < end for start, end in self._ranges(unit.get_top_DIE())):
                yield unit

    def _ranges(self, die: Any) -> Iterator[tuple[int, int]]:
        """Where the code of an entry is: in several pieces where the compiler moved the rarely executed ones away."""
        low, high = _entry(die), _high(die)
        if low is not None and high is not None:
            yield low, high
        attribute = die.attributes.get("DW_AT_ranges")
        lists = self._info.range_lists() if self._info is not None else None
        if attribute is None or lists is None:
            return
        base = _entry(die.cu.get_top_DIE()) or 0
        for entry in lists.get_range_list_at_offset(attribute.value, die.cu):
            if not isinstance(entry, RangeEntry):
                base = entry.base_address
                continue
            offset = 0 if entry.is_absolute else base
            yield offset + entry.begin_offset, offset + entry.end_offset

    def _signature(self, die: Any, address: int) -> Signature:
        top = die.cu.get_top_DIE()
        children = list(die.iter_children())
        found = tuple(self._parameter(c, address, top) for c in children if _tag(c) == "formal_parameter")
        return Signature(
            _text(die, "DW_AT_name"),
            found,
            Type(_at(die, "DW_AT_type")),
            no_return=_attribute(die, "DW_AT_noreturn") is not None,
            go=_number(top, "DW_AT_language") == _GO,
            variadic=any(_tag(c) == "unspecified_parameters" for c in children),
        )

    def _parameter(self, die: Any, address: int, top: Any) -> Parameter:
        return Parameter(
            _text(die, "DW_AT_name"), Type(_at(die, "DW_AT_type")), self._place(die, address, top)
        )

    def _place(self, die: Any, address: int, top: Any) -> Place | None:
        assert self._info is not None
        attribute = die.attributes.get("DW_AT_location")
        if attribute is None:
            return ()
        try:
            parser = LocationParser(self._info.location_lists())
            found = parser.parse_from_attribute(attribute, die.cu["version"], die)
        except (DWARFError, KeyError, AttributeError, ValueError):
            return None
        if isinstance(found, LocationExpr):
            operations = self._operations(found.loc_expr, die)
            home = bool(operations) and operations[0][0] == "fbreg" and operations[0][1][0] < 0
            return None if home else self._at_entry(operations, die)  # a home is filled after the entry
        base = _entry(top) or 0
        for entry in found:
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            elif isinstance(entry, LocationEntry):
                start = 0 if entry.is_absolute else base
                if start + entry.begin_offset <= address < start + entry.end_offset:
                    return self._at_entry(self._operations(entry.loc_expr, die), die)
        return ()

    def _at_entry(self, operations: Place, die: Any) -> Place | None:
        """What holds at the entry: a frame that begins at the caller's end is there, one of a register is not yet."""
        if any(name == "fbreg" for name, _ in operations):
            base = _attribute(die.get_parent(), "DW_AT_frame_base")
            frame = (
                self._operations(base.value, die)
                if base is not None and base.form.startswith("DW_FORM_exprloc")
                else ()
            )
            if [name for name, _ in frame] != ["call_frame_cfa"]:
                return None
        return operations

    def _operations(self, expression: Any, die: Any) -> Place:
        parsed = DWARFExprParser(die.cu.structs).parse_expr(expression)
        return tuple(
            (operation.op_name.removeprefix("DW_OP_"), tuple(operation.args)) for operation in parsed
        )


# Entries of DWARF's tree


def _tag(die: Any) -> str:
    return str(die.tag).removeprefix("DW_TAG_")


def _attribute(die: Any, name: str) -> Any:
    """An attribute of an entry, or of what it is the copy or the definition of."""
    for _ in range(8):
        if name in die.attributes:
            return die.attributes[name]
        for origin in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if origin in die.attributes:
                die = die.get_DIE_from_attribute(origin)
                break
        else:
            return None
    return None


def _at(die: Any, name: str) -> Any | None:
    """The entry that an attribute refers to."""
    for _ in range(8):
        if die is None or name in die.attributes:
            break
        origins = [o for o in ("DW_AT_abstract_origin", "DW_AT_specification") if o in die.attributes]
        die = die.get_DIE_from_attribute(origins[0]) if origins else None
    if die is None or name not in die.attributes:
        return None
    try:
        return die.get_DIE_from_attribute(name)
    except (DWARFError, NotImplementedError, KeyError):
        return None


def _text(die: Any, name: str) -> str:
    found = _attribute(die, name)
    return (
        found.value.decode(errors="replace") if found is not None and isinstance(found.value, bytes) else ""
    )


def _number(die: Any, name: str, default: int = 0) -> int:
    found = _attribute(die, name)
    return found.value if found is not None and isinstance(found.value, int) else default


def _entry(die: Any) -> int | None:
    found = die.attributes.get("DW_AT_low_pc")
    return found.value if found is not None else None


def _high(die: Any) -> int | None:
    low, found = _entry(die), die.attributes.get("DW_AT_high_pc")
    if low is None or found is None:
        return None
    return int(found.value) + (0 if describe_form_class(found.form) == "address" else low)


def _functions(die: Any) -> Iterator[Any]:
    """The functions below an entry, namespaces' and classes' ones too."""
    for child in die.iter_children():
        tag = _tag(child)
        if tag == "subprogram":
            yield child
        elif tag in ("namespace", "module", *_STRUCTS, "union_type"):
            yield from _functions(child)


def _defined(die: Any) -> Any:
    """The whole struct of a mere declaration, from the same unit where it has it."""
    name = _text(die, "DW_AT_name")
    for child in die.cu.get_top_DIE().iter_children():
        whole = child.tag == die.tag and "DW_AT_declaration" not in child.attributes
        if whole and name and _text(child, "DW_AT_name") == name:
            return child
    return die


def _own_copy(die: Any, name: str) -> bool:
    """Whether a member is a destructor or copy constructor that a programmer wrote."""
    if (
        _tag(die) != "subprogram"
        or "DW_AT_defaulted" in die.attributes
        or "DW_AT_artificial" in die.attributes
    ):
        return False
    found, name = _text(die, "DW_AT_name"), name.partition("<")[0]
    if found == f"~{name}":
        return True
    given = [Type(_at(c, "DW_AT_type")) for c in die.iter_children() if _tag(c) == "formal_parameter"]
    return (
        found == name
        and len(given) == 2
        and given[1].kind == "pointer"
        and given[1].target.name.startswith(name)
    )


def _placed(die: Any) -> bool:
    return not {"DW_AT_external", "DW_AT_declaration"} & set(die.attributes)


def _member(die: Any) -> Member:
    offset = _number(die, "DW_AT_data_member_location")
    found, size = Type(_at(die, "DW_AT_type")), _number(die, "DW_AT_bit_size")
    name = _text(die, "DW_AT_name") if _tag(die) == "member" else ""
    if not size:
        return Member(name, found, offset)
    if "DW_AT_data_bit_offset" in die.attributes:
        first = _number(die, "DW_AT_data_bit_offset")
    else:  # DWARF 3: counted from the highest bit of the storage unit
        storage = _number(die, "DW_AT_byte_size", found.size)
        first = offset * 8 + storage * 8 - _number(die, "DW_AT_bit_offset") - size
    return Member(name, found, first // 8, (first % 8, size))
