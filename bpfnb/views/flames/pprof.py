"""Profiles of pprof (github.com/google/pprof, proto/profile.proto): ``go tool pprof``, Parca and Pyroscope read them.

A location is an address as its file was linked, so that it is one in all processes, wherever each has loaded the file;
its mapping is the file's segment, at the place for which that was linked. Of the kernel's functions there are no
addresses: a profile that is passed on would tell where this machine's kernel lies.
"""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bpfnb.symbols.frame import Frame
from bpfnb.symbols.process import Located
from bpfnb.views._protobuf import message, number, varints

__all__ = ["KINDS", "pprof"]

KINDS = {"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "s": "seconds", "bytes": "bytes"}
"""Units as pprof and speedscope call them."""

_KERNEL = "[kernel.kallsyms]"  # as perf calls it, and pprof knows it: a name in brackets is no file's
_MOST = (1 << 63) - 1


class _Function(NamedTuple):
    name: str
    file: str
    start_line: int


class _Mapping(NamedTuple):
    file: str
    build_id: str
    start: int
    end: int
    offset: int


_Line = tuple[_Function, int]


def pprof(
    stacks: Sequence[Sequence[Located | str]],
    weights: Iterable[float],
    unit: str,
    span: tuple[int, int] | None = None,
) -> bytes:
    """*stacks*, root first, and what each weighs, compressed with gzip.

    *span* is when they were collected, [start, end) in ns since 1970. Values are whole numbers of at most 63 bits
    there: fractions are rounded.
    """
    return gzip.compress(_Profile().encoded(stacks, weights, unit, span), mtime=0)


class _Profile:
    """What samples refer to by numbers, each from 1 in order of first use; texts from 0, which is the empty one."""

    def __init__(self) -> None:
        self._texts = {"": 0}
        self._functions: dict[_Function, int] = {}
        self._mappings: dict[_Mapping, int] = {}
        self._locations: dict[tuple[_Mapping | None, int, tuple[_Line, ...]], int] = {}

    def encoded(
        self,
        stacks: Sequence[Sequence[Located | str]],
        weights: Iterable[float],
        unit: str,
        span: tuple[int, int] | None,
    ) -> bytes:
        kind = {"samples": "samples", "bytes": "space"}.get(unit, "time" if unit in KINDS else unit)
        of_pprof = {"samples": "count"}.get(unit, KINDS.get(unit, unit))
        value_type = number(1, self._text(kind)) + number(2, self._text(of_pprof))
        out = [message(1, value_type)]
        for stack, weight in zip(stacks, weights, strict=True):
            leaf_first = varints(map(self._location, reversed(stack)))
            out.append(message(2, message(1, leaf_first) + message(2, varints([min(round(weight), _MOST)]))))
        locations = [message(4, self._encoded_location(*each)) for each in self._locations]
        # The first mapping is taken for the program's.
        mappings = sorted(self._mappings, key=lambda mapping: mapping.file.startswith("["))
        inside: dict[_Mapping | None, list[tuple[_Line, ...]]] = defaultdict(list)
        for of, _, lines in self._locations:
            inside[of].append(lines)
        out += [message(3, self._encoded_mapping(mapping, inside[mapping])) for mapping in mappings]
        out += locations
        out += [message(5, self._encoded_function(function)) for function in self._functions]
        if span is not None:
            out += [number(9, span[0]), number(10, span[1] - span[0])]
        out += [message(11, value_type), number(12, 1)]
        out += [message(6, text.encode(errors="replace")) for text in self._texts]
        return b"".join(out)

    def _location(self, found: Located | str) -> int:
        if isinstance(found, str):
            key: tuple[_Mapping | None, int, tuple[_Line, ...]] = None, 0, ((_Function(found, "", 0), 0),)
        else:
            key = _mapping(found), 0 if found[0].kind == "kernel" else found[2], tuple(_lines(found[0]))
        if key[0] is not None:
            self._mappings.setdefault(key[0], len(self._mappings) + 1)
        return self._locations.setdefault(key, len(self._locations) + 1)

    def _encoded_location(self, mapping: _Mapping | None, address: int, lines: tuple[_Line, ...]) -> bytes:
        out = number(1, self._locations[mapping, address, lines])
        if mapping is not None:
            out += number(2, self._mappings[mapping])
        out += number(3, address)
        for function, line in lines:
            place = self._functions.setdefault(function, len(self._functions) + 1)
            out += message(4, number(1, place) + number(2, line))
        return out

    def _encoded_function(self, function: _Function) -> bytes:
        name = self._text(function.name)
        out = number(1, self._functions[function]) + number(2, name) + number(3, name)
        return out + number(4, self._text(function.file)) + number(5, function.start_line)

    def _encoded_mapping(self, mapping: _Mapping, here: Sequence[tuple[_Line, ...]]) -> bytes:
        """What is said of its functions, files, lines and inlined ones holds where it does of any of its locations
        (*here* their lines), as pprof has it: what is missing it may look up in the file itself.
        """
        out = number(1, self._mappings[mapping])
        out += number(2, mapping.start) + number(3, mapping.end) + number(4, mapping.offset)
        out += number(5, self._text(mapping.file)) + number(6, self._text(mapping.build_id))
        lines = [line for each in here for line in each]
        out += number(7, any(not function.name.startswith("[") for function, _ in lines))
        out += number(8, any(function.file for function, _ in lines))
        out += number(9, any(line for _, line in lines))
        return out + number(10, any(len(each) > 1 for each in here))

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))


def _lines(frame: Frame) -> list[_Line]:
    """A frame's functions, the innermost first: those that were put into others there have lines of their own."""
    own = _Function(frame.names[0], frame.file or "", frame.start_line or 0), frame.line or 0
    inner = [(_Function(each.function, each.file or "", 0), each.line or 0) for each in frame.inlined]
    return [*reversed(inner), own]


def _mapping(found: Located) -> _Mapping | None:
    frame, binary, address = found
    if frame.kind == "kernel":
        return _Mapping(f"[{frame.module}]" if frame.module else _KERNEL, "", 0, 0, 0)
    if binary is None:
        return None
    for offset, start, size in binary.elf.segments:
        if start <= address < start + size:
            return _Mapping(frame.module or "", binary.elf.build_id or "", start, start + size, offset)
    return None
