"""The types of a recorded object, looked at before anything is made from them.

A recording's BTF comes from a file: a type may contain itself, or unfold into more columns than memory has. What passes
here is finite and of a size that records and map entries have.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from bpfnb.btf import Array, Btf, Composite, Modifier, Pointer, Type, Var
from bpfnb.errors import BadRecording, BpfnbError
from bpfnb.kernel.backend import MapInfo

__all__ = ["check_map", "check_type", "guarded", "types_of"]

MAX_TYPES: Final = 1 << 20
MAX_COLUMNS: Final = 20_000
MAX_SIZE: Final = 1 << 28  # bytes of a record, key or value
MAX_DEPTH: Final = 64
MAX_CPUS: Final = 8192

_DAMAGE: Final = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError, MemoryError,
    struct.error,
)  # fmt: skip

T = TypeVar("T")


def guarded(what: str, make: Callable[[], T]) -> T:
    """What *make* returns of things read from a file; BadRecording where they make no sense."""
    try:
        return make()
    except BadRecording:
        raise
    except BpfnbError as error:
        raise BadRecording(f"{what}: {error.message}", hints=error.hints) from None
    except _DAMAGE as error:
        raise BadRecording(f"{what} makes no sense: {type(error).__name__}: {str(error)[:200]}") from None


def types_of(data: bytes, what: str, sections: Mapping[str, tuple[int, dict[str, int]]]) -> Btf:
    """BTF in which each chain of typedefs and qualifiers ends, and what stands where in *sections*. BadRecording."""
    return guarded(what, lambda: _types_of(data, sections))


def _types_of(data: bytes, sections: Mapping[str, tuple[int, dict[str, int]]]) -> Btf:
    btf = Btf(data)
    btf._sections = dict(sections)
    if len(btf) > MAX_TYPES:
        raise BadRecording(f"it has {len(btf):,} types; {MAX_TYPES:,} are the most")
    ends: set[int] = set()
    for number in range(1, len(btf)):
        chain: list[int] = []
        while number not in ends and isinstance(found := btf[number], Modifier):
            if number in chain or len(chain) > MAX_DEPTH:
                raise BadRecording(f"type {number} is made of itself")
            chain.append(number)
            number = found.target
        ends.update(chain)
    return btf


def check_type(btf: Btf, number: int, what: str) -> None:
    """Raises BadRecording unless a layout can be made of the type."""
    guarded(what, lambda: _columns(btf, number, {}, 0))
    size = guarded(what, lambda: btf.size(number))
    if not 0 <= size <= MAX_SIZE:
        raise BadRecording(f"{what} has {size:,} bytes; {MAX_SIZE:,} are the most")


def _columns(btf: Btf, number: int, known: dict[int, int | None], depth: int) -> int:
    """How many columns a type unfolds into, at most."""
    found: Type = btf.resolve(number)
    if isinstance(found, Var):
        return _columns(btf, found.type, known, depth + 1)
    if isinstance(found, Pointer) or not isinstance(found, Composite | Array):
        return 1
    if depth > MAX_DEPTH or known.get(found.id, 0) is None:
        raise BadRecording(f"type {found.id} contains itself")
    if (before := known.get(found.id)) is not None:
        return before
    known[found.id] = None
    if isinstance(found, Array):
        count = max(1, found.count if found.count <= 64 else 1) * _columns(
            btf, found.element, known, depth + 1
        )
    else:
        count = 1 + sum(_columns(btf, member.type, known, depth + 1) for member in found.members)
    if count > MAX_COLUMNS:
        raise BadRecording(f"type {found.id} has more than {MAX_COLUMNS:,} columns")
    known[found.id] = count
    return count


def check_map(btf: Btf, info: MapInfo) -> None:
    """Raises BadRecording where the numbers of a map cannot be."""
    what = f"map '{info.name[:80]}'"
    sizes = (info.key_size, info.value_size)
    if not (info.name and all(0 <= size <= MAX_SIZE for size in sizes) and 1 <= info.cpus <= MAX_CPUS):
        raise BadRecording(
            f"{what} has keys of {sizes[0]:,} and values of {sizes[1]:,} bytes on {info.cpus:,} CPUs"
        )
    if not 0 <= info.max_entries < 1 << 32:
        raise BadRecording(f"{what} says that it can have {info.max_entries:,} entries")
    for number in (info.key_type, info.value_type):
        if number:
            check_type(btf, number, what)
    if info.inner is not None:
        if info.inner.inner is not None:
            raise BadRecording(f"{what} holds maps of maps of maps")
        for number in (info.inner.key_type, info.inner.value_type):
            if number:
                check_type(btf, number, what)
