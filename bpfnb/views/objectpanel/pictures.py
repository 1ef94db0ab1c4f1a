"""The views that annotations ask for, and what an object or a frame shows as the last expression of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bpfnb import views
from bpfnb.annotations import UNITS
from bpfnb.errors import BpfnbError, UnknownName
from bpfnb.frames.live import LiveFrame
from bpfnb.frames.mapframe import INDEXED, MapFrame
from bpfnb.views._style import esc
from bpfnb.views.display import in_notebook

if TYPE_CHECKING:
    from bpfnb.object import BpfObject
    from bpfnb.views.view import View

__all__ = ["annotated", "display_frame", "display_object", "frame_view", "fresh", "kept", "order", "release"]

Frame = LiveFrame | MapFrame
V = TypeVar("V", bound="View")

MODES = {"hist": "buckets", "heatmap": "buckets", "timeseries": "mode", "flamegraph": "style"}
"""The option of each view that the words stand for which are no unit and no column."""


def annotated(frame: Frame) -> View:
    """The view that the VIEW annotation of a map or a stream asks for, always the same one while it is live.

    Raises as :func:`fresh`.
    """
    return kept(frame, "_annotated", lambda: fresh(frame))


def fresh(frame: Frame) -> View:
    """As :func:`annotated`, a view of its own.

    Raises UnknownName where the frame has no annotation, and what the view's function raises.
    """
    if not frame.view:
        raise UnknownName(f"'{frame.name}' has no VIEW annotation", hints=["for example VIEW(hist, log2)"])
    kind, *words = frame.view
    options = frame.named(kind)
    for word in words:
        if "=" in word:
            continue
        if word in UNITS:
            options["unit"] = word
        elif word == "linear" and isinstance(frame, MapFrame):
            options["buckets"] = 1  # its slots are one number wide
        else:
            options[MODES[kind]] = word
    made: View = getattr(views, kind)(frame, **options)
    return made


def display_frame(frame: Frame) -> None:
    """Show a map's annotated view, else a live table. NotImplementedError in a terminal, where the text serves."""
    _need_a_page()
    _show(frame, lambda: frame_view(frame))


def frame_view(frame: Frame) -> View:
    """What a frame shows itself as: a map its annotated view, the rest a live table; always the same one."""
    return annotated(frame) if isinstance(frame, MapFrame) and frame.view else _table(frame)


def display_object(obj: BpfObject) -> None:
    """Show the panel and the annotated views below it. NotImplementedError in a terminal, where the text serves."""
    _need_a_page()
    obj.panel()._ipython_display_()
    for frame in obj._annotated():
        _show(frame, lambda: annotated(frame))  # noqa: B023


def release(obj: BpfObject) -> None:
    """Let go of the views of a closed object that no page has shown; those that were shown leave a picture."""
    frames = (*obj.streams.values(), *obj.maps.values())
    found = [obj.__dict__.get("_panel"), *(frame.__dict__.get("_annotated") for frame in frames)]
    for view in found:
        if view is not None and not view._clients:
            view.close()


def kept(owner: object, name: str, make: Callable[[], V]) -> V:
    """The view that *owner* has under *name*; made when there is none, or when it was frozen before its time."""
    view: V | None = owner.__dict__.get(name)
    if view is None or (view.state == "done" and not view.source.closed):
        view = owner.__dict__[name] = make()
    return view


def _table(frame: Frame) -> View:
    return kept(frame, "_live_table", lambda: views.table(frame, sort=order(frame)))


def order(frame: Frame) -> tuple[str, str] | None:
    """A map with one number a key has its largest values on top."""
    if not isinstance(frame, MapFrame):
        return None
    numbers = [c.name for c in frame._types.value.columns if c.kind in ("int", "float")]
    if len(frame._types.value.columns) != 1 or not numbers or frame.kind in INDEXED:
        return None
    return frame._types.names[1][numbers[0]], "desc"


def _show(frame: Frame, make: Callable[[], View]) -> None:
    """A view that cannot be made must hide neither the others nor the reason."""
    try:
        make()._ipython_display_()
    except Exception as error:
        from IPython.display import publish_display_data

        said = str(error) if isinstance(error, BpfnbError) else f"{type(error).__name__}: {error}"
        text = f"{frame.name} cannot be drawn: {said}"
        shown = {"text/plain": text, "text/html": f"<p>{esc(text)}</p>"}
        publish_display_data(shown)


def _need_a_page() -> None:
    if not in_notebook():
        raise NotImplementedError
