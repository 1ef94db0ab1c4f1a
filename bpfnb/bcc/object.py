"""A loaded program of bcc's as the backend's object: maps and programs by descriptor, attached by bpfnb.

Descriptors are the object's own copies, so nothing that is done to the ``bcc.BPF`` (``bpf``) can take them away.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bpfnb.bcc.programs import attach_name, kind_name, load_function
from bpfnb.bcc.usdt import Readers
from bpfnb.errors import VerifierError
from bpfnb.kernel import ids
from bpfnb.kernel.attach import named
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.backend import MapInfo, ProgramInfo
from bpfnb.kernel.load import Opened
from bpfnb.kernel.local import LocalObject

__all__ = ["BccObject", "Place", "load"]


_RAW = ("raw_tp/", "raw_tracepoint/")
_ARGUMENTS = (
    "a raw tracepoint's program takes struct bpf_raw_tracepoint_args *ctx, and its arguments are numbers: "
    "(struct task_struct *)ctx->args[1]"
)


@dataclass(frozen=True, slots=True)
class Place:
    """One program: its ``name`` in the object, the ``function`` of the text that it is, and its ``section``."""

    name: str
    function: str
    section: str


@dataclass
class _Loaded(Opened):
    """bcc's module with the descriptors of what it made."""

    bpf: Any = None
    fds: dict[str, int] = field(default_factory=dict)  # of the programs
    usdt: Readers = field(default_factory=Readers)

    def close(self) -> None:
        for fd in (*self.fds.values(), *(info.fd for info in self.maps.values())):
            os.close(fd)
        self.bpf.cleanup()
        atexit.unregister(self.bpf.cleanup)


class BccObject(LocalObject):
    """Everything that an object of libbpf's can do. ``bpf`` is the ``bcc.BPF``, for bcc's own ways to print tables."""

    _opened: _Loaded

    @property
    def bpf(self) -> Any:
        return self._opened.bpf

    def _program(self, name: str, options: Mapping[str, Any]) -> Program:
        info = self._find(self.programs, name, "program")
        return Program(info, 0, self._opened.fds[name], options, self.maps, {}, [])

    def attach(self, program: str, **options: Any) -> int:
        """As :meth:`LocalObject.attach`. AttachError also for a USDT probe other than that compiled for."""
        with self._idle:
            self._check()
            self._opened.usdt.check(self._program(program, options))
            return super().attach(program, **options)

    def details(self) -> dict[str, ids.KernelProgram]:
        with self._use():
            return {name: ids.program_of(fd) for name, fd in self._opened.fds.items()}


def _loaded(bpf: Any, place: Place) -> int:
    try:
        return load_function(bpf, place.function, place.section)
    except VerifierError as error:
        error.message = error.message.replace("(bcc)", f"({place.section})")
        error.args = (error.message,)
        if "invalid bpf_context access" in error.log and place.section.startswith(_RAW):
            error.hints = (_ARGUMENTS,)
        raise


def load(
    bpf: Any, name: str, places: Sequence[Place], tables: Mapping[str, MapInfo], usdt: Readers
) -> BccObject:
    """Load the functions of *places*. Errors: :func:`bpfnb.bcc.programs.load_function`; *bpf* is then the caller's."""
    opened = _Loaded(pointer=0, name=name, bpf=bpf, usdt=usdt)
    try:
        for table, info in tables.items():
            opened.maps[table] = replace(info, fd=os.dup(info.fd))
        for place in places:
            fd = opened.fds[place.name] = _loaded(bpf, place)
            opened.programs[place.name] = ProgramInfo(
                name=place.name,
                section=place.section,
                kind=kind_name(place.section),
                attach_type=attach_name(place.section),
                id=ids.program_of(fd).id,
                auto_attach=named(place.section),
            )
    except BaseException:
        for fd in (*opened.fds.values(), *(info.fd for info in opened.maps.values())):
            os.close(fd)
        raise
    return BccObject(opened)
