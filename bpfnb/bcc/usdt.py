"""USDT probes in bcc's dialect: functions that read a probe's arguments, made from the notes in the probed file.

``bpf_usdt_readarg(1, ctx, &x)`` in a function ``f`` becomes a call of ``_bpf_readarg_f_1``, which has to stand before
the program. bcc itself makes those functions in a context that needs a process for probes with a semaphore, for
shared objects with several places of one probe, and for arguments in global variables; writes semaphores into that
process's memory, where they stay when it is killed; and closes a descriptor that is not its own (:func:`close`). The
functions made here need no process: addresses are relative to the probe, the attach cookie says which place it is,
and the kernel counts semaphores.

Arguments are written as in systemtap's sys/sdt.h: ``SIZE@OPERAND`` with the assembler's operand, a negative size for
signed ones.
"""

from __future__ import annotations

import _thread
import ctypes
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.attach_user import usdt_sites
from bpfnb.kernel.backend import ProgramInfo
from bpfnb.kernel.binaries import Binary, Site, alike

__all__ = ["Readers", "close", "readers"]

_ARGUMENTS = 12  # as many as sys/sdt.h knows
_SPLIT = re.compile(r"(-?\d+)(f?)@(.*?)(?=\s+-?\d+f?@|\s*$)")

_libc = ctypes.CDLL(None)
_CLOSE_RANGE, _CLOSE_RANGE_UNSHARE, _CLONE_FILES = 436, 2, 0x400

_HEAD = """\
#include <uapi/linux/ptrace.h>
static u64 (*__bpfnb_cookie)(void *) = (void *)174; /* bpf_get_attach_cookie, Linux 5.15 */
static __always_inline int __bpfnb_store(void *dest, size_t len, u64 value) {
  switch (len) {
  case 8: *(u64 *)dest = value; return 0;
  case 4: *(u32 *)dest = value; return 0;
  case 2: *(u16 *)dest = value; return 0;
  case 1: *(u8 *)dest = value; return 0;
  }
  return -1;
}
"""

# struct pt_regs of x86-64 and the names of each register's parts; %ah and the like do not occur.
_X86 = {
    **{f"{wide}{letter}x": f"{letter}x" for letter in "abcd" for wide in ("r", "e", "")},
    **{f"{letter}l": f"{letter}x" for letter in "abcd"},
    **{f"{wide}{name}": name for name in ("si", "di", "bp", "sp") for wide in ("r", "e", "")},
    **{f"{name}l": name for name in ("si", "di", "bp", "sp")},
    **{f"r{number}{part}": f"r{number}" for number in range(8, 16) for part in ("", "d", "w", "b")},
    "rip": "ip",
}
_ARM64 = {
    **{f"{width}{number}": f"regs[{number}]" for number in range(31) for width in "xw"},
    "sp": "sp",
}


_Ways = tuple[tuple[str | None, ...], ...]
"""How each place of a probe keeps each argument: the statements that read it, None where nothing can."""


@dataclass(frozen=True)
class Readers:
    """``text`` is to stand before the program; ``places``, by function, how its probe keeps its arguments."""

    text: str = ""
    places: Mapping[str, _Ways] = field(default_factory=dict)

    def check(self, program: Program) -> None:
        """Raises AttachError where *program* is to be attached to a probe whose arguments are kept differently from
        those that it was compiled to read.
        """
        made = self.places.get(program.info.name.partition("#")[0])
        if made is None or not program.section.startswith("usdt"):
            return
        path, provider, name, sites = usdt_sites(program)
        if _ways(Binary(path), sites) != made:
            raise program.fail(
                f"it was compiled to read the arguments of another probe than {provider}:{name} in {path}",
                hints=["load it anew with these options: where a probe keeps its arguments is compiled in"],
            )


def readers(
    places: Mapping[str, Sequence[str]],
    options: Mapping[str, Mapping[str, Any]],
    functions: Iterable[str] = (),
) -> Readers:
    """The readers of the arguments of all functions with a section ``usdt/BINARY:provider:probe``.

    *places* are sections by function; *options*, by function, those of attaching (``binary``, ``provider``, ``probe``,
    ``pid``). A value goes into any integer, signed as the probe says; a reader returns 0, or a negative errno where
    user memory could not be read. To read an argument in another of the program's *functions* is an error that the
    compiler tells. Raises AttachError for a binary or probe that there is not, and where one function is for probes
    that keep their arguments differently.
    """
    parts: list[str] = []
    kept: dict[str, _Ways] = {}
    for function, section in [(function, section) for function, at in places.items() for section in at]:
        if section.partition("/")[0] != "usdt":
            continue
        info = ProgramInfo(function, section, "kprobe", "", 0, auto_attach=False)
        program = Program(info, 0, -1, options.get(function, {}), {}, {}, [])
        if not program.target and not (program.get("provider") and program.get("probe")):
            continue  # which probe, only attaching will say: such a function can read no arguments
        path, provider, name, sites = usdt_sites(program)
        ways = _ways(Binary(path), sites)
        if function not in kept:
            kept[function] = ways
            parts.append(_of_function(function, f"{provider}:{name}", sites, ways))
        elif kept[function] != ways:
            raise program.fail(
                "one function can read the arguments of one probe only",
                hints=["define a function for each probe"],
            )
    head = _HEAD if parts else ""
    for function in functions:
        if function not in kept:
            message = (
                f"of which USDT probe is this an argument? --attach {function}=usdt/BINARY:PROVIDER:PROBE"
            )
            parts += [_error(_reader(function, number), message) for number in range(1, _ARGUMENTS + 1)]
    return Readers(head + "".join(parts), kept)


def _reader(function: str, number: int) -> str:
    """What bcc's rewriter calls."""
    return f"_bpf_readarg_{function}_{number}"


def _ways(file: Binary, sites: Sequence[Site]) -> _Ways:
    return tuple(
        tuple(
            _read(size, operand, file, site) if not real else None
            for size, real, operand in _SPLIT.findall(site.arguments)
        )
        for site in sites
    )


def _of_function(function: str, probe: str, sites: Sequence[Site], ways: _Ways) -> str:
    count = min(len(way) for way in ways)
    out = []
    for number in range(1, _ARGUMENTS + 1):
        name = _reader(function, number)
        if number > count:
            word = "argument" if count == 1 else "arguments"
            out.append(_error(name, f"USDT probe {probe} has {count or 'no'} {word}"))
            continue
        bodies = [way[number - 1] for way in ways]
        if None in bodies:
            where = "@".join(_SPLIT.findall(sites[bodies.index(None)].arguments)[number - 1][::2])
            out.append(
                _error(name, f"a program cannot read argument {number} of USDT probe {probe}: {where}")
            )
            continue
        out.append(f"static __always_inline int {name}(struct pt_regs *ctx, void *dest, size_t len) {{\n")
        out.append("  u64 value = 0, at = 0; int error = 0;\n")
        if alike(sites) or len(set(bodies)) == 1:
            out.append(f"  {bodies[0]}\n")
        else:
            out.append("  switch (__bpfnb_cookie(ctx)) {\n")
            out += [f"  case {place}: {body} break;\n" for place, body in enumerate(bodies)]
            out.append("  default: return -1;\n  }\n")
        out.append("  return error ? error : __bpfnb_store(dest, len, value);\n}\n")
    return "".join(out)


def _error(name: str, message: str) -> str:
    """A reader whose use is an error of the compiler's, in these words."""
    text = message.replace("\\", "/").replace('"', "'")
    return f'#define {name}(...) ({{ _Pragma("GCC error \\"{text}\\"") -1; }})\n'


def _read(size: str, operand: str, file: Binary, site: Site) -> str | None:
    """Statements that set ``value`` from an operand, None where it cannot be read."""
    width = abs(int(size))
    if width not in (1, 2, 4, 8):
        return None
    kind = f"{'s' if int(size) < 0 else 'u'}{8 * width}"
    extend = "(s64)" if int(size) < 0 else ""
    parse = x86_operand if platform.machine() == "x86_64" else arm64_operand
    found = parse(operand.strip(), file, site)
    if found is None:
        return None
    place, in_memory = found
    if not in_memory:
        # without the barrier LLVM may choose between two fields' addresses, which the verifier refuses
        return f'value = {extend}({kind})({place}); asm volatile("" ::: "memory");'
    return (
        f'{{ {kind} there = 0; at = {place}; asm volatile("" ::: "memory"); '
        f"error = bpf_probe_read_user(&there, sizeof(there), (void *)at); value = {extend}there; }}"
    )


def x86_operand(operand: str, file: Binary, site: Site) -> tuple[str, bool] | None:
    """A C expression of an operand in AT&T's syntax, and whether it is an address to read at."""
    if match := re.fullmatch(r"\$(-?(?:0x[0-9a-fA-F]+|\d+))", operand):
        return f"{int(match[1], 0)}LL", False
    if match := re.fullmatch(r"%(\w+)", operand):
        return (f"ctx->{_X86[match[1]]}", False) if match[1] in _X86 else None
    if match := re.fullmatch(r"(.*)\(%rip\)", operand):
        terms = re.findall(r"[+-]?[^+-]+", match[1])
        symbols = [term.lstrip("+") for term in terms if not re.fullmatch(r"[+-]?\d+", term)]
        address = file.address(symbols[0]) if len(symbols) == 1 else None
        if address is None:
            return None
        away = address - site.address + sum(int(term) for term in terms if term.lstrip("+") != symbols[0])
        return f"ctx->ip + ({away}LL)", True
    memory = re.fullmatch(r"(-?(?:0x[0-9a-fA-F]+|\d+))?\((?:%(\w+))?(?:,\s*%(\w+)(?:,\s*(\d))?)?\)", operand)
    if memory is None:
        return None
    displacement, base, index, scale = memory.groups()
    if any(register and register not in _X86 for register in (base, index)):
        return None
    terms = [f"ctx->{_X86[base]}"] if base else []
    terms += [f"ctx->{_X86[index]} * {scale or 1}"] if index else []
    terms += [f"({int(displacement, 0)}LL)"] if displacement else []
    return " + ".join(terms), True


def arm64_operand(operand: str, file: Binary, site: Site) -> tuple[str, bool] | None:  # noqa: ARG001  as x86_operand
    """The same of arm64's operands."""
    if re.fullmatch(r"-?\d+", operand):
        return f"{operand}LL", False
    if operand in ("xzr", "wzr"):
        return "0", False
    if operand in _ARM64:
        return f"ctx->{_ARM64[operand]}", False
    match = re.fullmatch(r"\[(\w+)(?:,\s*(?:#?(-?\d+)|(\w+)))?\]", operand)
    if match is None or any(name and name not in _ARM64 for name in (match[1], match[3])):
        return None
    terms = [f"ctx->{_ARM64[match[1]]}"]
    terms += [f"({match[2]}LL)"] if match[2] else []
    terms += [f"ctx->{_ARM64[match[3]]}"] if match[3] else []
    return " + ".join(terms), True


def close(original: Callable[[Any], None], context: Any) -> None:
    """bcc_usdt_close with no effect on this process's descriptors.

    libbcc 0.26 opens /proc/PID/root for the context of a process, closes it at once, and closes the same number again
    with the context: whatever descriptor has it by then. So a context is closed in a thread that has a table of
    descriptors of its own, an empty one.
    """
    if sys.is_finalizing():  # no thread can be started any more
        original(context)
        return
    done = _thread.allocate_lock()
    done.acquire()

    def apart() -> None:
        try:
            # close_range of Linux 5.9 empties the thread's table, unshare copies it
            if not (
                _libc.syscall(_CLOSE_RANGE, 0, 0xFFFFFFFF, _CLOSE_RANGE_UNSHARE)
                and _libc.unshare(_CLONE_FILES)
            ):
                original(context)
        finally:
            done.release()

    _thread.start_new_thread(apart, ())  # not a Thread: this runs in __del__, where its locks may be held
    done.acquire()
