"""What compiles and cannot have been meant: a missing SEC() is no error to clang."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bpfnb.btf import Btf, Composite, DataSec, Func, Var
from bpfnb.btf_elf import Section
from bpfnb.compile.source import Source
from bpfnb.errors import Diagnostic, Location

__all__ = ["lint"]


def lint(btf: Btf, sections: Mapping[str, Section], source: Source) -> Iterator[Diagnostic]:
    """Warnings about maps outside of .maps and, in an object without any program, about functions."""
    for name in (".bss", ".data"):
        section = btf.get(name, "datasec")
        for type_id, _, _ in section.variables if isinstance(section, DataSec) else ():
            variable = btf[type_id]
            assert isinstance(variable, Var)
            definition = btf.resolve(variable.type)
            if isinstance(definition, Composite) and {"type", "max_entries"} <= {
                m.name for m in definition.members
            }:
                yield Diagnostic(
                    "warning",
                    f'{variable.name} looks like a map and is a plain variable: it has no SEC(".maps")',
                    _place(rf"\b{re.escape(variable.name)}\s*[;=]", source),
                )
    text = sections.get(".text")
    functions = [
        f for f in map(btf.__getitem__, btf.ids("func")) if isinstance(f, Func) and f.linkage != "extern"
    ]
    names = {function.name for function in functions}
    if any(names & section.symbols.keys() for name, section in sections.items() if name != ".text"):
        return
    for function in functions:
        if text and function.name in text.symbols and function.linkage == "global":
            yield Diagnostic(
                "warning",
                f'no program in here: {function.name} has no SEC("..."), so that nothing can attach it',
                _place(rf"\b{re.escape(function.name)}\s*[(,]", source),
            )


def _place(pattern: str, source: Source) -> Location | None:
    match = re.search(pattern, source.code)
    if not match:
        return None
    before = source.code[: match.start()]
    return Location(source.name, before.count("\n") + 1, len(before) - before.rfind("\n"))
