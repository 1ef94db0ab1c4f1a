"""Passages of USDT probes, the places that a program's authors marked, with their arguments.

``PROBE`` is ``BINARY:PROVIDER:NAME``, or with ``pid`` a probe of that process: ``PROVIDER:NAME``; a pattern means
several: ``python3:python:import__*``. Arguments are ``arg1`` and on, with the size and sign that the binary notes;
``args`` names them, and says which point to text: ``--args "file:str, function:str, line"`` (known already for
CPython's probes). ``--filter "arg1 > 100 && comm == 'app'"``, written as in ``trace``, lets through only some passages,
decided in the kernel; an argument that cannot be read meets no condition. ``--list``, or
``bpfnb.tools.usdt.list(BINARY or pid)``, shows what probes there are. Linux 5.11.
"""

from __future__ import annotations

import builtins
import fnmatch
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.errors import BadValue, UnknownName
from bpfnb.kernel import system
from bpfnb.kernel.binaries import Binary, Probe, find_binary
from bpfnb.tools.calls import word
from bpfnb.tools.columns import TASK, operand, values_of
from bpfnb.tools.filter_c import Compiled, compile_filter
from bpfnb.tools.paths import Column
from bpfnb.tools.probed import one_pid
from bpfnb.tools.tool import Load, Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import View

_MOST = 32
_ARGUMENT = re.compile(r"(-?\d+)(f?)@")
__all__ = ["Usdt", "mapped"]

_KNOWN: Mapping[str, str] = {
    "python:function__entry": "file:str, function:str, line",
    "python:function__return": "file:str, function:str, line",
    "python:line": "file:str, function:str, line",
    "python:import__find__load__start": "module:str",
    "python:import__find__load__done": "module:str, found",
    "python:audit": "event:str",
    "python:gc__start": "generation",
    "python:gc__done": "collected",
}
"""Arguments of CPython's probes, by its manual ("Instrumenting CPython with DTrace and SystemTap")."""


class Usdt(Tool):
    family = "user space"
    rowwise = True
    options = (
        Option("probe", str, "what to trace", "BINARY:PROVIDER:NAME", variable=False, positional=True),
        Option("binary", str, "the program or library, where PROBE does not name it", "FILE", variable=False),
        Option(
            "args", str, "names of the arguments; of those that are text NAME:str", "NAME,...", variable=False
        ),
        Option("filter", str, "only passages for which this is true: arg1 > 100", "EXPR", variable=False),
        Option("max_string", int, "bytes of a text to keep (64)", "BYTES", variable=False),
        Option("list", bool, "show what probes there are, trace nothing", variable=False),
    )

    @classmethod
    def instead(cls, given: Mapping[str, Any]) -> Any:
        if not given.get("list"):
            return None
        from bpfnb.views.plain import Table

        name = given.get("binary") or str(given.get("probe", "")).partition(":")[0] or one_pid(dict(given))
        found = cls.list(name)
        rows = [tuple(map(str, row)) for row in found.itertuples(index=False)]
        return Table(tuple(found.columns), rows, empty=f"{name} has no USDT probes")

    @staticmethod
    def list(of: str | int | Path | None) -> pd.DataFrame:
        """The USDT probes of a binary, or of all files that a process has mapped: binary, provider, name, the number
        of places, arguments as (size in bytes, negative where signed) and whether there is a semaphore.

        :raises UnknownName: there is no such binary. BadValue: it is no ELF file.
        """
        if of is None or of == "":
            raise BadValue("whose probes?", hints=["a program, a library, or pid= of a process"])
        files = mapped(int(str(of))) if str(of).isdigit() else [_found(str(of), None)]
        rows = [
            (
                str(path),
                probe.provider,
                probe.name,
                len(sites),
                _sizes(sites[0].arguments),
                bool(sites[0].semaphore),
            )
            for path in files
            for binary in [_binary(path, strict=len(files) == 1)]
            if binary is not None
            for probe in binary.probes()
            for sites in [binary.sites(probe.provider, probe.name)]
        ]
        return pd.DataFrame(rows, columns=["binary", "provider", "name", "places", "args", "semaphore"])

    def prepare(self) -> Load:
        pid = one_pid(self.filters)
        *front, name = str(self.given.get("probe", "")).rsplit(":", 2)
        provider = front.pop() if front else "*"
        self.path, self.probes = _probes(
            str(self.given.get("binary", front[0] if front else "")), provider, name, pid
        )
        self.room = int(self.given.get("max_string", 64))
        if not 2 <= self.room <= 4096:
            raise BadValue(f"2 to 4096 bytes of a text can be kept, not {self.room}")
        binary = Binary(system.readable(self.path))
        self.fields: dict[str, Column] = {}
        self.of_probe = [self._columns(binary, probe) for probe in self.probes]
        return Load(attach={"pid": pid} if pid else {})

    def _columns(self, binary: Binary, probe: Probe) -> builtins.list[str]:
        """The names of a probe's columns, in the order of its arguments."""
        sizes = [
            (int(size), bool(real))
            for size, real in _ARGUMENT.findall(binary.sites(probe.provider, probe.name)[0].arguments)
        ]
        given = str(self.given.get("args", "")) or _KNOWN.get(f"{probe.provider}:{probe.name}", "")
        called = [one.strip().partition(":") for one in given.split(",")] if given else []
        if len(called) > len(sizes):
            raise BadValue(f"{probe.provider}:{probe.name} has {len(sizes)} arguments, not {len(called)}")
        names = []
        for number, (size, real) in enumerate(sizes, 1):
            name, _, kind = called[number - 1] if number <= len(called) else (f"arg{number}", "", "")
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or kind not in ("", "str"):
                raise BadValue(
                    f"an argument is called NAME or NAME:str, not '{name}{':' * bool(kind)}{kind}'"
                )
            name += "_" * (name in ("time", "pid", "tid", "uid", "comm", "probe", "missing", "cgroup_id"))
            column = Column(name, word(size < 0), _c(size), reads=True)
            if real:
                raise BadValue(
                    f"argument {number} of {probe.provider}:{probe.name} is a floating-point number"
                )
            if kind == "str":
                column = Column(name, word(False), "char", f"[{self.room}]", reads=True)
            before = self.fields.setdefault(name, column)
            if before.c != column.c:
                if "char" in (before.c, column.c):
                    raise BadValue(
                        f"'{name}' is text at one probe and a number at another", hints=["name them: args="]
                    )
                self.fields[name] = Column(name, word(True), "s64", reads=True)
            names.append(name)
        return names

    def text(self) -> str:
        columns = "\n".join(f"\t{column.declare(name)}" for name, column in self.fields.items())
        template: str = (TOOLS / "usdt.bpf.c").read_text().replace("@COLUMNS@", columns)
        programs = [self._program(number) for number in range(len(self.probes))]
        return template.replace("@PROGRAMS@\n", "\n".join(programs))

    def _program(self, number: int) -> str:
        probe, order = self.probes[number], builtins.list(self.fields)
        name = f"{probe.provider}_{probe.name}" + (f"_{number}" if len(self.probes) > 1 else "")
        section = f"usdt/{self.path}:{probe.provider}:{probe.name}"
        passing = self._filter(number)
        lines = [f'SEC("{section}") int {name}(struct pt_regs *ctx)', "{"]
        lines += [f"\t{one}" for one in passing.definitions]
        lines += [
            f"\tstruct usdt_passage *e = passed({number});",
            "\tlong value;",
            "",
            "\tif (!e)",
            "\t\treturn 0;",
        ]
        for at, field in enumerate(self.of_probe[number]):
            column, bit = self.fields[field], f"e->missing |= 1ULL << {order.index(field)};"
            lines.append(f"\tvalue = 0;\n\tif (bpf_usdt_arg(ctx, {at}, &value))\n\t\t{bit}")
            if column.is_text:
                lines.append(
                    f"\telse if (bpf_probe_read_user_str(e->{field}, sizeof(e->{field}), (void *)value) < 0)"
                )
                lines.append(f"\t\t{bit}")
            else:
                lines.append(f"\te->{field} = value;")
        absent = sum(1 << at for at, field in enumerate(order) if field not in self.of_probe[number])
        if absent:
            lines.append(f"\te->missing |= {hex(absent)}ULL; /* what only other probes have */")
        if passing.condition:
            lines.append(f"\tif (!{passing.condition}) {{")
            lines.append("\t\tbpf_ringbuf_discard(e, 0);\n\t\treturn 0;\n\t}")
        return "\n".join([*lines, "\tbpf_ringbuf_submit(e, 0);", "\treturn 0;", "}", ""])

    def _filter(self, number: int) -> Compiled:
        """What decides whether a passage of this probe is sent."""
        expression = self.given.get("filter")
        if expression is None:
            return Compiled()
        probe, own = self.probes[number], self.of_probe[number]
        columns = {
            name: operand(name, column, bit)
            for bit, (name, column) in enumerate(self.fields.items())
            if name in own
        }
        return compile_filter(expression, {**TASK, **columns}, f"{probe.provider}:{probe.name}", own)

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        found: dict[str, pd.Series[Any]] = {name: raw[name] for name in ("time", "comm", "pid", "tid")}
        if len(self.probes) > 1:
            names = [f"{probe.provider}:{probe.name}" for probe in self.probes]
            codes: builtins.list[int] = raw["probe"].tolist()
            found["probe"] = pd.Series(
                pd.Categorical.from_codes(codes, categories=pd.Index(names)), index=raw.index
            )
        masks = raw["missing"].to_numpy(np.uint64)
        for bit, (name, column) in enumerate(self.fields.items()):
            absent = (masks & np.uint64(1 << bit)) != 0
            found[name] = values_of(raw[name], column, absent, partial=True)
        return pd.DataFrame(found, index=raw.index)

    def picture(self, data: Any, **options: Any) -> View:
        from bpfnb.views import table

        return table(data, **{"title": self.object.name, **options})


def _probes(name: str, provider: str, probe: str, pid: int | None) -> tuple[Path, list[Probe]]:
    """The file and the probes that match, of the first file that has any."""
    if not name and not pid:
        raise BadValue(
            "which probe?",
            hints=["BINARY:PROVIDER:NAME; --list shows what there is"],
        )
    files = [_found(name, pid)] if name else mapped(pid or 0)
    known: list[str] = []
    for path in files:
        binary = _binary(path, strict=bool(name))
        all_ = binary.probes() if binary is not None else []
        known += [f"{one.provider}:{one.name}" for one in all_]
        found = [
            p
            for p in all_
            if fnmatch.fnmatchcase(p.provider, provider) and fnmatch.fnmatchcase(p.name, probe)
        ]
        if len(found) > _MOST:
            raise BadValue(f"{len(found)} probes match, and at most {_MOST} can be traced at a time")
        if found:
            return path, found
    if not known:
        raise UnknownName(
            f"{name or f'process {pid}'} has no USDT probes", hints=["--list shows those of a file"]
        )
    raise UnknownName.among(
        known, f"{provider}:{probe}", f"there is no USDT probe '{provider}:{probe}' in {name or pid}"
    )


def _found(name: str, pid: int | None) -> Path:
    path = find_binary(name, pid)
    if path is None:
        raise UnknownName(f"there is no program or library '{name}'", hints=["give its path, or pid="])
    return path


def _binary(path: Path, *, strict: bool) -> Binary | None:
    try:
        return Binary(system.readable(path))
    except (OSError, ValueError) as error:
        if strict:
            raise BadValue(f"cannot read '{path}': {error}") from None
        return None


def mapped(pid: int) -> list[Path]:
    """The files that a process has mapped, its program first."""
    try:
        text = system.path(f"/proc/{pid}/maps").read_text()
    except OSError as error:
        raise BadValue(f"the process {pid} cannot be looked at: {error.strerror}") from None
    names = dict.fromkeys(
        line.split(None, 5)[5] for line in text.splitlines() if " r-xp " in line and "/" in line
    )
    root = system.path(f"/proc/{pid}/root")
    same = str(root.resolve()) == "/"
    return [
        system.path(name) if same else root / name.lstrip("/")
        for name in names
        if not name.endswith(" (deleted)")
    ]


def _sizes(arguments: str) -> str:
    return " ".join(f"{size}{real}" for size, real in _ARGUMENT.findall(arguments))


def _c(size: int) -> str:
    return f"{'s' if size < 0 else 'u'}{abs(size) * 8}"
