"""The live panel of an object: what it does, what it costs, what it lost, and a control for each global variable.

The panel only reads what is there; it takes no lock that a stop or a close holds. What takes long, such as detaching,
runs on a thread of its own, so that a click is answered also while a cell runs.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import traitlets

from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.views._object_html import object_html
from bpfnb.views._object_text import object_text
from bpfnb.views._style import Theme, humanize, share
from bpfnb.views.objectpanel.controls import Bounds, controls
from bpfnb.views.objectpanel.facts import Facts, VariableFacts, facts
from bpfnb.views.source import Source
from bpfnb.views.view import View
from bpfnb.views.wire import Payload

if TYPE_CHECKING:
    from bpfnb.object import BpfObject

__all__ = ["ObjectPanel", "panel"]

HISTORY = 60  # points of a sparkline: half a minute at two a second

VERBS: Mapping[str, tuple[str, ...]] = {
    "loaded": ("attach", "stop"),
    "attached": ("pause", "stop"),
    "paused": ("resume", "stop"),
}
"""What can be done with an object, by its state."""


class ObjectPanel(View):
    """State, programs, streams, maps and variables of *obj*, with buttons and controls. Get it with ``obj.panel()``.

    It looks twice a second (``hz``) while somebody sees it; only then are the kernel's statistics kept on for it. When
    the object stops, the panel becomes a static picture.
    """

    family = "panel"
    default_height = 0  # as its contents need
    _static_kind: ClassVar[Literal["svg", "html"]] = "html"

    _least = traitlets.Int(0).tag(sync=True)  # pixels that the contents will take, so that nothing jumps

    def __init__(
        self, obj: BpfObject, *, height: int | None = None, title: str = "", hz: float = 2.0
    ) -> None:
        self.object = obj
        self._controls = {control.name: control for control in controls(obj.elf.btf)}
        self._bounds: dict[str, Bounds | None] = {}
        self._refused: dict[str, str] = {}  # why a variable was not written, by its name
        self._heard: dict[str, int] = {}  # the last change that came from each page
        self._busy = ""  # the verb that is being carried out
        self._spent: dict[str, tuple[int, float]] = {}  # run time and seconds at the last look, by program
        self._history: dict[str, deque[float]] = {}
        counts = (len(obj.programs), len(obj.streams), len(obj.maps), len(self._controls))
        least = sum(26 + 27 * count for count in counts if count)
        super().__init__(_ObjectSource(obj), height=height, title=title, hz=hz, _least=least)
        if obj.state in ("stopped", "closed"):
            self.close()

    # The picture

    def _build(self) -> Payload:
        found = facts(self.object, tuple(self._controls.values()))
        return Payload(
            {
                "state": found.state,
                "tone": found.tone,
                "note": found.note,
                "cost": found.cost,
                "verbs": self._verbs(found),
                "programs": [
                    {
                        "name": p.name,
                        "section": p.section,
                        "attached": p.attached,
                        "runs": _whole(p.runs),
                        "average": humanize(p.average_ns, "ns") if p.runs else "-",
                        "share": share(p.share) if p.runs else "-",
                        "history": self._remember(
                            f"program {p.name}", self._share(p.name, p.run_time_ns, p.seconds)
                        ),
                    }
                    for p in found.programs
                ],
                "streams": [
                    {
                        "name": s.name,
                        "rows": _whole(s.rows),
                        "received": _whole(s.total),
                        "rate": "-" if s.rate is None else f"{s.rate:,.0f}/s",
                        "history": self._remember(f"stream {s.name}", s.rate),
                        "lost": _whole(s.lost),
                        "fill": _fill(s.fill),
                    }
                    for s in found.streams
                ],
                "maps": [
                    {
                        "name": m.name,
                        "type": m.kind,
                        "entries": _whole(m.entries),
                        "most": _whole(m.most),
                        "fill": _fill(m.fill),
                        "refused": _whole(m.refused),
                    }
                    for m in found.maps
                ],
                "variables": [self._variable(v) for v in found.variables],
                "heard": dict(self._heard),
            }
        )

    def _verbs(self, found: Facts) -> list[str]:
        if self._busy:
            return []
        verbs = VERBS.get(self.object.state, ()) if found.state != "recorded" else ("stop",)
        attachable = any(program.attaches for program in self.object.programs.values())
        return [verb for verb in verbs if verb != "attach" or attachable]

    def _share(self, name: str, run_time_ns: int, seconds: float) -> float | None:
        """The program's share of a CPU since the last look; None as long as nothing new was measured."""
        before, since = self._spent.get(name, (0, 0.0))
        if seconds <= since:
            return None
        self._spent[name] = (run_time_ns, seconds)
        return (run_time_ns - before) / (seconds - since) / 1e9

    def _remember(self, name: str, value: float | None) -> list[float]:
        history = self._history.setdefault(name, deque(maxlen=HISTORY))
        if value is not None and math.isfinite(value) and (value or any(history)):
            history.append(float(f"{value:.3g}"))
        return list(history)

    def _variable(self, found: VariableFacts) -> dict[str, Any]:
        control, value = found.control, found.value
        name = control.name
        about: dict[str, Any] = {
            "name": name,
            "kind": control.kind,
            "type": control.type,
            "constant": control.constant,
            "unit": control.unit,
            "about": control.description,
            "value": "-" if value is None else control.text(value),
            "said": control.said(value),
            "error": self._refused.get(name, ""),
        }
        if control.kind == "choice":
            # A number that no name of the enumeration has is shown, and cannot be chosen again.
            about["choices"] = list(dict.fromkeys([*control.choices, about["value"]]))
        bounds = self._bounds[name] = control.bounds(value, self._bounds.get(name))
        if bounds:
            about["range"] = [control.text(n) for n in (bounds.low, bounds.high, bounds.step)]
        return about

    def _static(self, theme: Theme) -> str:  # noqa: ARG002
        return object_html(self.object)

    def html(self) -> str:
        """The panel of now as static HTML."""
        return object_html(self.object)

    def _text(self) -> str:
        return object_text(self.object)

    def __repr__(self) -> str:
        state = f"{self.object.origin}, {self.object.status}" if self.object.origin else self.state
        return f"<{type(self).__name__} of {self.object.name}: {state}>"

    # What a person does

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:  # noqa: ARG002
        match content:
            case {"kind": "do", "verb": str(verb)} if verb in ("attach", "pause", "resume", "stop"):
                self._do(verb)
            case {"kind": "set", "name": str(name), "value": str() | bool() as value}:
                self._set(name, value)
                page, number = content.get("page"), content.get("number")
                if isinstance(page, str) and isinstance(number, int):
                    self._heard[page] = number
            case _:
                raise BadValue(f"the panel knows no message {dict(content)}")
        self.refresh()

    def _set(self, name: str, value: str | bool) -> None:
        control = self._controls.get(name)
        if control is None:
            raise UnknownName.among(self._controls, name, f"the object has no global variable '{name}'")
        try:
            self.object.vars[name] = control.parse(value)
        except BpfnbError as error:
            self._refused[name] = error.message.removeprefix(f"variable '{name}': ")
        else:
            self._refused.pop(name, None)

    def _do(self, verb: str) -> None:
        """Carry out *verb* on a thread: the kernel takes its time, and whoever stops the object waits for this lock."""
        if self._busy:
            return
        self._busy = verb
        call: Callable[[], object] = getattr(self.object, verb)

        def run() -> None:
            try:
                call()
            except Exception as error:
                self._fail(error)
            finally:
                self._busy = ""
                self.refresh()

        threading.Thread(target=run, name=f"bpfnb-{verb}", daemon=True).start()


def panel(obj: BpfObject) -> ObjectPanel:
    """The live panel of *obj*, always the same one: it may be displayed as often as wanted."""
    found: ObjectPanel = obj.panel()
    return found


class _ObjectSource(Source):
    """An object as what a view reads: polled, never paused by itself, ended by the object."""

    kind = "object"
    columns: ClassVar[list[str]] = []
    origin = ""  # the panel's first line says it

    def __init__(self, obj: BpfObject) -> None:
        super().__init__(obj, obj.name, ("object", id(obj)))

    @property
    def closed(self) -> bool:
        return self.data.state in ("stopped", "closed")

    def version(self) -> object:
        return None

    def lost(self) -> dict[str, int]:
        return {}  # each stream and map says so itself

    def span(self) -> tuple[int, int]:
        return 0, 0


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _fill(value: float | None) -> dict[str, Any] | None:
    if value is None or math.isnan(value):
        return None
    return {"share": round(value, 3), "text": share(value)}
