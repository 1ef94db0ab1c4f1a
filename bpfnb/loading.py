"""From source to a live object: compile, load, attach, and take the place of the object that had the name before."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from bpfnb import guest
from bpfnb.bcc.dialect import recognise
from bpfnb.compile import BpfElf, Source
from bpfnb.compile import compile as compile_source
from bpfnb.compile.vmlinux import KERNEL_BTF
from bpfnb.errors import (
    AttachError,
    BadValue,
    BpfnbError,
    CompileError,
    LoadError,
    UnknownName,
    VerifierError,
)
from bpfnb.interrupts import held
from bpfnb.kernel.attach import FAMILIES, takes
from bpfnb.kernel.backend import Backend, LoadedObject, LoadSettings
from bpfnb.kernel.features import check_section
from bpfnb.kernel.local import LocalBackend
from bpfnb.kernel.verifier import explain
from bpfnb.object import BpfObject, objects
from bpfnb.recording import session
from bpfnb.variables import encode_globals

if TYPE_CHECKING:
    from bpfnb.bcc.engine import BccProgram
    from bpfnb.vm import Vm

__all__ = ["ENGINES", "WATCHDOG", "close_all", "load"]

ENGINES = ("bcc", "clang")
WATCHDOG = 0.2
"""The share of a CPU above which an object is stopped, unless it is told otherwise."""

Sections = Mapping[str, str | Sequence[str]]
_Error = TypeVar("_Error", bound=BpfnbError)

OPTIONS = sorted(
    {option for family in FAMILIES for option in family.options}
)  # every family's attach options

_numbers = itertools.count()
_loading = threading.RLock()


def load(
    source: str | Path | Source | BpfElf,
    *,
    name: str | None = None,
    engine: str | None = None,
    attach: bool | Sections = True,
    sections: Sections | None = None,
    globals: Mapping[str, object] | None = None,  # noqa: A002
    max_entries: Mapping[str, int] | None = None,
    pins: Mapping[str, str] | None = None,
    defines: Sequence[str] = (),
    include_dirs: Sequence[str | Path] = (),
    flags: Sequence[str] = (),
    directory: str | Path | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    rows: int | None = None,
    watchdog: float | None = WATCHDOG,
    backend: Backend | None = None,
    on: Vm | str | None = None,
    **attach_options: Any,
) -> BpfObject:
    """Compile *source*, load it into the kernel, attach it, and return the object.

    *source* is eBPF C as text, a path of a ``.c`` file or of a compiled object, or what :mod:`bpfnb.compile` made. C in
    bcc's dialect (``BPF_HASH``, ``TRACEPOINT_PROBE`` ...) is recognised and goes through the real bcc.
    An object of the same *name* is replaced: the new one is attached before the old one is closed, so no event falls
    between them; when anything fails the old one goes on. While recordings are replayed (``BPFNB_REPLAY``,
    ``%bpf replay``) it is the recorded object of this name, and nothing is compiled or loaded.

    :param engine: ``"bcc"`` or ``"clang"`` (libbpf C), where the text should not be recognised by itself.
    :param attach: False loads only. A mapping is *sections*: ``attach={"count": "uprobe/libc.so.6:strlen"}``.
    :param sections: for C in bcc's dialect, where functions are attached whose names do not say so: a section as in
        libbpf's ``SEC()``, or several, by function. A section without a target is loaded and attached nowhere.
    :param globals: initial values of global variables by name, ``const volatile`` ones too.
    :param max_entries: sizes of maps by name, instead of those in the source.
    :param pins: paths in a BPF file system by map name.
        bcc's dialect has none of these three.
    :param defines: ``NAME`` or ``NAME=VALUE``.
    :param include_dirs: searched after *directory*, where local headers are.
    :param options: attach options by program name; *attach_options* go to every program whose section takes them
        (``interface=``, ``cgroup=``, ``pid=``, ``binary=``, ``frequency=`` ...: see :mod:`bpfnb.kernel.attach`).
    :param rows: bound on the rows that each stream keeps.
    :param on: a virtual machine (:mod:`bpfnb.vm`), its name, or a version of a kernel that was fetched before, which is
        started where it does not run: compiled for that kernel, loaded and attached there.
        Without it that of the session (``BPFNB_ON``, a lab's), where there is one. It is not replayed.
    :param watchdog: share of one CPU over five seconds above which the object is stopped; ``None`` for no limit.
    :raises CompileError, VerifierError, LoadError, AttachError, KernelFeatureMissing, NotPermitted, MissingDependency:
        nothing stays loaded or attached after any of them.
    """
    if not isinstance(attach, bool):
        sections, attach = attach, True
    if session.replaying() and isinstance(source, Path) and not source.exists():
        source = Source("", source.name)  # the recording does without it
    source = _read(source, name, defines, include_dirs, flags, directory)
    name = name or _name_of(source)
    text = source.source.text if isinstance(source, BpfElf) else source.text
    if on is None:  # else it is asked for by name, and there
        replayed = session.replayed_object(name, text or None, attach=attach, rows=rows)
        if replayed is not None:
            return replayed
    backend = _backend(on) if backend is None else backend
    program: BccProgram | None = None
    if _is_bcc(source, engine, sections or {}):
        other = None if isinstance(backend, LocalBackend) else backend
        _not_with_bcc(globals=globals, max_entries=max_entries, pins=pins, backend=other)
        elf: BpfElf = (
            program := _compile_bcc(source, sections or {}, options or {}, attach_options, attach=attach)
        )
    else:
        _not_without_bcc(sections)
        types = getattr(backend, "kernel_btf", KERNEL_BTF)
        elf = compile_source(source, kernel_btf=types) if isinstance(source, Source) else source
    kernel: Backend = backend or LocalBackend()
    # Only a guest may never answer: this kernel's part is over soon, and an interrupt in it would leave half an object.
    with held() if isinstance(kernel, LocalBackend) else contextlib.nullcontext():
        try:
            wanted = _options(elf, options or {}, attach_options)
            if attach and program is None and isinstance(kernel, LocalBackend):
                _check_kernel(elf)
            settings = LoadSettings(
                name=name,
                globals=encode_globals(elf.btf, globals) if globals else {},
                max_entries=dict(max_entries or {}),
                pins=dict(pins or {}),
            )
            with _loading:
                if program is not None:
                    loaded: LoadedObject = program.load(name)
                else:
                    elf, loaded = _load(elf, settings, kernel)
                try:
                    obj = BpfObject(name, elf, loaded, kernel, options=wanted, rows=rows, watchdog=watchdog)
                except BaseException:
                    loaded.close()
                    raise
                _take_the_name(obj, attach=attach)
        except BaseException:
            if program is not None:
                program.discard()
            raise
        try:
            session.mirror(obj, name)
        except BaseException:
            obj.close()
            raise
    return obj


def _backend(on: Vm | str | None) -> Backend | None:
    """That of the guest *on*, else of the session's guest; None is this machine's kernel."""
    if isinstance(on, str):
        from bpfnb.vm import meant

        return meant(on).backend
    vm = guest.chosen() if on is None else on
    return None if vm is None else vm.backend


def _take_the_name(obj: BpfObject, *, attach: bool) -> None:
    """Attach *obj* and put it in the place of the object that had its name, which goes on where attaching fails."""
    old = objects.get(obj.name)
    try:
        if attach:
            obj.attach(instead_of=old)
    except BaseException as error:
        obj.close()
        if isinstance(error, AttachError):
            raise _in_cell(error, obj.elf) from None
        raise
    objects[obj.name] = obj
    if old is not None:
        try:
            old.close("replaced by the next object of this name")
        except KeyboardInterrupt:  # no name leads to it any more, so nobody could close it later
            old.close()
            raise


def close_all() -> None:
    """Close every object of this process, newest first."""
    for obj in reversed(list(objects.values())):
        obj.close()


# Sources and their dialects


def _read(
    source: str | Path | Source | BpfElf,
    name: str | None,
    defines: Sequence[str],
    include_dirs: Sequence[str | Path],
    flags: Sequence[str],
    directory: str | Path | None,
) -> Source | BpfElf:
    """What is to be compiled, or what was compiled elsewhere."""
    if isinstance(source, BpfElf) and not source.data:  # of bcc, whose programs are loaded once
        return source.source
    if isinstance(source, BpfElf | Source):
        return source
    if isinstance(source, Path):
        if source.suffix != ".c":
            return BpfElf.from_file(source)
        directory = directory or source.parent
        text, label = source.read_text(), source.name
    else:
        text, label = source, name or "cell"
    return Source(
        text=text,
        name=label,
        directory=Path(directory) if directory else Path.cwd(),
        defines=tuple(defines),
        include_dirs=tuple(Path(d) for d in include_dirs),
        flags=tuple(flags),
    )


def _is_bcc(source: Source | BpfElf, engine: str | None, sections: Sections) -> TypeGuard[Source]:
    """Whether bcc is to compile it: as *engine* says, else by the text. Raises CompileError for a text of both."""
    if engine not in (None, *ENGINES):
        raise UnknownName.among(ENGINES, str(engine), f"there is no engine '{engine}'")
    if engine == "clang" or not isinstance(source, Source):
        return False
    return engine == "bcc" or recognise(source.text, sections, name=source.name) == "bcc"


def _compile_bcc(
    source: Source,
    sections: Sections,
    options: Mapping[str, Mapping[str, Any]],
    for_all: Mapping[str, Any],
    *,
    attach: bool,
) -> BccProgram:
    from bpfnb.bcc.engine import compile_cell

    places = {name: [at] if isinstance(at, str) else list(at) for name, at in sections.items()}
    usdt = {name: value for name, value in for_all.items() if name in takes("usdt")}
    return compile_cell(
        source, places, {name: {**usdt, **options.get(name, {})} for name in places}, attach=attach
    )


_INSTEAD = {
    "globals": ("global variables", "a macro: -D NAME=VALUE (defines=)"),
    "max_entries": (
        "sizes from outside",
        "the size in the macro, or a macro for it: BPF_HASH(counts, u32, u64, SIZE)",
    ),
    "pins": ("pins from outside", 'BPF_TABLE_PINNED("hash", KEY, LEAF, NAME, SIZE, "/sys/fs/bpf/...")'),
    "backend": ("other backends", "libbpf C, which every backend loads"),
}


def _not_with_bcc(**given: object) -> None:
    for name, value in given.items():
        if value:
            what, instead = _INSTEAD[name]
            raise BadValue(f"a program in bcc's dialect has no {what}", hints=[f"use {instead}"])


def _not_without_bcc(sections: Sections | None) -> None:
    if sections:
        function, places = next(iter(sections.items()))
        place = places if isinstance(places, str) else next(iter(places), "SECTION")
        raise BadValue(
            f"in libbpf C the section of '{function}' is in the text: only functions in bcc's dialect are given one",
            hints=[f'write SEC("{place}") before {function}'],
        )


def _check_kernel(elf: BpfElf) -> None:
    """Raises KernelFeatureMissing for the first program whose hook this kernel lacks."""
    for _, section in elf.programs:
        missing = check_section(section)
        if missing is not None:
            raise _in_cell(missing, elf)


def _name_of(source: str | Path | Source | BpfElf) -> str:
    if isinstance(source, Path):
        return source.name.split(".")[0]
    if isinstance(source, BpfElf):
        source = source.source
    if isinstance(source, Source) and source.name != "cell":
        return source.name.split(".")[0]
    return f"bpf{next(_numbers)}"


def _options(
    elf: BpfElf, by_program: Mapping[str, Mapping[str, Any]], for_all: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Each program's attach options: those for all that its section takes, then its own. Raises AttachError."""
    sections = dict(elf.programs)
    for name in for_all:
        if name not in OPTIONS:
            raise UnknownName.among(OPTIONS, name, f"there is no attach option '{name}'")
        if not any(name in takes(section) for section in sections.values()):
            raise AttachError(
                f"no program of this object takes the option '{name}'",
                hints=[
                    f"{program} ({section}) takes {', '.join(sorted(takes(section))) or 'no options'}"
                    for program, section in sections.items()
                ],
            )
    for program in by_program:
        if program not in sections:
            raise UnknownName.among(sections, program, f"there is no program '{program}'")
    found = {}
    for program, section in sections.items():
        function, number, _ = program.partition("#")  # bcc's functions at several places: count, count#2 ...
        shared = {**for_all, **(by_program.get(function, {}) if number else {})}
        usable = {name: value for name, value in shared.items() if name in takes(section)}
        found[program] = {**usable, **by_program.get(program, {})}
    return found


def _in_cell(error: _Error, elf: BpfElf, section: str = "") -> _Error:
    """The same error, pointing at the line of the cell that names the section."""
    section = section or getattr(error, "section", "")
    if error.where is None and section:
        error.where = elf.where(getattr(error, "program", ""), section)
        error.source = elf.source.text if error.where else error.source
    return error


def _load(elf: BpfElf, settings: LoadSettings, backend: Backend) -> tuple[BpfElf, LoadedObject]:
    """Load; where the verifier refuses, try clang's other code for the same source before giving up.

    Each of the two ``-mcpu`` levels makes programs that only the other lets pass, and a program at the verifier's
    limits may pass without the counting of losses.
    """
    try:
        return elf, backend.load(elf.data, settings)
    except VerifierError as error:
        refusal = error
    except LoadError as error:
        named = (section for _, section in elf.programs if f"'{section}'" in error.message)
        raise _in_cell(error, elf, next(named, "")) from None
    except AttachError as error:  # what it is loaded for does not exist
        raise _in_cell(error, elf) from None
    if elf.source.text:
        for variant in ({"cpu": "v2"}, {"count_drops": False}):
            types = getattr(backend, "kernel_btf", KERNEL_BTF)
            with contextlib.suppress(VerifierError, CompileError):  # v2 has no compare-and-exchange
                other = compile_source(elf.source, kernel_btf=types, **variant)
                return other, backend.load(other.data, settings)
    raise explain(refusal, elf) from None


os.register_at_fork(after_in_child=objects.clear)
atexit.register(close_all)
