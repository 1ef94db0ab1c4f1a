"""How C would align the kernel's types, which BTF does not record: from their members' types and offsets."""

from __future__ import annotations

from functools import cache

from bpfnb.btf import Array, Btf, Composite, Enum, Float, Int, Type

__all__ = ["Alignment"]

# Packed by their authors without need, which leaves no trace in offsets but in how wide the compiler's loads are.
_PACKED = frozenset({"ethhdr"})


class Alignment:
    """Alignments of one BTF's types, each worked out once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._aligns: dict[int, int] = {}
        self._packed: dict[int, bool] = {}

    @staticmethod
    @cache
    def of(btf: Btf) -> Alignment:
        return Alignment(btf)

    def bytes(self, type: int | Type) -> int:  # noqa: A002
        """The alignment in bytes of a value of the type; 1 for packed structs and what is no value."""
        number = type if isinstance(type, int) else type.id
        known = self._aligns.get(number)
        if known is None:
            known = self._aligns[number] = self._work_out(self._btf.resolve(number))
        return known

    def packed(self, found: Composite) -> bool:
        """Whether some member lies where C would not put it of itself."""
        known = self._packed.get(found.id)
        if known is None:
            known = self._packed[found.id] = found.name in _PACKED or self._looks_packed(found)
        return known

    def _work_out(self, found: Type) -> int:
        if isinstance(found, Composite):
            members = (self.bytes(member.type) for member in found.members)
            return 1 if self.packed(found) else max(members, default=1)
        if isinstance(found, Array):
            return self.bytes(found.element)
        if isinstance(found, Int | Float | Enum):
            return max(1, found.size)
        return max(1, min(8, self._btf.size(found)))

    def _looks_packed(self, found: Composite) -> bool:
        largest = 1
        for member in found.members:
            align = 8 * self.bytes(member.type)
            if member.bit_size:
                if member.bit_offset % align + member.bit_size > align:
                    return True
            elif member.bit_offset % align:
                return True
            largest = max(largest, align // 8)
        return found.size % largest != 0
