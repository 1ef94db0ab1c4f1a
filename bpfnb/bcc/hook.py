"""The place where bpfnb stands between bcc's Python and its library: headers, diagnostics and errors.

bcc compiles in the process: it reads its header tree's path from the environment, changes the working directory and
prints to file descriptor 2. All three belong to the whole process, so programs are compiled one at a time, and
everything is put back whatever happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
import warnings as python_warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from bpfnb.bcc import capture, kprobes, usdt
from bpfnb.bcc.checks import asserts, check, differing, kept_records
from bpfnb.bcc.find import module
from bpfnb.bcc.headers import Program, for_program
from bpfnb.bcc.installed import matching, mismatch
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.lines import shifted
from bpfnb.bcc.losses import counting
from bpfnb.bcc.messages import Unit, compile_error, looks_like_clang, verifier_error, warnings
from bpfnb.bcc.missing import (
    kprobe_refused,
    missing_for,
    raw_tracepoint_refused,
    tracepoint_refused,
)
from bpfnb.bcc.preflight import rehearse
from bpfnb.bcc.scan import Text, scan
from bpfnb.bcc.tree import home
from bpfnb.bcc.units import plain, typedefs
from bpfnb.errors import Diagnostic, MissingDependency
from bpfnb.interrupts import held

__all__ = [
    "BccWarning",
    "compile",
    "counts",
    "diagnostics",
    "disable",
    "enable",
    "enabled",
    "hooked",
]

_VARIABLE = "BCC_KERNEL_SOURCE"
_IMPLICIT = b"-Werror=implicit-function-declaration"

_lock = threading.RLock()


class BccWarning(UserWarning):
    """A remark on a program that was compiled through ``bcc.BPF``."""


@dataclass
class _Hook:
    """What was replaced in bcc's library object, and what is known of the programs that went through."""

    originals: dict[str, Callable[..., Any]] = field(default_factory=dict)
    units: dict[int, tuple[Unit, tuple[Diagnostic, ...]]] = field(default_factory=dict)
    counting: set[int] = field(default_factory=set)  # programs that lose nothing without counting it
    kernel: Kernel | None = None
    usdt: threading.local = field(
        default_factory=threading.local
    )  # .text: what stands before the next program, .readers: what compile() puts there
    name: str = "cell"
    switches: frozenset[str] = frozenset()
    count_losses: bool = True
    quiet: bool = False  # compile() hands warnings back instead of issuing them


_hook = _Hook()


def enabled() -> bool:
    return bool(_hook.originals)


def enable(
    kernel: Kernel | None = None,
    *,
    name: str = "cell",
    switches: frozenset[str] = frozenset(),
    count_losses: bool = True,
) -> ModuleType:
    """From now on any ``from bcc import BPF`` program of this process needs no kernel headers. Returns ``bcc``.

    Errors of bcc's compiler are raised as CompileError, of the verifier as VerifierError, of attaching as AttachError
    or KernelFeatureMissing, each at the line of the program; warnings are issued as :class:`BccWarning`. *kernel*
    gives other types than the running kernel's; *name* stands for the programs in messages; *switches* are macros
    that programs ask for and of which it is known that they are not the kernel's. With *count_losses*, programs get
    counters of what they lose, which the frames of their tables show (:mod:`bpfnb.bcc.losses`). Raises
    MissingDependency where bcc is not installed.
    """
    bcc = module()
    with _lock:
        _hook.kernel, _hook.name = kernel, name
        _hook.switches, _hook.count_losses = switches, count_losses
        if not _hook.originals:
            replacements = {
                "bpf_module_create_c_from_string": _create,
                "bcc_usdt_genargs": _usdt_arguments,
                "bcc_usdt_close": _usdt_close,
                "bcc_func_load": _load,
                "bpf_perf_event_field": _event_field,
                "bpf_attach_kprobe": _attach_kprobe,
                "bpf_attach_tracepoint": _attach_tracepoint,
                "bpf_attach_raw_tracepoint": _attach_raw_tracepoint,
            }
            for name, replacement in replacements.items():
                _hook.originals[name] = getattr(bcc.lib, name)
                setattr(bcc.lib, name, replacement)
            kprobes.explain(bcc.BPF)
    return bcc


def disable() -> None:
    """bcc as it was before :func:`enable`."""
    with _lock:
        for name, original in _hook.originals.items():
            setattr(module().lib, name, original)
        kprobes.restore()
        _hook.originals.clear()
        _hook.units.clear()
        _hook.counting.clear()


def compile(  # noqa: A001
    text: str,
    *,
    name: str = "cell",
    cflags: Sequence[str] = (),
    usdt_contexts: Sequence[Any] = (),
    readers: str = "",
    debug: int = 0,
    kernel: Kernel | None = None,
    attach: bool = True,
) -> Any:
    """A ``bcc.BPF`` of a program in bcc's dialect, attached as bcc does it by itself; enables the hook.

    Without *attach* no function is loaded. *readers* are to stand before the program, and are no part of it in errors
    (:mod:`bpfnb.bcc.usdt`). *name* stands for the program in errors. What there is to remark is in
    :func:`diagnostics`. Raises CompileError, VerifierError, AttachError, MissingDependency.
    """
    bcc = module() if enabled() else enable()
    with _lock:
        usual = _hook.kernel
        _hook.name, _hook.quiet, _hook.kernel = name, True, kernel or usual
        _hook.usdt.readers = readers.encode()
        try:
            return (bcc.BPF if attach else _unattached())(
                text=text.encode(), cflags=list(cflags), usdt_contexts=list(usdt_contexts), debug=debug
            )
        finally:
            _hook.name, _hook.quiet, _hook.kernel = "cell", False, usual
            _hook.usdt.readers = b""


@cache
def _unattached() -> Any:
    """bcc.BPF without what it does by functions' names."""
    return type("BPF", (module().BPF,), {"_trace_autoload": lambda self: None})  # noqa: ARG005


def diagnostics(program: Any) -> tuple[Diagnostic, ...]:
    """The warnings of a ``BPF`` object that was made while the hook was enabled, at the lines of its text."""
    return _hook.units[program.module][1] if program.module in _hook.units else ()


def hooked(program: Any) -> bool:
    """Whether a ``BPF`` object was made while the hook was enabled."""
    return program.module in _hook.units


def counts(program: Any) -> bool:
    """Whether a ``BPF`` object counts what its program loses, as far as that can lose anything."""
    return program.module in _hook.counting


# The replacements. They take what bcc's Python gives them, which differs between versions at the end.


def _usdt_arguments(*arguments: Any) -> bytes | None:
    found: bytes | None = _hook.originals["bcc_usdt_genargs"](*arguments)
    if found is not None:
        found += getattr(_hook.usdt, "readers", b"")
    _hook.usdt.text = found or b""
    return found


def _event_field(*arguments: Any) -> bytes | None:
    found: bytes | None = _hook.originals["bpf_perf_event_field"](*arguments)
    return found and plain(found.decode()).encode()


def _usdt_close(context: Any) -> None:
    usdt.close(_hook.originals["bcc_usdt_close"], context)


def _create(text: bytes, debug: int, cflags: Any, count: int, *rest: Any) -> int | None:
    with _lock:
        made, _hook.usdt.text = getattr(_hook.usdt, "text", b""), b""
        own = text.removeprefix(made).decode(errors="replace")
        flags = [bytes(cflags[number]) for number in range(count)]
        before = made.decode(errors="replace") if text.startswith(made) else ""
        prefix = before.count("\n")
        kernel = _hook.kernel or _running()
        found: list[Diagnostic] = []
        meant: dict[str, Diagnostic] = {}
        behind, tree = "", None
        program = Program(text.decode(errors="replace"), tuple(flag.decode() for flag in flags))
        texts: tuple[Text, ...] = (scan(program.text),)
        if chosen := os.environ.get(_VARIABLE):
            found = _of_another_kernel(Path(chosen), kernel)
        elif kernel is not None and not (_hook.kernel is None and matching(kernel)):
            headers = for_program(program, kernel)
            kernel, tree, texts = headers.kernel, headers.path, headers.texts
            found = shifted(check(program, headers, kernel, _hook.name, _hook.switches), prefix)
            behind, meant = asserts(headers, kernel)
            behind += kept_records(headers.texts)
            flags.append(_IMPLICIT)
        units = typedefs(texts)
        unit = Unit(own, units + before, _hook.name, kernel)
        counters = counting(texts) if _hook.count_losses else None
        counted = units + (counters or "")
        parts = (counted, behind)

        def fails(around: tuple[str, str]) -> str | None:
            return _rehearse(_joined(around[0], text, around[1]), flags, rest, tree)

        log = fails(parts)
        if log is not None and parts != (units, ""):
            # Whose fault is it? Counters take stack, and what is put behind has definitions that the scan may misread.
            log = fails((units, ""))
            if log is None:
                several = [(counted, ""), (units, behind)]
                parts = next((one for one in several if fails(one) is None), (units, ""))
        if log is not None:
            raise compile_error(log, unit)
        front, behind = parts
        unit = Unit(own, front + before, _hook.name, kernel)
        handle, log = _compile(_joined(front, text, behind), debug, flags, rest, tree)
        if not handle:
            raise compile_error(log, unit)
        if debug or (log.strip() and not looks_like_clang(log)):
            os.write(2, log.encode())
        found += shifted(differing(log, meant, unit.name), prefix)
        found += [
            one
            for one in warnings(log, unit)
            if "__bpfnb" not in one.message and "bpfnb layout" not in one.message
        ]
        _hook.units[handle] = (unit, tuple(found))
        _hook.counting.discard(handle)
        if counters is not None and front == counted:
            _hook.counting.add(handle)
        if not _hook.quiet:
            for one in found:
                python_warnings.warn(f"{one.where or unit.name}: {one.message}", BccWarning, stacklevel=3)
        return handle


def _joined(front: str, text: bytes, behind: str) -> bytes:
    return front.encode() + text + behind.encode()


def _running() -> Kernel | None:
    """None for a kernel without BTF: bcc then looks for headers that are installed, as ever."""
    try:
        return Kernel.running()
    except MissingDependency:
        return None


def _of_another_kernel(tree: Path, kernel: Kernel | None) -> list[Diagnostic]:
    """A warning where the user chose headers that are not those of the running kernel."""
    if kernel is None or tree.is_relative_to(home()) or (why := mismatch(tree, kernel)) is None:
        return []
    message = (
        f"{_VARIABLE} names headers that are not of kernel {kernel.release} ({why}): fields may read wrong"
    )
    return [Diagnostic("warning", message)]


def _rehearse(text: bytes, flags: Sequence[bytes], rest: Sequence[Any], tree: Path | None) -> str | None:
    """What is printed where the program does not compile; None where it does, or did so before."""
    digest = hashlib.sha256(b"\0".join([text, *flags])).hexdigest()[:32]
    mark = tree and tree / f".compiled-{digest}"
    if mark and mark.exists():
        return None
    with _place(tree):
        good, log = rehearse(lambda: bool(_call(text, 0, flags, rest)))
    if good and mark:
        with contextlib.suppress(OSError):
            mark.touch()
    return None if good else log


def _call(text: bytes, debug: int, flags: Sequence[bytes], rest: Sequence[Any]) -> int | None:
    create = _hook.originals["bpf_module_create_c_from_string"]
    handle: int | None = create(text, debug, (ctypes.c_char_p * len(flags))(*flags), len(flags), *rest)
    return handle


def _compile(
    text: bytes, debug: int, flags: Sequence[bytes], rest: Sequence[Any], tree: Path | None
) -> tuple[int | None, str]:
    handle = None
    try:
        with held(), _place(tree), capture.stderr() as captured:
            handle = _call(text, debug, flags, rest)
    except BaseException:
        if handle:
            module().lib.bpf_module_destroy(handle)
        raise
    return handle, captured.text


@contextlib.contextmanager
def _place(tree: Path | None) -> Iterator[None]:
    """bcc's environment while it compiles; the working directory is put back even where bcc failed to."""
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    before = os.environ.get(_VARIABLE)
    if tree is not None:
        os.environ[_VARIABLE] = str(tree)
    try:
        yield
    finally:
        if tree is not None:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before
        os.fchdir(here)
        os.close(here)


def _load(handle: int, kind: int, name: bytes, *rest: Any) -> int:
    with _lock, capture.stderr() as captured:
        fd: int = _hook.originals["bcc_func_load"](handle, kind, name, *rest)
        number = ctypes.get_errno()
    if fd < 0:
        if missing := missing_for(name.decode(errors="replace")):
            raise missing
        unit = _hook.units[handle][0] if handle in _hook.units else Unit("")
        raise verifier_error(captured.text, unit, name.decode(errors="replace"), number)
    if captured.text:
        os.write(2, captured.text.encode())
    ctypes.set_errno(number)
    return fd


def _attach_kprobe(program: int, kind: int, event: bytes, function: bytes, *rest: Any) -> int:
    with _lock, capture.stderr() as captured:
        fd: int = _hook.originals["bpf_attach_kprobe"](program, kind, event, function, *rest)
        number = ctypes.get_errno()
    if fd >= 0:
        return fd
    raise kprobe_refused(
        "kretprobe" if kind else "kprobe", function.decode(errors="replace"), number, captured.text
    )


def _attach_tracepoint(program: int, category: bytes, event: bytes, *rest: Any) -> int:
    with _lock, capture.stderr() as captured:
        fd: int = _hook.originals["bpf_attach_tracepoint"](program, category, event, *rest)
        number = ctypes.get_errno()
    if fd >= 0:
        return fd
    name = f"{category.decode(errors='replace')}:{event.decode(errors='replace')}"
    raise tracepoint_refused(name, number, captured.text)


def _attach_raw_tracepoint(program: int, event: bytes, *rest: Any) -> int:
    with _lock, capture.stderr() as captured:
        fd: int = _hook.originals["bpf_attach_raw_tracepoint"](program, event, *rest)
        number = ctypes.get_errno()
    if fd >= 0:
        return fd
    raise raw_tracepoint_refused(event.decode(errors="replace"), number or -fd, captured.text)
