"""Columns that hold stacks, or pieces of stacks: each different value becomes a stack of frame names once.

A piece may be folded text, a list of names or addresses, the id of a stack in a map, or any value that is to stand as
one frame of its own (the process above its functions).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.errors import BadValue
from bpfnb.symbols.process import Located
from bpfnb.symbols.symbolizer import lost
from bpfnb.views.flames.names import Names, marked
from bpfnb.views.flames.naming import Naming, Order, Owner
from bpfnb.views.flames.tree import Stacks
from bpfnb.views.selection import stacks_of

__all__ = ["Folded", "Ids", "Lists", "Part", "Spread", "Value"]

Codes = npt.NDArray[np.int32]
Addresses = npt.NDArray[np.uint64]
Said = tuple[dict[str, Any] | list[dict[str, Any]], npt.NDArray[np.bool_]] | None
"""A condition on a column, and which stacks it picks."""
Told = Callable[[Sequence[Addresses], Sequence["int | None"], Order], Sequence[list[Any]]]
"""What is said of the frames of stacks of addresses, root first."""

WAYS = 64
"""Alternatives that a selection may have."""

_MISSING = "[stack not in map]"


class Part:
    """One column's values as stacks: :attr:`stacks` holds the frames, root first, of each different value so far.

    *owner* says whose the addresses are: of two processes, equal ones are different stacks.
    """

    def __init__(
        self,
        column: str,
        names: Names,
        suffix: str = "",
        naming: Naming | None = None,
        owner: Owner = None,
    ) -> None:
        self.column = column
        self.columns = [column, owner] if isinstance(owner, str) else [column]
        """The frame's columns that are read."""
        self.stacks: list[Codes] = []
        self.values: list[Any] = []
        """The value behind each stack, as the column holds it."""
        self.renewed = 0
        """How often :meth:`renew` changed stacks."""
        self._names = names
        self._suffix = suffix
        self._naming = naming or Naming()
        self._owner = owner
        self._owners: list[int | None] = []
        self._known: dict[tuple[Any, int | None], int] = {}
        self._version = self._naming.version

    @property
    def hidden(self) -> bool:
        """Whether this process is not shown the kernel's addresses."""
        return self._naming.hidden

    def under(self, path: Sequence[str], found: Sequence[int]) -> Said:  # noqa: ARG002
        """The condition on the column that means the stacks under *path*, and which of :attr:`stacks` it picks.

        *found* are the numbers of some that are under it. None where no condition says so.
        """
        return None

    def _begins(self, path: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of :attr:`stacks` begin with the names of *path*."""
        return Stacks.of(self.stacks).under(self._names.codes(path))

    def encode(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        """The number of each row's stack in :attr:`stacks`, which grows by what is new."""
        keys, place = self._different(self._values(frame))
        owner = self._owner if isinstance(self._owner, int) else None
        pairs: list[tuple[Any, int | None]] = [(key, owner) for key in keys]
        if isinstance(self._owner, str):
            owners, different = pd.factorize(frame[self._owner], use_na_sentinel=False)
            whose = [None if pd.isna(pid) else int(pid) for pid in different.tolist()]
            place, both = pd.factorize(place * max(len(whose), 1) + owners)
            pairs = [(keys[at // len(whose)], whose[at % len(whose)]) for at in both.tolist()]
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        for pair, codes in zip(fresh, self._coded(fresh), strict=True):
            self._known[pair] = len(self.stacks)
            self.values.append(pair[0])
            self._owners.append(pair[1])
            self.stacks.append(codes)
        codes_of = np.array([self._known[pair] for pair in pairs], np.int64)
        return codes_of[place] if len(codes_of) else np.empty(0, np.int64)

    def _coded(self, pairs: Sequence[tuple[Any, int | None]]) -> list[Codes]:
        stacks = self._learn([key for key, _ in pairs], [owner for _, owner in pairs], self._naming.names)
        if self._suffix:
            stacks = [[marked(name, self._suffix) for name in frames] for frames in stacks]
        return [self._names.codes(frames) for frames in stacks]

    def located(self, codes: Sequence[int]) -> list[list[Located | str]]:
        """All that is known of the frames, root first, of the stacks with these numbers; else names."""
        keys, owners = [self.values[code] for code in codes], [self._owners[code] for code in codes]
        stacks = self._learn(keys, owners, self._naming.located)
        return [
            [marked(each, self._suffix) if isinstance(each, str) else each for each in frames]
            for frames in stacks
        ]

    def renew(self) -> None:
        """Take up what symbols were learned of since: stacks that it may concern are named anew, in their places."""
        version = self._naming.version
        if version == self._version:
            return
        self._version = version
        texts = self._names.all
        at = [
            code
            for code, stack in enumerate(self.stacks)
            if self._naming.may_improve([texts[name] for name in stack])
        ]
        again = self._coded([(self.values[code], self._owners[code]) for code in at])
        for code, stack in zip(at, again, strict=True):
            if not np.array_equal(stack, self.stacks[code]):
                self.stacks[code] = stack
                self.renewed += 1

    def _values(self, frame: pd.DataFrame) -> pd.Series[Any]:
        return frame[self.column]

    def _different(self, values: pd.Series[Any]) -> tuple[list[Any], npt.NDArray[np.int64]]:
        """Different values, and which of them each row has."""
        place, keys = pd.factorize(values, use_na_sentinel=False)
        return [None if pd.isna(key) else key for key in keys.tolist()], place

    def _learn(self, keys: list[Any], owners: list[int | None], told: Told) -> list[list[Any]]:
        """The frames, root first, of each of *keys*, of the processes *owners*: of addresses what is *told*."""
        raise NotImplementedError


class Value(Part):
    """Each value is a frame of its own."""

    def under(self, path: Sequence[str], found: Sequence[int]) -> Said:  # noqa: ARG002
        mask = self._begins(path)
        return {"in": [self.values[code] for code in np.flatnonzero(mask).tolist()]}, mask

    def _learn(self, keys: list[Any], owners: list[int | None], told: Told) -> list[list[Any]]:  # noqa: ARG002
        return [["[none]" if key is None else str(key)] for key in keys]


class Folded(Part):
    """Text: frames joined by ``;``."""

    def __init__(self, column: str, names: Names, suffix: str = "", order: Order = "root") -> None:
        super().__init__(column, names, suffix)
        self._step = 1 if order == "root" else -1
        self._plain = order == "root" and not suffix

    def under(self, path: Sequence[str], found: Sequence[int]) -> Said:  # noqa: ARG002
        return ({"under": list(path)}, self._begins(path)) if self._plain else None

    def _learn(self, keys: list[Any], owners: list[int | None], told: Told) -> list[list[Any]]:  # noqa: ARG002
        return [[frame for frame in str(key or "").split(";") if frame][:: self._step] for key in keys]


class Lists(Part):
    """Lists of names, or of addresses, which zeros may follow as a fixed array has them."""

    def __init__(
        self,
        column: str,
        names: Names,
        suffix: str = "",
        order: Order | None = None,
        naming: Naming | None = None,
        owner: Owner = None,
    ) -> None:
        super().__init__(column, names, suffix, naming, owner)
        self._order = order
        self._addresses = False

    def under(self, path: Sequence[str], found: Sequence[int]) -> Said:
        if not self._addresses:
            plain = self._order != "leaf" and not self._suffix
            return ({"under": list(path)}, self._begins(path)) if plain else None
        if self._order == "root":
            return None
        # One name may stand for several addresses: each way to the frame is an alternative.
        ways = {self._way(code, len(path)) for code in found}
        if len(ways) > WAYS or any(len(way) < len(path) for way in ways):
            return None
        mask = np.fromiter((self._way(code, len(path)) in ways for code in range(len(self.values))), bool)
        paths = [{"under": [f"0x{address:x}" for address in way]} for way in sorted(ways)]
        return paths if len(paths) > 1 else paths[0], mask

    def _way(self, code: int, length: int) -> tuple[int, ...]:
        """The first addresses of a stack, root first."""
        stack = np.frombuffer(self.values[code], np.uint64)
        return tuple(stack[: _used(stack)][::-1][:length].tolist())

    def _different(self, values: pd.Series[Any]) -> tuple[list[Any], npt.NDArray[np.int64]]:
        lists = _lists(values)
        flat = lists.flatten()
        lengths = np.asarray(lists.value_lengths().fill_null(0)).astype(np.int64)
        self._addresses = not _is_text(flat.type)
        words: npt.NDArray[Any]
        if self._addresses:
            words = addresses_of(flat)
        else:
            coded = flat.dictionary_encode()
            known = self._names.codes(
                marked("" if name is None else name, self._suffix) for name in coded.dictionary.to_pylist()
            )
            words = known.take(coded.indices.fill_null(0).to_numpy(zero_copy_only=False))
        # Equal lists are equal bytes, which Arrow tells apart without making an object of each.
        offsets = np.zeros(len(lists) + 1, np.int64)
        np.cumsum(lengths * words.itemsize, out=offsets[1:])
        binary = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(lists), [None, pa.py_buffer(offsets), pa.py_buffer(words)]
        ).dictionary_encode()
        return binary.dictionary.to_pylist(), binary.indices.to_numpy(zero_copy_only=False)

    def _learn(self, keys: list[bytes], owners: list[int | None], told: Told) -> list[list[Any]]:
        if not self._addresses:
            self._step = -1 if self._order == "leaf" else 1
            return [
                [self._names.all[code] for code in np.frombuffer(key, np.int32)[:: self._step]]
                for key in keys
            ]
        stacks = [np.frombuffer(key, np.uint64) for key in keys]
        stacks = [stack[: _used(stack)] for stack in stacks]
        return [*told(stacks, owners, self._order or "leaf")]


class Spread(Lists):
    """Addresses in columns of their own, ``stack.0``, ``stack.1`` ..., as small arrays in a struct are decoded."""

    def __init__(
        self, column: str, columns: list[str], names: Names, suffix: str = "", **options: Any
    ) -> None:
        super().__init__(column, names, suffix, **options)
        self.columns = [*columns, *self.columns[1:]]
        self._elements = columns

    def under(self, path: Sequence[str], found: Sequence[int]) -> None:
        """A column an element says nothing of stacks, which are of different lengths."""

    def _values(self, frame: pd.DataFrame) -> pd.Series[Any]:
        words = np.column_stack([frame[name].to_numpy(np.uint64) for name in self._elements])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(words.ravel()), len(self._elements))
        return pd.Series(pd.arrays.ArrowExtensionArray(lists), name=self.column)


class Ids(Part):
    """Ids of stacks in a BPF_MAP_TYPE_STACK_TRACE map, leaf first there, as ``bpf_get_stackid()`` returns them.

    *read* gives the map's stacks. Negative ids are errors: ``-EFAULT`` means that there was no such stack, others that
    it was lost, which stands as a frame in its place.
    """

    def __init__(
        self,
        column: str,
        names: Names,
        read: Callable[[], Mapping[int, Any]],
        suffix: str = "",
        order: Order | None = None,
        naming: Naming | None = None,
        owner: Owner = None,
    ) -> None:
        super().__init__(column, names, suffix, naming, owner)
        self._read = read
        self._found: dict[int, Any] = {}
        self._order: Order = order or "leaf"

    def encode(self, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
        # A stack that was not in the map may be the next time: it is looked for again.
        for key in [key for key, code in self._known.items() if self._is_missing(code)]:
            del self._known[key]
        return super().encode(frame)

    def _is_missing(self, code: int) -> bool:
        stack = self.stacks[code]
        return len(stack) == 1 and self._names.all[stack[0]] == _MISSING

    def _learn(self, keys: list[Any], owners: list[int | None], told: Told) -> list[list[Any]]:
        out: list[list[Any]] = [[] for _ in keys]
        numbers = [
            None if key is None else int(key) - (1 << 32 if int(key) >= 1 << 31 else 0) for key in keys
        ]
        new = {number for number in numbers if number is not None and number >= 0} - self._found.keys()
        if new:
            there = self._read()
            self._found |= {number: there[number] for number in new if number in there}
        wanted = []
        for at, number in enumerate(numbers):
            if number is None:
                continue
            if number < 0:
                out[at] = lost(number)
            elif number not in self._found:
                out[at] = [_MISSING]
            else:
                wanted.append((at, self._found[number]))
        lists = [stack for _, stack in wanted]
        texts: Sequence[list[Any]]
        if lists and all(isinstance(frame, str) for stack in lists for frame in stack):
            step = 1 if self._order == "root" else -1
            texts = [list(stack)[::step] for stack in lists]
        else:
            texts = told(
                [np.asarray(stack, np.uint64) for stack in lists],
                [owners[at] for at, _ in wanted],
                self._order,
            )
        for (at, _), text in zip(wanted, texts, strict=True):
            out[at] = text
        return out


def addresses_of(flat: pa.Array) -> Addresses:
    """Arrow's integers as u64; what C calls signed keeps its bits."""
    if not pa.types.is_integer(flat.type):
        raise BadValue(f"a stack is a list of names or of addresses, not of {flat.type}")
    numbers = np.ascontiguousarray(flat.fill_null(0).to_numpy(zero_copy_only=False))
    if numbers.dtype.kind == "i":
        return numbers.astype(np.int64, copy=False).view(np.uint64)
    return numbers.astype(np.uint64, copy=False)


def _lists(values: pd.Series[Any]) -> pa.Array:
    array = stacks_of(values)
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.string()))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return array
    raise BadValue(f"'{values.name}' holds {array.type} values, not stacks")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _used(stack: Addresses) -> int:
    """Frames before the first zero."""
    zeros = np.flatnonzero(stack == 0)
    return int(zeros[0]) if len(zeros) else len(stack)
