"""compile(): from a Source to a BpfElf, through the cache where nothing changed."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bpfnb.annotations import check as check_annotations
from bpfnb.btf import Btf
from bpfnb.btf_elf import read_sections
from bpfnb.compile import cache, diagnostics, hints
from bpfnb.compile.clang import Clang, find_clang
from bpfnb.compile.elf import BpfElf
from bpfnb.compile.events import SECTION, counters_of, events_of, map_kinds
from bpfnb.compile.headers import (
    INCLUDE,
    Headers,
    base_flags,
    find_headers,
    may_use_precompiled,
    need_libbpf,
    precompiled,
)
from bpfnb.compile.late import Late, late_records
from bpfnb.compile.lint import lint
from bpfnb.compile.source import Source, dialect
from bpfnb.compile.vmlinux import KERNEL_BTF
from bpfnb.errors import CompileError, Diagnostic, Location

__all__ = ["compile"]

# The header goes before all others; see there.
_COUNTED = ("-include", str(INCLUDE / "bpfnb/count.h"))
_TYPED = (*_COUNTED, "-DBPFNB_TYPES_ONLY")

_FORMAT = "3"  # of what is derived from an object and kept beside it; a new one invalidates the cache


def compile(  # noqa: A001
    source: Source, *, kernel_btf: Path = KERNEL_BTF, cpu: str = "v3", count_drops: bool = True
) -> BpfElf:
    """Compile *source* for BPF with the types of *kernel_btf*.

    A text without any ``#include`` is given <bpfnb/prelude.h>; any other is compiled as ``clang -target bpf`` does,
    with ``vmlinux.h``, libbpf's headers and bpfnb's on the search path. *cpu* is clang's ``-mcpu``. *count_drops*
    adds counters where the program sends records and updates maps (see ``bpfnb/count.h``); where a program compiles
    only without them, it gets none. Without *count_drops* its code is exactly clang's.

    The same source gives the same object from the cache, also in another process. Raises CompileError with
    diagnostics at the source's own lines, and MissingDependency where there is no clang, libbpf or libbpf header.
    """
    clang = find_clang()
    headers = find_headers(kernel_btf)
    key = _key(source, clang, headers, cpu, count_drops)
    if entry := cache.load_entry(key):
        description, data = entry
        if all(_digest(Path(path)) == digest for path, digest in description["local"]):
            return BpfElf._restore(data, source, clang.description, key, description["elf"])
    if dialect(source.text) == "bcc":
        raise CompileError(
            "this is C in bcc's dialect, which clang alone cannot compile",
            source=source.text,
            hints=[
                'bcc\'s macros (BPF_HASH, TRACEPOINT_PROBE ...) have libbpf counterparts: maps in SEC(".maps")'
            ],
        )
    with tempfile.TemporaryDirectory(prefix="bpfnb-") as folder:
        job = _Job(source, clang, headers, cpu, Path(folder))
        data, log = job.build(count_drops)
        elf = _describe(data, source, clang, key, log, headers)
        late = late_records(elf.btf, data, source)
        if late and (again := job.try_again(late)):
            elf = _describe(again, source, clang, key, log, headers)
        local = [(str(path), _digest(path)) for path in job.local_headers()]
    _check_annotations(elf, log)
    cache.store_entry(key, {"local": local, "elf": elf._describe()}, elf.data)
    return elf


class _Job:
    """One compile in a directory of its own: the text under its own name, and what clang makes of it."""

    def __init__(self, source: Source, clang: Clang, headers: Headers, cpu: str, folder: Path) -> None:
        self.source = source
        self.clang = clang
        self.headers = headers
        self.folder = folder
        self.prelude = source.takes_prelude
        if self.prelude or any(name.startswith("bpf/bpf_") for name in source.includes):
            need_libbpf(headers)
        self.flags = base_flags(clang, cpu, source.macros)
        self.marks: tuple[str, ...] = ()
        self.pch = precompiled(clang, headers, self.flags) if may_use_precompiled(source, headers) else None
        (folder / source.file).write_text(source.text, encoding="utf-8")

    def build(self, count: bool) -> tuple[bytes, str]:
        """The object and clang's log. Raises CompileError with what a plain compile says."""
        marks = _COUNTED if count else _TYPED
        data, log = self._first(marks, ())
        refused = bool(self.pch and re.search(r"\b(?:PCH|AST|precompiled)\b", log))
        if self.pch and refused and not data:
            # Its headers changed, or it is another compiler's: the next cell makes it anew.
            self.pch.unlink(missing_ok=True)
        # What a cell with headers of its own means is for those headers to say, without ours before them.
        if self.pch and not data and (refused or not self.prelude):
            self.pch = None
            data, log = self._first(marks, ())
        if not data:
            raise self._error(log)
        return data, log

    def try_again(self, late: Sequence[Late]) -> bytes:
        """The object with declarations appended that make BTF describe *late*; empty where that does not compile."""
        text = self.source.text + "\n" + "\n".join(record.declaration for record in late) + "\n"
        (self.folder / self.source.file).write_text(text, encoding="utf-8")
        return self._try(self.marks)[0]

    def _first(self, *choices: tuple[str, ...]) -> tuple[bytes, str]:
        """What the first of *choices* gives that compiles, else what the last one says."""
        for self.marks in choices:
            data, log = self._try(self.marks)
            if data:
                break
        return data, log

    def _try(self, marks: tuple[str, ...]) -> tuple[bytes, str]:
        source, target = self.source, self.folder / ".o"
        args = [*self.flags, *(f"-D{macro}" for macro in source.macros)]
        args += ["-include-pch", str(self.pch)] if self.pch else []
        args += marks
        if self.prelude:
            args += ["-include", str(INCLUDE / "bpfnb/prelude.h")]
            args += ["-DBPFNB_OWN_LICENSE"] * source.has_license
        if source.directory:
            args += ["-iquote", str(source.directory.absolute())]
        args += [f"-I{folder}" for folder in source.search]
        args += self.headers.flags + _absolute(source)
        args += ["-MD", "-MF", ".d", "-c", source.file, "-o", target.name]
        target.unlink(missing_ok=True)
        done = self.clang.run(args, cwd=self.folder)
        ok = done.returncode == 0 and target.exists()
        return target.read_bytes() if ok else b"", done.stderr

    def _error(self, log: str) -> CompileError:
        found = diagnostics.parse(log, self.source, _ours(self.headers))
        errors = [d for d in found if d.severity == "error"]
        if not errors:  # clang was killed or crashed: its last line is all there is to say
            last = next(
                (line for line in reversed(log.splitlines()) if line.strip()), "clang died without a word"
            )
            errors = [Diagnostic("error", last.strip())]
        own = [d.where for d in errors if d.where and d.where.file == self.source.name]
        return CompileError(
            diagnostics.summary(errors, self.source),
            diagnostics=[d for d in found if d.where] or errors,
            where=own[0] if own else diagnostics.included_at(log, self.source) or errors[0].where,
            source=self.source.text,
            hints=hints.hints(errors, self.source, self.headers),
            log=log,
        )

    def local_headers(self) -> list[Path]:
        """The headers that clang read and that no other part of the key stands for."""
        try:
            text = (self.folder / ".d").read_text().replace("\\\n", " ")
        except OSError:
            return []
        words = re.findall(r"(?:\\.|[^\s\\])+", text.partition(":")[2])
        paths = {(self.folder / re.sub(r"\\(.)|\$(\$)", r"\1\2", word)).resolve() for word in words}
        ours = [folder.resolve() for folder in (*_ours(self.headers), self.folder, cache.cache_dir())]
        system = [Path("/usr/include"), Path("/usr/lib"), self.clang.path.resolve().parent]
        users = [*self.source.search, *([self.source.directory] if self.source.directory else [])]
        return sorted(
            path
            for path in paths
            if not any(folder in path.parents for folder in ours)
            and (
                any(folder.resolve() in path.parents for folder in users)
                or not any(folder in path.parents for folder in system)
            )
        )


def _ours(headers: Headers) -> tuple[Path, ...]:
    return (headers.vmlinux.parent, INCLUDE, *((headers.libbpf / "bpf",) if headers.libbpf else ()))


def _absolute(source: Source) -> list[str]:
    """The source's flags, with directories of -I and its kin made absolute: clang runs in another directory."""
    base = source.directory or Path.cwd()
    flags = []
    takes_path = False
    for flag in source.flags:
        match = re.fullmatch(r"(-I|-iquote|-isystem|-idirafter)(.*)", flag)
        if takes_path:
            flags.append(str(base / flag))
            takes_path = False
        elif match:
            takes_path = not match[2]
            flags.append(match[1] + (str(base / match[2]) if match[2] else ""))
        else:
            flags.append(flag)
    return flags


def _key(source: Source, clang: Clang, headers: Headers, cpu: str, count: bool) -> str:
    parts: list[Any] = [_FORMAT, source.text, source.name, source.directory, source.macros, source.search]
    parts += [source.flags, clang.identity, headers.identity, cpu, count]
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "absent"


def _describe(data: bytes, source: Source, clang: Clang, key: str, log: str, headers: Headers) -> BpfElf:
    btf = Btf.from_elf(data)
    sections = read_sections(data)
    kinds = map_kinds(btf)
    events = events_of(btf, kinds)
    if SECTION not in sections and events:
        from bpfnb.compile import foreign  # pyelftools, which objects with marks seldom need

        events = foreign.events(data, btf, kinds, events)
    found = diagnostics.parse(log, source, _ours(headers))
    elf = BpfElf(
        data=data,
        source=source,
        compiler=clang.description,
        key=key,
        cached=False,
        warnings=(*(d for d in found if d.severity == "warning"), *lint(btf, sections, source)),
        events=events,
        counters=counters_of(btf, kinds),
    )
    elf.__dict__["btf"] = btf  # what the cached property would read again
    return elf


def _check_annotations(elf: BpfElf, log: str) -> None:
    records = {name: [event.type_id for event in events] for name, events in elf.events.items()}
    problems = check_annotations(elf.btf, {name: ids for name, ids in records.items() if all(ids)})
    if not problems:
        return
    found = [
        Diagnostic("error", f"{what}: {problem}", _tag_place(what, elf.source)) for what, problem in problems
    ]
    raise CompileError(
        diagnostics.summary(found, elf.source),
        diagnostics=found,
        where=found[0].where,
        source=elf.source.text,
        log=log,
    )


def _tag_place(what: str, source: Source) -> Location | None:
    """The line on which *what* ("struct event.ts", "map lat") is declared with an annotation."""
    for word in reversed(re.findall(r"\w+", what)):
        pattern = rf"\b{re.escape(word)}\b[^;{{}}]*?\b(?P<tag>UNIT|FORMAT|DESCRIPTION|HIDDEN|RANGE|VIEW|btf_decl_tag)\b"
        if match := re.search(pattern, source.code):
            before = source.code[: match.start("tag")]
            return Location(source.name, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return None
