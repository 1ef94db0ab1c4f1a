"""One program of a loaded object: its attachment, its cost, and running it by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bpfnb.btf import Pointer, Var
from bpfnb.cost import Cost
from bpfnb.errors import BpfnbError
from bpfnb.frames.layout import Layout
from bpfnb.kernel.attach import required
from bpfnb.kernel.backend import ProgramInfo

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["Program"]


class Program:
    """A program of a :class:`~bpfnb.object.BpfObject`, by ``obj.programs["name"]``."""

    __slots__ = ("info", "links", "object", "options")

    def __init__(self, obj: BpfObject, info: ProgramInfo, options: Mapping[str, Any]) -> None:
        self.object = obj
        self.info = info
        self.options = dict(options)
        self.links: list[int] = []

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def section(self) -> str:
        """The ELF section, which names the program's type and hook in libbpf's terms."""
        return self.info.section

    @property
    def kind(self) -> str:
        return self.info.kind

    @property
    def attached(self) -> bool:
        return bool(self.links)

    @property
    def attaches(self) -> bool:
        """Whether attaching the object attaches this program: its section or the given options say where."""
        return self.info.auto_attach or bool(self.options)

    @property
    def needs(self) -> str:
        """The attach options, in words, that are missing before this program can be attached; empty for none."""
        return "" if self.attaches else required(self.section)

    @property
    def cost(self) -> Cost:
        """Run count and run time over the seconds in which statistics were on; looking turns them on for a while."""
        return self.object.costs().get(self.name, Cost())

    def fileno(self) -> int:
        """Its descriptor, which a program array takes: ``obj.calls[0] = obj.programs["tail"]``. The object's own.

        BpfnbError where the object is not of this machine's kernel.
        """
        find = getattr(self.object.loaded, "program_fd", None)
        if find is None:
            raise BpfnbError(f"'{self.name}' has no descriptor in this process")
        return int(find(self.name))

    def attach(self, **options: Any) -> Program:
        """Attach, with the options of :mod:`bpfnb.kernel.attach` where the section does not say where.

        A program may be attached at several places. Raises AttachError, KernelFeatureMissing.
        """
        self.object._attach_program(self, options)
        return self

    def detach(self) -> None:
        """Detach from every place it is attached at."""
        self.object._detach(self)

    def text(self, **options: Any) -> str:
        """The output of an ``iter/*`` program, run once to its end, as text (``bpf_seq_printf``). Linux 5.8."""
        return self._iterate(options).decode(errors="replace")

    def frame(self, type: str | None = None, *, raw: bool = False, **options: Any) -> pd.DataFrame:  # noqa: A002
        """The output of an ``iter/*`` program as rows of the struct that it writes with ``bpf_seq_write``.

        *type* (``"struct task_row"``, of the object's own BTF) is asked for where the program writes several, or was
        compiled elsewhere. Raises UnknownName, BpfnbError where the output is not a whole number of such structs.
        """
        btf = self.object.elf.btf
        type = type or self._written()  # noqa: A001
        layout = Layout.of(btf, btf.find(type.removeprefix("struct ").strip()).id)
        data = self._iterate(options)
        if len(data) % layout.size:
            raise BpfnbError(
                f"'{self.name}' wrote {len(data)} bytes, which is no whole number of {type} ({layout.size} bytes)",
                hints=["write one such struct a call with bpf_seq_write, or read the output with .text()"],
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, layout.size)
        return layout.frame(layout.decode(rows), raw=raw)

    def _written(self) -> str:
        """The struct behind the pointers that the program's calls of bpf_seq_write pass (see bpfnb/count.h)."""
        btf = self.object.elf.btf
        rows: dict[str, set[str]] = {}
        for number in btf.ids("var"):
            variable = btf[number]
            function, _, name = variable.name.partition(".")
            if isinstance(variable, Var) and name.startswith("__bpfnb_row"):
                pointer = btf.resolve(variable.type)
                if isinstance(pointer, Pointer):
                    rows.setdefault(function, set()).add(btf.resolve(pointer.target).name)
        found = rows.get(self.name) or {name for names in rows.values() for name in names}
        if len(found) != 1:
            raise BpfnbError(
                f"'{self.name}' writes {'rows of several types' if found else 'no rows that are known'}",
                hints=['name the struct: .frame("struct row")', "or read the output with .text()"],
            )
        return found.pop()

    def test_run(self, data: bytes = b"", repeat: int = 1, **options: Any) -> tuple[int, bytes, int]:
        """Run it on *data* without attaching (BPF_PROG_TEST_RUN): return value, data out, nanoseconds a run."""
        return self.object.loaded.test_run(self.name, data, repeat, **options)

    def _iterate(self, options: Mapping[str, Any]) -> bytes:
        if not self.section.startswith("iter"):
            raise BpfnbError(
                f"'{self.name}' is no iterator (its section is {self.section})",
                hints=['programs in a section SEC("iter/...") can be read, for example SEC("iter/task")'],
            )
        return self.object.loaded.run_iter(self.name, **options)

    def __repr__(self) -> str:
        return f"<Program {self.name} {self.section} {'attached' if self.attached else 'not attached'}>"
