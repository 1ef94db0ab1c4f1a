"""Programs that trace functions of user space, made from what DWARF says of them, and their frame."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, KernelFeatureMissing
from bpfnb.kernel import system
from bpfnb.symbols.calling import HERE, Abi, Place
from bpfnb.symbols.signatures import Signature, Type
from bpfnb.tools.columns import TASK, at, operand, values_of
from bpfnb.tools.expression import names, parse
from bpfnb.tools.filter_c import Compiled, Operand, compile_filter
from bpfnb.tools.paths import Column, Unavailable, leaves, plain, read
from bpfnb.tools.targets import Function, Target

__all__ = ["Calls", "word"]

_MOST = 32  # functions: each is a program or two that the verifier reads
_FIXED = ("time", "cgroup_id", "missing", "function", "pid", "tid", "uid", "comm")
_DECLARATION = re.compile(r"(?:[su]\d+|bool|void \*) ?\w+ = 0")
_KEYWORDS = ("restrict", "inline", "register", "typeof", "bool", "char", "float", "double", "duration")


@dataclass(slots=True)
class _Plan:
    """One function: what is read at its entry and what when it returned, by the names of the fields."""

    function: Function
    signature: Signature | None
    entry: dict[str, Column] = field(default_factory=dict)
    result: dict[str, Column] = field(default_factory=dict)
    filter: Compiled = field(default_factory=Compiled)
    late: bool = False
    """Whether the filter needs what is known when it returned."""


class Calls:
    """The functions of *target* that match *patterns*, the columns of their calls, and their programs.

    :raises UnknownName: no such function, parameter or member. BadValue: a path or filter that makes no sense, or
        what cannot be read; too many functions.
    """

    def __init__(
        self,
        target: Target,
        patterns: Sequence[str],
        *,
        columns: Sequence[str] = (),
        expression: str | None = None,
        raw: bool = False,
        entry: bool = False,
        room: int = 64,
    ) -> None:
        if not patterns:
            raise BadValue("which function?", hints=["BINARY:FUNCTION, such as libc.so.6:malloc"])
        if not 2 <= room <= 4096:
            raise BadValue(f"2 to 4096 bytes of a text can be kept, not {room}")
        self.abi = _abi(target)
        self.target = target
        self.room = room
        self.left_out: dict[str, str] = {}
        functions = target.matching(patterns)
        if len(functions) > _MOST:
            raise BadValue(
                f"{', '.join(patterns)}: {len(functions)} functions, and at most {_MOST} can be traced at a time",
                hints=["funccount counts the calls of as many as there are"],
            )
        self.names = [function.name for function in functions]
        self.plans = [_Plan(function, target.signature(function)) for function in functions]
        self.fields: dict[str, tuple[str, Column]] = {}
        self.shown: list[str] = []
        asked = (
            [*columns, *(name.value for name in names(parse(expression)))]
            if expression is not None
            else columns
        )
        wants_end = not columns or any(re.match(r"[*\s]*(ret|duration)\b", path) for path in asked)
        may_return = not target.go and any(not (p.signature and p.signature.no_return) for p in self.plans)
        if target.go and not entry and columns and wants_end:
            raise BadValue(
                "Go moves its stacks, so a probe where its functions return would crash the program"
            )
        self.ends = wants_end and not entry and may_return
        self.timed = self.ends and (not columns or "duration" in columns)
        for plan in self.plans:
            self._choose(plan, columns, raw)
            if expression is not None:
                self._restrict(plan, expression)
        if not columns:
            self.shown.sort(key=lambda name: name in {known for plan in self.plans for known in plan.result})
        if len(self.fields) > 64:
            raise BadValue(f"{len(self.fields)} columns are more than the 64 that there may be")

    # Columns

    def _choose(self, plan: _Plan, columns: Sequence[str], raw: bool) -> None:
        values, results = self._values(plan), self._results(plan)
        if columns:
            for path in columns:
                if path != "duration":
                    self._add(plan, path, values, results, shown=True)
            return
        own = {parameter.name for parameter in plan.signature.parameters} if plan.signature else set()
        for name, (kind, place) in values.items():
            if name in own or raw:
                for path in leaves(name, kind, place):
                    self._try(plan, path, values, results)
        if self.ends and plan.signature is None:
            self._try(plan, "ret", values, results)
        elif self.ends and plan.signature is not None and plan.signature.returns.kind != "void":
            for path in leaves("ret", *results["ret"]):
                self._try(plan, path, values, results)

    def _try(
        self,
        plan: _Plan,
        path: str,
        values: Mapping[str, tuple[Type, Place]],
        results: Mapping[str, tuple[Type, Place]],
    ) -> None:
        """Show a value, or say why it cannot be shown."""
        try:
            self._add(plan, path, values, results, shown=True)
        except BadValue as error:
            key = path if len(self.plans) == 1 else f"{plan.function.name}.{path}"
            self.left_out[key] = (
                error.message.partition(": ")[2] if isinstance(error, Unavailable) else error.message
            )

    def _values(self, plan: _Plan) -> dict[str, tuple[Type, Place]]:
        found: dict[str, tuple[Type, Place]] = {}
        signature = plan.signature
        if signature is not None and signature.go:
            self.left_out[f"{plan.function.name}: arguments"] = "Go has a calling convention of its own"
        elif signature is not None:
            places = self.abi.arguments_of(signature, clone=plan.function.clone)
            for number, (parameter, place) in enumerate(zip(signature.parameters, places, strict=True), 1):
                found[parameter.name or f"arg{number}"] = parameter.type, place
        for number, register in enumerate(self.abi.arguments[:6], 1):
            found.setdefault(f"arg{number}", (word(False), Place((self.abi.registers[register],))))
        return found

    def _results(self, plan: _Plan) -> dict[str, tuple[Type, Place]]:
        if plan.signature is None or plan.signature.go:
            return {"ret": (word(True), Place((self.abi.registers[self.abi.results[0]],)))}
        kind = plan.signature.returns
        if plan.function.clone:
            return {
                "ret": (
                    kind,
                    Place(reason="the compiler made a copy of the function that need not return it"),
                )
            }
        return {"ret": (kind, self.abi.result_of(kind))}

    def _add(
        self,
        plan: _Plan,
        path: str,
        values: Mapping[str, tuple[Type, Place]],
        results: Mapping[str, tuple[Type, Place]],
        *,
        shown: bool,
    ) -> str:
        """The field that holds *path*."""
        start = re.match(r"[*\s]*(\w*)", path)
        first = start[1] if start else ""
        late = first == "ret" and "ret" not in values
        if late and not self.ends:
            raise BadValue("what a function returns is known only when it returns: without entry=")
        name = self._field(path)
        column = read(path, results if late else values, name, self.room)
        name = self._merged(name, path, column, plan)
        (plan.result if late else plan.entry)[name] = column
        if shown and name not in self.shown:
            self.shown.append(name)
        return name

    def _field(self, path: str) -> str:
        name = re.sub(r"\W+", "_", plain(path)).strip("_") or "value"
        if name in _FIXED or name in _KEYWORDS:
            name += "_"
        while name in self.fields and plain(self.fields[name][1].path) != plain(path):
            name += "_"
        return name

    def _merged(self, name: str, path: str, column: Column, plan: _Plan) -> str:
        """The field of a column that other functions may have too, wide enough for all."""
        if name not in self.fields:
            shown = path.partition(":")[0].strip()
            self.fields[name] = shown + "_" if shown in _FIXED else shown, column
            return name
        shown, before = self.fields[name]
        if before.is_text != column.is_text or (
            "float" in (before.type.kind, column.type.kind) and before.c != column.c
        ):
            raise BadValue(
                f"'{path}' is of another type in {plan.function.name}: a '{column.type}', not a '{before.type}'",
                hints=["trace the functions one by one, or choose columns="],
            )
        if before.is_text:
            wider = max(before, column, key=lambda one: int(one.suffix.strip("[]")))
        elif before.c == column.c and before.enumerators == column.enumerators:
            wider = before
        else:
            signed = any(one.c.startswith("s") for one in (before, column))
            wider = Column(path, word(signed), "s64" if signed else "u64", reads=before.reads or column.reads)
        wider.reads = before.reads or column.reads
        self.fields[name] = shown, wider
        return name

    def _restrict(self, plan: _Plan, expression: str) -> None:
        """Send only the calls that the filter lets through."""
        values, results = self._values(plan), self._results(plan)
        ends = {"duration": Operand("e->duration", signed=False)} if self.ends else {}
        known = {**ends, **TASK}
        there = {plain(self.fields[name][1].path): name for name in (*plan.entry, *plan.result)}
        asked = names(parse(expression))
        plan.late = any(name.value in ends for name in asked)
        for name in asked:
            first = re.split(r"\W", name.value.lstrip("*"))[0]
            if first in values or first == "ret":
                with at(name, expression):
                    field_name = there.get(plain(name.value))
                    field_name = field_name or self._add(plan, name.value, values, results, shown=False)
                    column = plan.result.get(field_name) or plan.entry[field_name]
                    bit = list(self.fields).index(field_name) if column.reads else None
                    known[name.value] = operand(field_name, column, bit)
                plan.late |= field_name in plan.result
        signature = plan.signature
        own = [parameter.name for parameter in signature.parameters] if signature else list(values)
        others = [*own, "ret"] if self.ends else own
        plan.filter = compile_filter(expression, known, plan.function.name, others)

    # C

    def text(self, template: str) -> str:
        """The whole program."""
        sleeps = _may_sleep()
        columns = [f"\t{column.declare(name)}" for name, (_, column) in self.fields.items()]
        if self.ends:
            columns.append('\tns_t duration DESCRIPTION("from the call to the return");')
        programs = "\n".join(self._programs(number, plan, sleeps) for number, plan in enumerate(self.plans))
        made = template.replace("@COLUMNS@ and @PROGRAMS@ are", "Its columns and programs are")
        made = made.replace("@COLUMNS@", "\n".join(columns)).replace("@PROGRAMS@\n", programs)
        return (
            made.replace("#include <bpfnb/filter.h>", "#define MAY_SLEEP\n#include <bpfnb/filter.h>", 1)
            if sleeps
            else made
        )

    def _programs(self, number: int, plan: _Plan, sleeps: bool) -> str:
        function = plan.function
        place = f"{'.s' if sleeps else ''}/{self.target.path}:{self._place(function)}"
        name = re.sub(r"\W+", "_", function.name).strip("_") or "function"
        name = f"{name[:40]}_{number}" if len(self.plans) > 1 else name[:40]
        absent = sum(
            1 << at
            for at, known in enumerate(self.fields)
            if known not in plan.entry and known not in plan.result
        )
        lines = [
            f"/* {_written(plan)} */",
            f'SEC("uprobe{place}") int {name}_called(struct pt_regs *ctx)',
            "{",
        ]
        condition, defined = plan.filter.condition, [f"\t{one}" for one in plan.filter.definitions]
        early = bool(condition) and not plan.late
        lines += defined * early
        discard = "forget(ctx, false)" if self.ends else "bpf_ringbuf_discard(e, 0)"
        if self.ends:
            lines.append(f"\tstruct uprobe_call *e = called(ctx, {number});\n")
            lines.append("\tif (!e)\n\t\treturn 0;")
        else:
            lines.append("\tstruct uprobe_call *e;\n\n\tif (!bpfnb_wanted())\n\t\treturn 0;")
            lines.append("\te = bpf_ringbuf_reserve(&events, sizeof(*e), 0);\n\tif (!e)\n\t\treturn 0;")
            lines.append("\tbpf_probe_read_kernel(e, sizeof(*e), &empty);\n\tbpfnb_row(e);")
            lines.append(f"\te->function = {number};")
        lines += self._reads(plan.entry)
        if absent:
            lines.append(f"\te->missing |= {hex(absent)}ULL; /* what only other functions have */")
        if early:
            lines.append(f"\tif (!{condition})" + (" {" if not self.ends else ""))
            lines.append(f"\t\t{discard};" + ("\n\t\treturn 0;\n\t}" if not self.ends else ""))
        if not self.ends:
            lines.append("\tbpf_ringbuf_submit(e, 0);")
        lines.append("\treturn 0;\n}\n")
        if self.ends:
            lines += [f'SEC("uretprobe{place}") int {name}_returned(struct pt_regs *ctx)', "{"]
            lines += defined * plan.late
            lines.append("\tstruct uprobe_call *e = returned(ctx);\n\n\tif (!e)\n\t\treturn 0;")
            lines.append("\te->duration = bpf_ktime_get_ns() - e->time;")
            lines += self._reads(plan.result)
            check = f"\tif ({condition})\n\t" if plan.late else ""
            lines.append(f"{check}\tbpf_ringbuf_output(&events, e, sizeof(*e), 0);")
            lines.append("\tforget(ctx, true);\n\treturn 0;\n}\n")
        return "\n".join(lines)

    def _reads(self, columns: Mapping[str, Column]) -> list[str]:
        order = list(self.fields)
        found = []
        for name, column in columns.items():
            lines = [line.replace("@MISSING@", f"1ULL << {order.index(name)}") for line in column.lines]
            shared = self.fields[name][1].c
            if shared != column.c:  # other functions have it wider: it is read as it is here, then widened
                read_here = [line.replace(f"e->{name}", "own") for line in lines]
                lines = [f"{column.c} own = 0;", *read_here, f"e->{name} = ({shared})own;"]
            if len(lines) == 1:
                found.append(f"\t{lines[0]}")
                continue
            declared = any(_DECLARATION.match(line) for line in lines)
            inner = [f"\t{line}" for line in lines] if declared else lines
            block = ["{", *inner, "}"] if declared else inner
            found += [f"\t{line}" for line in block]
        return found

    def _place(self, function: Function) -> str:
        """The function's symbol, or its place in the file where several functions have this name."""
        if self.target.binary.offset(function.symbol) == function.offset:
            return function.symbol
        return f"+{hex(function.offset)}"

    # Frames

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        """The calls: who, which function where there are several, its values, and how long it took."""
        found = {name: raw[name] for name in ("time", "comm", "pid", "tid")}
        if len(self.names) > 1:
            codes = raw["function"].to_numpy()
            labels = list(dict.fromkeys(self.names))
            positions = np.array([labels.index(name) for name in self.names], np.intp)
            numbers: list[int] = positions[codes.astype(np.intp)].tolist()
            at = pd.Categorical.from_codes(numbers, categories=pd.Index(labels))
            found["function"] = pd.Series(at, index=raw.index)
        masks = raw["missing"].to_numpy(np.uint64)
        order = list(self.fields)
        notes = dict(raw.attrs.get("bpfnb_columns", {}))
        for name in self.shown:
            shown, column = self.fields[name]
            absent = (masks & np.uint64(1 << order.index(name))) != 0
            found[shown] = values_of(raw[name], column, absent, partial=len(self.plans) > 1)
            if name in notes:
                notes[shown] = notes.pop(name)
        if self.timed:
            found["duration"] = raw["duration"]
        frame = pd.DataFrame(found, index=raw.index)
        frame.attrs["bpfnb_columns"] = notes
        return frame


def _written(plan: _Plan) -> str:
    """The function as its source has it."""
    signature = plan.signature
    if signature is None:
        return f"{plan.function.name}, of which there is no debug information"
    parameters = ", ".join(f"{p.type} {p.name}".strip() for p in signature.parameters)
    text = f"{signature.returns} {plan.function.name}({parameters}{', ...' if signature.variadic else ''})"
    return text.replace("*/", "* /").replace("/*", "/ *")


def word(signed: bool) -> Type:
    """A register as it is."""
    kind = Type(None)
    kind.kind, kind.size, kind.signed, kind.name = "int", 8, signed, "s64" if signed else "u64"
    kind.spelled = kind.name
    return kind


def _abi(target: Target) -> Abi:
    if HERE is None or target.machine != HERE.machine:
        raise KernelFeatureMissing(
            f"{target.path} is for another processor, or its calling convention is not known here",
            feature="uprobes",
        )
    return HERE


def _may_sleep() -> bool:
    """Whether probes may wait for memory (Linux 6.0: sleepable uprobes)."""
    release = re.match(r"(\d+)\.(\d+)", system.release())
    return release is not None and (int(release[1]), int(release[2])) >= (6, 0)
