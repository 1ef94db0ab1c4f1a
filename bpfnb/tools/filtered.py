"""A filter of a tracepoint as the beginning of its program: what it reads, and the test."""

from __future__ import annotations

from collections.abc import Mapping

from bpfnb.tools.filter_c import Compiled, Operand, compile_filter
from bpfnb.tools.tracepoints import Event

__all__ = ["CURRENT", "Filtered", "indented"]

CURRENT: Mapping[str, tuple[str, str]] = {
    "cpu": ("u32 {}", "bpf_get_smp_processor_id()"),
    "comm": ("char {}[16]", ""),
    "pid": ("u32 {}", "bpf_get_current_pid_tgid() >> 32"),
    "tid": ("u32 {}", "(u32)bpf_get_current_pid_tgid()"),
    "uid": ("u32 {}", "(u32)bpf_get_current_uid_gid()"),
}
"""Of the task that runs: a member for it in C, and how it is had; a text by its own helper."""

_STACK = 256  # bytes of text that a filter may read onto the stack, which has 512
_SCRATCH = """\
struct {name}_texts {{
{members}}};
struct {{
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct {name}_texts);
}} {name}_scratch SEC(".maps");

"""


class Filtered:
    """The lines of *event*'s function that return where the common filters or *expression* say so.

    Names are the event's fields and what :data:`CURRENT` has, also as ``current_pid`` where a field has that name.
    ``before`` stands before the function, ``declared`` at its beginning, ``lines`` after that. *text*: bytes of texts
    that have no length of their own. Raises BadValue and UnknownName at the place in the expression.
    """

    def __init__(self, event: Event, expression: str | None, text: int) -> None:
        found = Compiled()
        if expression is not None:
            found = compile_filter(expression, _operands(event, text), str(event))
        texts = [field for field in event.fields if field.name in found.names and field.kind == "text"]
        comm = "f_current_comm" in found.condition
        self.before = ""
        if sum(field.width(text) for field in texts) > _STACK:
            name = event.identifier
            members = "".join(f"\tchar f_{field.name}[{field.width(text)}];\n" for field in texts)
            self.before = _SCRATCH.format(name=name, members=members)
            self.declared = [
                f"struct {name}_texts *texts = bpf_map_lookup_elem(&{name}_scratch, &(u32){{0}});"
            ]
            self.declared += [f"char *f_{field.name};" for field in texts]
        else:
            self.declared = [f"char f_{field.name}[{field.width(text)}];" for field in texts]
        self.declared += ["char f_current_comm[16];"] * comm + found.definitions
        self.lines = ["if (!bpfnb_wanted())", "\treturn 0;"]
        if self.before:
            self.lines += ["if (!texts)", "\treturn 0;"]
            self.lines += [f"f_{field.name} = texts->f_{field.name};" for field in texts]
        for field in texts:
            self.lines += [f"f_{field.name}[0] = 0;", field.read(f"f_{field.name}", text)]
        self.lines += ["bpf_get_current_comm(f_current_comm, sizeof(f_current_comm));"] * comm
        if found.condition:
            self.lines += [f"if (!{found.condition})", "\treturn 0;"]


def indented(*lines: str) -> str:
    """The body of a function."""
    return "".join(f"\t{line}\n" if line else "\n" for line in lines)


def _operands(event: Event, text: int) -> dict[str, Operand]:
    """What the names in a filter stand for."""
    known = ((field.name, field.operand(text)) for field in event.fields)
    found = {name: operand for name, operand in known if operand is not None}
    for name, (_, c) in CURRENT.items():
        operand = Operand(f"((s64)({c}))") if c else Operand("f_current_comm", 16)
        found[f"current_{name}"] = operand
        found.setdefault(name, operand)
    return found
