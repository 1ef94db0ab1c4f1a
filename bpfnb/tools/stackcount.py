"""How often a tracepoint or a function is passed, and by which stacks: a flame graph of counts.

``bpfnb tool stackcount sched:sched_switch``. Tracepoints are named as in ``trace``, patterns too, and ``--filter`` is
the same, over the tracepoint's fields. A name without a colon that is no tracepoint is a function of the kernel, where
that has fentry or kprobes; ``uprobe:libc.so.6:malloc`` is one of a program or library. Several places are told apart by
``event``. Counted in the kernel: a row for each command, process and pair of stacks. Linux 5.11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bpfnb.bpf import TOOLS
from bpfnb.errors import BadValue, UnknownName, nearest
from bpfnb.kernel import hooks
from bpfnb.kernel.features import check_section
from bpfnb.tools.filtered import Filtered, indented
from bpfnb.tools.stacked import Stacked
from bpfnb.tools.tool import Load, Option
from bpfnb.tools.tracepoints import expand, find_event

MOST = 100  # places at once


class StackCount(Stacked):
    family = "kernel"
    options = (
        Option(
            "event",
            str,
            "tracepoints, functions of the kernel, or uprobe:BINARY:FUNCTION; up to 100",
            "EVENT",
            variable=False,
            several=True,
            positional=True,
        ),
        Option("filter", str, "only where this is true of the tracepoint's fields", "EXPR", variable=False),
        Option("user_only", bool, "only user stacks"),
        Option("kernel_only", bool, "only kernel stacks"),
    )
    stream = "counts"
    weight = "count"

    def prepare(self) -> Load:
        asked = self.given.get("event")
        if not asked:
            raise BadValue("stackcount takes a tracepoint or a function: sched:sched_switch")
        self.places = list(dict.fromkeys(place for one in asked for place in _places(one)))
        if len(self.places) > MOST:
            raise BadValue(f"{len(self.places)} places are too many, {MOST} go at once")
        if "filter" in self.given and not all(place.startswith("tp/") for place in self.places):
            raise BadValue("filter= is over the fields of tracepoints: functions have none")
        self.functions = [self._function(number, place) for number, place in enumerate(self.places)]
        if len(self.places) > 1:
            self.by = ("event", "comm")  # type: ignore[misc]  # the root of this one's flame graph
        return super().prepare()

    def text(self) -> str:
        common: str = (TOOLS / "stackcount.bpf.c").read_text()
        return "\n".join([common, *self.functions])

    def _function(self, number: int, place: str) -> str:
        before, lines = "", ["if (!bpfnb_wanted())", "\treturn 0;"]
        if place.startswith("tp/"):
            event = find_event(place.removeprefix("tp/").replace("/", ":", 1))
            filtered = Filtered(event, self.given.get("filter"), 128)
            before, lines = filtered.before, [*filtered.declared, "", *filtered.lines]
        body = indented(*lines, f"return count(ctx, {number});")
        return f'{before}SEC("{place}") int at_{number}(void *ctx)\n{{\n{body}}}\n'

    def named(self, raw: pd.DataFrame) -> pd.DataFrame:
        frame = super().named(raw)
        labels = pd.Index([re.sub(r"^tp/(\w+)/", r"\1:", place) for place in self.places])
        frame["event"] = pd.Categorical.from_codes(frame["event"].to_numpy(int), labels)
        return frame

    def state(self) -> dict[str, Any]:
        return {**super().state(), "by": [*self.by]}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.by = tuple(map(str, state["by"]))  # type: ignore[misc]

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        several = ["event"] * (len(self.places) > 1)
        return self.named(raw)[[*several, "comm", "pid", "count", "user_stack", "kernel_stack"]]


def _places(name: str) -> list[str]:
    """The sections of libbpf that a name means. Raises UnknownName, KernelFeatureMissing."""
    if name.startswith("uprobe:"):
        return [f"uprobe/{name.removeprefix('uprobe:')}"]
    kind, _, function = name.rpartition(":")
    if kind not in ("", "kprobe", "fentry") or re.search(r"[*?\[/]", name):
        return [f"tp/{event.replace(':', '/', 1)}" for event in expand([name])]
    if not kind and any(event.partition(":")[2] == name for event in hooks.tracepoints()):
        return [f"tp/{event.replace(':', '/', 1)}" for event in expand([name])]
    known = hooks.KINDS["function"][0]()
    if function not in known:
        tracepoints = [event.partition(":")[2] for event in hooks.tracepoints()]
        near = nearest(function, [*tracepoints, *known])
        raise UnknownName(
            f"the kernel has no tracepoint or function '{function}'",
            hints=[f"did you mean {', '.join(near)}?"] if near else [],
        )
    refused = None
    for one in [kind] if kind else ["fentry", "kprobe"]:
        refused = check_section(f"{one}/{function}")
        if refused is None:
            return [f"{one}/{function}"]
    assert refused is not None
    raise refused
