"""A cell in bcc's dialect, compiled by bcc and made an ordinary object: programs by section, maps, typed streams.

    text -> compile_cell: bcc.BPF without its automatic attachment -> BccProgram -> load: BccObject

Functions have their places as libbpf's sections, from their names or from the user; bcc attaches nothing itself, so
options, errors and links are those of all other objects. A text is compiled anew whenever it is loaded, unlike C for
clang, whose objects are kept: what bcc makes lives in this process only. That takes it 0.2 s of a CPU.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bpfnb.bcc import hook
from bpfnb.bcc.dialect import Function, check_places, functions, histograms
from bpfnb.bcc.find import module
from bpfnb.bcc.installed import matching
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.losses import HIDDEN, counters
from bpfnb.bcc.missing import missing_section
from bpfnb.bcc.object import BccObject, Place, load
from bpfnb.bcc.programs import section_of
from bpfnb.bcc.remarks import remarks
from bpfnb.bcc.scan import scan
from bpfnb.bcc.tables import map_info, of_program, stream_types
from bpfnb.bcc.usdt import Readers, readers
from bpfnb.btf import Array, Btf, Composite
from bpfnb.compile.elf import BpfElf
from bpfnb.compile.events import Event
from bpfnb.compile.source import Source
from bpfnb.errors import AttachError, Location, MissingDependency, UnknownName
from bpfnb.kernel.backend import MapInfo
from bpfnb.kernel.system import mount_bpffs

__all__ = ["BccProgram", "compile_cell", "switched", "version"]

Places = Mapping[str, Sequence[str]]
_STREAMS = frozenset({"ringbuf", "perf_event_array"})
_PINNED = re.compile(r'\bBPF_\w*PINNED\w*\s*\([^;]*"(/[^"]+)"')
_LLVM = re.compile(r"libLLVM[-.](?:so\.)?(\d+)")


@dataclass(frozen=True)
class BccProgram(BpfElf):
    """A program that bcc compiled: its maps exist, its functions are not loaded yet.

    ``bpf`` is the ``bcc.BPF``; ``places`` say which functions are loaded, as what, under which name; ``tables`` are the
    maps, hidden ones too. It can be loaded once: closing what was loaded frees it.
    """

    bpf: Any = field(default=None, repr=False)
    places: tuple[Place, ...] = ()
    tables: Mapping[str, MapInfo] = field(default_factory=dict)
    usdt: Readers = field(default_factory=Readers, repr=False)

    @cached_property
    def btf(self) -> Btf:
        return of_program(self.bpf)

    @cached_property
    def programs(self) -> tuple[tuple[str, str], ...]:
        return tuple((place.name, place.section) for place in self.places)

    def where(self, program: str, section: str) -> Location | None:
        function = next(
            (p.function for p in self.places if p.name == program or p.section == section), program
        )
        return _line(self.source, function)

    def discard(self) -> None:
        """Free it where it was not loaded, or its loading failed."""
        _close(self.bpf)

    def load(self, name: str) -> BccObject:
        """Load every function that has a place; nothing is attached.

        Raises VerifierError, KernelFeatureMissing, NotPermitted, BadValue; nothing stays loaded after any of them.
        """
        try:
            loaded = load(self.bpf, name, self.places, self.tables, self.usdt)
        except AttachError as error:
            if error.where is None:
                error.where, error.source = self.where(error.program, error.section), self.source.text
            raise
        # Now, while there is something to read it from: a program without tables shows it only when it is loaded.
        self.__dict__["btf"] = of_program(self.bpf, map(loaded.program_fd, loaded.programs))
        return loaded


def version() -> str:
    """Which bcc, and which LLVM it compiles with: ``bcc 0.26.0 (LLVM 14)``. Raises MissingDependency."""
    found = module().__version__
    llvm = _LLVM.search(Path("/proc/self/maps").read_text())
    return f"bcc {found}" + (f" (LLVM {llvm[1]})" if llvm else "")


def switched(on: bool) -> str:
    """Turn the hook for ``from bcc import BPF`` on or off; what is so from then on, in words.

    Raises MissingDependency where bcc is not installed.
    """
    if not on:
        hook.disable()
        return "bcc is as it was installed: BPF() looks for kernel headers itself. Cells in its dialect need none."
    hook.enable()
    return "\n".join([f"{version()}: `from bcc import BPF` works in this notebook.", _headers()])


def _headers() -> str:
    """Where BPF() takes the kernel's types from."""
    if chosen := os.environ.get("BCC_KERNEL_SOURCE"):
        return f"Kernel headers: BCC_KERNEL_SOURCE names {chosen}."
    try:
        kernel = Kernel.running()
    except MissingDependency:
        return "Kernel headers: those that are installed, since this kernel has no BTF."
    if matching(kernel):
        return f"Kernel headers: those that are installed, which are kernel {kernel.release}'s."
    return f"Kernel headers: made for each program from the BTF of kernel {kernel.release}."


def compile_cell(
    source: Source,
    places: Places,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    attach: bool = True,
) -> BccProgram:
    """Compile a text in bcc's dialect. *places* are sections by function, beside those that functions' names mean;
    *options* those of attaching, by function, of which USDT probes need some to be compiled.

    What this kernel lacks is said before anything is compiled where the program is to be attached (*attach*). Raises
    CompileError, KernelFeatureMissing, AttachError (no function has a place), UnknownName and BadValue (*places*),
    NotPermitted, MissingDependency.
    """
    module()
    check_places(source.text, places)
    if attach:
        for one in functions(source.text).values():
            for section in _sections(one.name, places):
                _check_kernel(source, one, section)
    try:
        usdt = readers(places, options or {}, functions(source.text))
    except AttachError as error:
        error.where, error.source = _line(source, error.program), source.text
        raise
    for path in _PINNED.findall(source.code):
        mount_bpffs(Path(path))
    bpf = hook.compile(source.text, name=source.name, cflags=_cflags(source), attach=False, readers=usdt.text)
    try:
        return replace(_described(source, places, bpf, attach), usdt=usdt)
    except BaseException:
        _close(bpf)
        raise


def _sections(function: str, places: Places) -> Sequence[str]:
    """Where a function goes: what was asked for, else what its name means."""
    own = section_of(function)
    return places.get(function, [own] if own else [])


def _check_kernel(source: Source, function: Function, section: str) -> None:
    if missing := missing_section(section):
        missing.program = function.name
        missing.where, missing.source = Location(source.name, function.line), source.text
        raise missing


def _cflags(source: Source) -> list[str]:
    folders = ([source.directory] if source.directory else []) + list(source.search)
    return [
        *(f"-D{macro}" for macro in source.macros),
        *(f"-I{folder}" for folder in folders),
        *source.flags,
    ]


def _close(bpf: Any) -> None:
    """Free what a ``bcc.BPF`` holds, and let it go."""
    bpf.cleanup()
    atexit.unregister(bpf.cleanup)


# What was compiled


def _described(source: Source, places: Places, bpf: Any, attach: bool) -> BccProgram:
    known = functions(source.text)
    names = [bpf_name.decode() for bpf_name in _names_of_functions(bpf)]
    for function in places:
        if function not in names:
            raise UnknownName.among(names, function, f"the program has no function '{function}'")
    found: list[Place] = []
    without: list[str] = []
    for function in names:
        sections = _sections(function, places)
        if not sections and not (function in known and known[function].local):
            without.append(function)
        # A function at several places is loaded once for each: its costs are told apart.
        found += [
            Place(f"{function}#{number}" if number > 1 else function, function, section)
            for number, section in enumerate(sections, 1)
        ]
    if without and not found and attach:
        raise _nowhere(source, without)
    tables = _tables(bpf, source.text)
    shown = {name: info for name, info in tables.items() if not info.internal}
    btf = of_program(bpf)
    events = {
        name: tuple(
            Event(number, btf.size(number), btf[number].name) for number in stream_types(bpf, btf, name)
        )
        for name, info in shown.items()
        if info.kind in _STREAMS
    }
    compiler = version()
    return BccProgram(
        data=b"",
        source=source,
        compiler=compiler,
        key=_key(source, places, compiler),
        cached=False,
        warnings=(*hook.diagnostics(bpf), *remarks(source, found, without, shown)),
        events=events,
        counters=counters((name, info.kind) for name, info in tables.items()),
        counting=hook.counts(bpf),
        views=_views(source.text, shown, btf),
        bpf=bpf,
        places=tuple(found),
        tables=tables,
    )


def _names_of_functions(bpf: Any) -> list[bytes]:
    lib = module().lib
    return [lib.bpf_function_name(bpf.module, number) for number in range(lib.bpf_num_functions(bpf.module))]


def _line(source: Source, function: str) -> Location | None:
    known = functions(source.text).get(function)
    return Location(source.name, known.line) if known else None


def _nowhere(source: Source, without: Sequence[str]) -> AttachError:
    first, several = without[0], len(without) > 1
    return AttachError(
        f"no function of the program has a place where it could be attached ({', '.join(without)})"
        if several
        else f"'{first}' has no place where it could be attached",
        program=first,
        where=_line(source, first),
        source=source.text,
        hints=[
            f'say where: --attach {first}=SECTION, or in Python attach={{"{first}": "SECTION"}}',
            "a SECTION is tracepoint/CATEGORY/NAME, uprobe/libc.so.6:strlen, perf_event, xdp ...",
            "or name it after its place: TRACEPOINT_PROBE(CATEGORY, NAME), RAW_TRACEPOINT_PROBE(NAME)",
        ],
    )


def _tables(bpf: Any, text: str) -> dict[str, MapInfo]:
    """All maps of a program in the order of its text, with the ids of their types; the hidden ones as internal."""
    lib, handle = module().lib, ctypes.c_void_p(bpf.module)
    name_of = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)(("bpf_table_name", lib))
    found = {}
    for number in range(lib.bpf_num_tables(handle)):
        name = name_of(bpf.module, number).decode()
        _, info = map_info(bpf, lib.bpf_table_fd_id(handle, ctypes.c_size_t(number)), name)
        found[name] = replace(info, internal=name if name.startswith(HIDDEN) else "")
    return {name: found[name] for name in sorted(found, key=lambda name: _position(text, name))}


def _position(text: str, name: str) -> int:
    match = re.search(rf"\b{re.escape(name)}\b", scan(text).code)
    return match.start() if match else len(text)


def _views(text: str, tables: Mapping[str, MapInfo], btf: Btf) -> dict[str, tuple[str, ...]]:
    """The VIEW of each BPF_HISTOGRAM: its slots, and the other field of its key by which bcc prints one for each."""
    found = {}
    for name, how in histograms(text).items():
        info = tables.get(name)
        if info is None:
            continue
        words = ["hist", "log2" if how.log2 else "linear"]
        if how.first:
            words.append(f"first={how.first}")
        key = btf.resolve(info.key_type) if info.key_type else None
        if isinstance(key, Composite):
            members = [member for member in key.members if not member.name.startswith("__p")]
            names = [member.name for member in members]
            if "slot" not in names and len(names) != 2:
                continue  # bcc's own print_log2_hist cannot tell either
            slot = "slot" if "slot" in names else names[1]
            words.append(f"column={slot}")
            words += [f"by={one.name}" for one in members if one.name != slot and _one_column(btf, one.type)][
                :1
            ]
        found[name] = tuple(words)
    return found


def _one_column(btf: Btf, number: int) -> bool:
    found = btf.resolve(number)
    return not isinstance(found, Composite | Array) or (
        isinstance(found, Array) and btf.size(found.element) == 1
    )


def _key(source: Source, places: Places, compiler: str) -> str:
    """sha256 of what the program was made from."""
    parts = [compiler, source.text, _cflags(source), sorted((name, list(at)) for name, at in places.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
