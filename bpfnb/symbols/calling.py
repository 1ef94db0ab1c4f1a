"""Where a function's arguments are at its first instruction, and its result after its last.

Rules: System V ABI, AMD64 supplement 1.0, 3.2.3; Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), 6.
Only integer registers and memory can be seen by a probe: floating-point and vector registers are not in ``pt_regs``.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bpfnb.symbols.signatures import Parameter, Signature, Type

__all__ = ["HERE", "Abi", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is. ``words`` are C expressions of ``pt_regs *ctx`` for its eight-byte pieces (None: one in a
    floating-point register); else ``address`` is one for its address; else it cannot be had, and ``reason`` says why.
    """

    words: tuple[str | None, ...] = ()
    address: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abi:
    """The registers of one architecture as C expressions, by the numbers that DWARF gives them."""

    machine: int
    """ELF's e_machine."""
    registers: tuple[str, ...]
    arguments: tuple[int, ...]
    results: tuple[int, ...]
    floats: int
    stack: str
    above: int
    """Bytes between the stack pointer at a function's entry and its first argument on the stack."""

    def arguments_of(self, function: Signature, *, clone: bool = False) -> list[Place]:
        """A place for each parameter. Of a *clone* that the compiler made with other parameters (``f.constprop.0``)
        only what DWARF says counts.
        """
        by_rule = self._by_rule(function)
        return [
            self._place(p, None if clone else rule)
            for p, rule in zip(function.parameters, by_rule, strict=True)
        ]

    def result_of(self, kind: Type) -> Place:
        """What the function returned, once it has."""
        classes = self._classes(kind)
        if kind.by_reference or classes is None:
            if self.machine == _X86:
                return Place(
                    address=self.registers[self.results[0]]
                )  # the caller's memory, whose address it returns
            return Place(
                reason="a large struct, whose address is not known any more when the function has returned"
            )
        integers = iter(self.registers[number] for number in self.results)
        words = tuple(next(integers) if integer else None for integer in classes)
        return Place(words) if any(words) else Place(reason=_FLOAT)

    def _place(self, parameter: Parameter, rule: Place | None) -> Place:
        if parameter.at is None:
            return rule or Place(reason="the compiler made a copy of the function with other parameters")
        said = self._said(parameter) if parameter.at else None
        if (
            said is None
            and rule is not None
            and {word for word in rule.words if word} & self._named(parameter)
        ):
            return rule  # what is computed from the very register, such as a bool's lowest bit
        return said or Place(reason="optimised out")

    def _named(self, parameter: Parameter) -> set[str]:
        """The registers that occur in what DWARF says."""
        found = (_REGISTER.fullmatch(name) for name, _ in parameter.at or ())
        numbers = (int(each[1]) for each in found if each)
        return {self.registers[number] for number in numbers if number < len(self.registers)}

    def _said(self, parameter: Parameter) -> Place | None:
        """What DWARF's operations mean, where they are simple ones."""
        operations = parameter.at or ()
        words: list[str | None] = []
        register: str | None = None
        for name, arguments in operations:
            register_of = _REGISTER.fullmatch(name)
            number = int(register_of[1]) if register_of else -1
            here = self.registers[number] if 0 <= number < len(self.registers) else None
            if name == "fbreg" and len(operations) == 1:
                return Place(address=f"{self.stack} + {self.above + arguments[0]}")
            if name.startswith("breg") and here and len(operations) == 1:
                return Place(address=f"{here} + {arguments[0]}")
            if name == "stack_value" or "ref" in name:
                return Place(reason="a constant that the compiler put in")
            if name == "piece":  # without a register before it: of what was optimised away
                if arguments[0] != 8 and (name, arguments) != operations[-1]:
                    return None
                words.append(register)
                register = None
            elif name.startswith("reg"):
                register = here
            else:
                return None
        if not any(name == "piece" for name, _ in operations):
            words.append(register)
        return Place(tuple(words)) if any(words) else Place(reason=_FLOAT)

    def _by_rule(self, function: Signature) -> Iterator[Place]:
        integers = [self.registers[number] for number in self.arguments]
        floats, used = self.floats, 0
        returned = function.returns
        if self.machine == _X86 and (returned.by_reference or self._classes(returned) is None):
            integers.pop(0)  # where the result is to be put
        for parameter in function.parameters:
            kind = parameter.type
            classes = self._classes(kind)
            pointed = kind.by_reference or (classes is None and self.machine != _X86)
            if pointed:
                classes = [True]
            wanted = [] if classes is None else classes
            if wanted and len(integers) >= sum(wanted) and floats >= len(wanted) - sum(wanted):
                words = tuple(integers.pop(0) if integer else None for integer in wanted)
                floats -= words.count(None)
                if pointed:
                    yield Place(address=words[0] or "")
                else:
                    yield Place(words) if any(words) else Place(reason=_FLOAT)
                continue
            if self.machine != _X86 and wanted:  # AAPCS64: nothing goes to registers any more
                integers, floats = ([], floats) if any(wanted) else (integers, 0)
            used += -used % 16 if kind.kind in ("int", "float") and kind.size == 16 else 0
            yield Place(address=f"{self.stack} + {self.above + used}")
            used += -(-kind.size // 8) * 8

    def _classes(self, kind: Type) -> list[bool] | None:
        """For each eight bytes of a value whether an integer register takes it; None for what memory takes."""
        if kind.kind == "void":
            return [True]
        if kind.kind == "float":
            return None if kind.size > 8 and self.machine == _X86 else [False]
        if kind.kind not in ("struct", "union", "array"):
            return [True] * max(1, -(-kind.size // 8))
        if not 0 < kind.size <= 16:
            return None if kind.size else []
        leaves = list(_leaves(kind, 0))
        if self.machine != _X86:
            alike = {(leaf.kind, leaf.size) for _, leaf in leaves}
            if len(alike) == 1 and leaves[0][1].kind == "float" and len(leaves) <= 4:
                return [False] * len(leaves)
            return [True] * -(-kind.size // 8)
        found = [False] * -(-kind.size // 8)
        for offset, leaf in leaves:
            if leaf.kind == "float" and leaf.size > 8:
                return None
            if leaf.kind != "float" and offset // 8 < len(found):
                found[offset // 8] = True
        return found


_X86, _ARM64 = 62, 183
_REGISTER = re.compile(r"b?reg(\d+)")
_FLOAT = "in a floating-point register, which probes cannot read"

_NAMED = ("ax", "dx", "cx", "bx", "si", "di", "bp", "sp")  # in DWARF's order
_X86_ABI = Abi(
    machine=_X86,
    registers=tuple(f"ctx->{name}" for name in (*_NAMED, *(f"r{number}" for number in range(8, 16)))),
    arguments=(5, 4, 1, 2, 8, 9),
    results=(0, 1),
    floats=8,
    stack="ctx->sp",
    above=8,
)
_ARM64_ABI = Abi(
    machine=_ARM64,
    registers=tuple(f"((struct user_pt_regs *)ctx)->regs[{number}]" for number in range(31)),
    arguments=tuple(range(8)),
    results=(0, 1),
    floats=8,
    stack="((struct user_pt_regs *)ctx)->sp",
    above=0,
)
HERE: Abi | None = {"x86_64": _X86_ABI, "aarch64": _ARM64_ABI, "arm64": _ARM64_ABI}.get(platform.machine())
"""This machine's; None where it is not known."""


def _leaves(kind: Type, offset: int) -> Iterator[tuple[int, Type]]:
    """The scalars of a type with their offsets."""
    if kind.kind in ("struct", "union"):
        for member in kind.members:
            yield from _leaves(member.type, offset + member.offset)
    elif kind.kind == "array":
        for number in range(min(kind.count, 16)):
            yield from _leaves(kind.target, offset + number * kind.target.size)
    else:
        yield offset, kind
