"""A compiled BPF object and what is known about it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bpfnb.btf import Btf
from bpfnb.btf_elf import read_sections
from bpfnb.compile.events import Counter, Event, counters_of, events_of, map_kinds
from bpfnb.compile.source import Source
from bpfnb.errors import BpfnbError, Diagnostic, Location

__all__ = ["BpfElf"]


@dataclass(frozen=True)
class BpfElf:
    """An object file for the kernel.

    ``key`` is a sha256 (hex) of all that the object was made from. ``cached`` says whether it came from the cache.
    ``events`` maps each ring and perf buffer to the record types found for it (none where nothing is known);
    ``counters`` maps a map to the in-kernel counters of what it lost, ``counting`` says whether a map without them can
    lose nothing; ``views`` maps a map to the VIEW that is its own where no annotation says one.
    """

    data: bytes = field(repr=False)
    source: Source = field(repr=False)
    compiler: str
    key: str
    cached: bool
    warnings: tuple[Diagnostic, ...] = ()
    events: Mapping[str, tuple[Event, ...]] = field(default_factory=dict)
    counters: Mapping[str, tuple[Counter, ...]] = field(default_factory=dict)
    counting: bool = True
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def btf(self) -> Btf:
        """The object's own types. Raises BpfnbError where it has none."""
        return Btf.from_elf(self.data)

    @cached_property
    def programs(self) -> tuple[tuple[str, str], ...]:
        """(name, section) of every program, in the order of their sections."""
        return tuple(
            (name, section)
            for section, content in read_sections(self.data).items()
            if section not in (".text", ".ksyms") and not section.startswith((".debug", ".rel"))
            for name in sorted(content.symbols, key=content.symbols.__getitem__)
            if name in self._functions
        )

    def where(self, program: str, section: str) -> Location | None:  # noqa: ARG002  other dialects place by name
        """The place in the source that says where a program is attached."""
        for number, line in enumerate(self.source.text.splitlines(), 1):
            column = line.find(f'"{section}"')
            if column >= 0:
                return Location(self.source.name, number, column + 2)
        return None

    @cached_property
    def _functions(self) -> frozenset[str]:
        try:
            return frozenset(self.btf.names("func"))
        except BpfnbError:
            from bpfnb.compile import foreign

            return foreign.functions(self.data)

    @classmethod
    def from_file(cls, source: Path | str | bytes) -> BpfElf:
        """An object that was compiled elsewhere: a path, or its bytes.

        Record types come from the maps' own value types, then from the calls in its code: which buffer a call sends
        to, how many bytes, and which variable of the function (DWARF) has that size. Best effort.
        """
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        name = "object" if isinstance(source, bytes) else Path(source).name
        read_sections(data)  # raises where it is no object at all
        events: Mapping[str, tuple[Event, ...]] = {}
        counters: Mapping[str, tuple[Counter, ...]] = {}
        compiler = "unknown"
        try:
            btf = Btf.from_elf(data)
        except BpfnbError:
            pass
        else:
            from bpfnb.compile import foreign  # pyelftools, which only such objects need

            kinds = map_kinds(btf)
            counters = counters_of(btf, kinds)
            events = foreign.events(data, btf, kinds, events_of(btf, kinds))
            compiler = foreign.producer(data) or compiler
        key = hashlib.sha256(data).hexdigest()
        return cls(data, Source("", name), compiler, key, cached=False, events=events, counters=counters)

    def _describe(self) -> dict[str, Any]:
        """All but the bytes and the source, for the cache."""
        return {
            "warnings": [dataclasses.astuple(warning) for warning in self.warnings],
            "events": {n: [dataclasses.astuple(e) for e in found] for n, found in self.events.items()},
            "counters": {n: [dataclasses.astuple(c) for c in found] for n, found in self.counters.items()},
        }

    @classmethod
    def _restore(
        cls, data: bytes, source: Source, compiler: str, key: str, description: Mapping[str, Any]
    ) -> BpfElf:
        return cls(
            data=data,
            source=source,
            compiler=compiler,
            key=key,
            cached=True,
            warnings=tuple(
                Diagnostic(severity, message, Location(*where) if where else None)
                for severity, message, where in description["warnings"]
            ),
            events={n: tuple(Event(*e) for e in found) for n, found in description["events"].items()},
            counters={n: tuple(Counter(*c) for c in found) for n, found in description["counters"].items()},
        )
