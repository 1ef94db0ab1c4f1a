"""What all views share: options, selection, what is drawn when, and what stays when it stops.

How a picture comes to the browser is in :mod:`bpfnb.views.traffic`.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import traitlets

from bpfnb.errors import BadValue
from bpfnb.views import selection as selections
from bpfnb.views import ticker
from bpfnb.views._style import Theme, esc, pictured, styled
from bpfnb.views.display import Shown, unattended
from bpfnb.views.selection import Hub, Selection
from bpfnb.views.source import Source
from bpfnb.views.traffic import Traffic, said
from bpfnb.views.wire import Payload

__all__ = ["STATIC", "View"]

STATIC = Path(__file__).parent / "static"
"""Where the browser's part of each view is, one bundle a family."""


class View(Traffic):
    """A picture of *data* that follows it. The families derive from it.

    ``state`` is ``live``, ``paused`` or ``done``. ``selection`` is what was pointed at here, a dict as
    :mod:`bpfnb.views.selection` describes, to read and to set; ``filter`` is what the linked views select together,
    read only. ``height`` is in pixels, ``hz`` the frames a second. ``note`` is what is said below of the data: why they
    ended too early, or why there are none. ``errors`` keeps the last errors.
    """

    family: ClassVar[str] = ""
    default_height: ClassVar[int] = 320
    height = traitlets.Int(320).tag(sync=True)
    title = traitlets.Unicode("").tag(sync=True)
    selection = traitlets.Dict()
    filter = traitlets.Dict(read_only=True)
    note = traitlets.Unicode("", read_only=True).tag(sync=True)
    _key = traitlets.Unicode().tag(sync=True)

    def __init_subclass__(cls, **keywords: Any) -> None:
        bundle = STATIC / f"{cls.family}.js"
        if "family" in cls.__dict__ and bundle.exists():
            cls._esm = (
                bundle  # missing only in a source tree that was not built: the views then stay pictures
            )
        super().__init_subclass__(**keywords)

    def __init__(
        self, data: Any, *, height: int | None = None, title: str = "", hz: float = 10.0, **traits: Any
    ) -> None:
        source = Source.of(data)
        self.abandoned = False
        """Whether all pages that showed it have let go of it, as when its cell ran again."""
        self._dark = False  # whether the page that shows it is
        self._shown = Shown()
        super().__init__(
            source,
            height=self.default_height if height is None else height,
            title=title or source.name,
            hz=hz,
            _key=uuid.uuid4().hex,
            **traits,
        )
        self._hub = Hub.of(self.source.key)
        self._hub.join(self)
        self.source.when_ended(self.stop)
        ticker.add(self)

    remark: Callable[[], str] = staticmethod(str)
    """Gives :attr:`note`; asked at each turn, in the one thread of all views: it waits for nothing."""

    # What a family adds

    def _static(self, theme: Theme) -> str:
        """The picture of now as an ``<svg>``, or as HTML where :attr:`_static_kind` says so."""
        raise NotImplementedError

    _static_kind: ClassVar[Literal["svg", "html"]] = "svg"

    def _beneath(self) -> str:
        """HTML under the static picture: its numbers as a table, say."""
        return ""

    def _svg(self, theme: Theme) -> str:
        """The picture of now as an ``<svg>``; families whose static picture is HTML may have one beside it."""
        if self._static_kind == "svg":
            return self._static(theme)
        raise BadValue(
            f"the picture of {type(self).__name__} is HTML, no drawing",
            hints=['.save("x.html") writes it, one file that works offline'],
        )

    def _figure(self) -> Any:
        """The picture of now as a plotly figure."""
        raise NotImplementedError

    def _text(self) -> str:
        """The picture in words, for terminals."""
        return repr(self)

    def _on_message(self, content: Mapping[str, Any], buffers: list[memoryview]) -> None:
        """What the family's part in the browser sent. Under the lock; a BpfnbError is shown under the view."""

    def _offline_payloads(self) -> list[Payload]:
        """What an offline page embeds."""
        payload = self._build_full()
        return [] if payload is None else [payload]

    # For people

    def refresh(self) -> None:
        """Draw again, though the data is the same: an option changed."""
        self._dirty = True
        ticker.wake(self)

    def pause(self) -> None:
        """Let the picture stand still until :meth:`resume`; the data goes on."""
        if self.state == "live":
            self.set_trait("state", "paused")

    def resume(self) -> None:
        """Follow the data again after :meth:`pause`."""
        if self.state == "paused":
            self.set_trait("state", "live")
            self.refresh()

    def stop(self) -> None:
        """Draw a last time, and leave a static picture in the notebook that needs neither kernel nor widgets."""
        with self.lock:
            if self.state == "done":
                return
            ticker.remove(self)
            with contextlib.suppress(Exception):  # at the process's end, the way to the browser may be gone
                self._say()
                self.set_trait("state", "done")
                self.source.recount()
                if self._clients:
                    self._last_picture()
                if self._shown:
                    self._shown.replace(self._bundle())
            if not self._clients:
                self._leave()

    def close(self) -> None:
        """As :meth:`stop`, and the widget goes from the notebook wherever it stands."""
        if not hasattr(self, "_hub"):
            return  # it was never made
        self.stop()
        self._hub.leave(self)
        self._leave()

    @property
    def selected(self) -> pd.DataFrame:
        """The rows behind :attr:`selection`, or all rows that the linked views leave."""
        return self.filtered(self.source.frame(), self.selection or self.filter)

    def filtered(self, frame: pd.DataFrame, selection: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The rows of *frame* that the linked views leave (or that *selection* selects)."""
        wanted = self.filter if selection is None else selection
        return frame[selections.apply(frame, wanted)] if wanted else frame

    def to_plotly(self) -> Any:
        """The picture of now as a plotly figure."""
        with self.lock:
            return self._figure()

    def svg(self, theme: Theme = "light") -> str:
        """The picture of now as a standalone SVG; with the *theme* ``auto`` its colours are the page's."""
        with self.lock:
            return self._svg(theme)

    def html(self) -> str:
        """The picture of now as static HTML, without scripts, in the colours of the page that shows it."""
        with self.lock:
            note, origin = self._say(), self.source.origin
            remark = f'<p class="b-note" role="status">{esc(note)}</p>' if note else ""
            remark += f'<p class="b-dim">{esc(origin)}</p>' if origin else ""
            if self._static_kind == "html":
                return styled(self._static("auto") + remark, self.title or self.family)
            theme: Theme = "dark" if self._dark else "light"
            drawing = pictured(self._static(theme), theme)
            return styled(drawing + remark + self._beneath(), self.title or self.family)

    def save(self, path: str | Path, *, theme: Theme = "light") -> Path:
        """Write the picture of now: ``.svg``, ``.png``, or ``.html``, one file that works offline as far as it can.

        Raises BadValue for another suffix, MissingDependency where PNG cannot be made.
        """
        path = Path(path)
        if path.suffix == ".html":
            from bpfnb.views.page import page

            path.write_text(page(self), encoding="utf-8")
        elif path.suffix == ".svg":
            path.write_text(self.svg("light" if theme == "auto" else theme), encoding="utf-8")
        elif path.suffix == ".png":
            from bpfnb.views.raster import png

            path.write_bytes(png(self.svg("light" if theme == "auto" else theme)))
        else:
            raise BadValue(f"cannot save a view as '{path.name}'", hints=["use .html, .svg or .png"])
        return path

    def __repr__(self) -> str:
        name, origin = self.source.name or "a frame", self.source.origin
        state = "shown" if origin and self.state == "live" else self.state
        return f"<{type(self).__name__} of {name}{', ' if origin else ''}{origin}: {state}>"

    # Display

    def _ipython_display_(self) -> None:
        self._shown.show(self._bundle())

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:  # type: ignore[override]
        return self._bundle()

    def _bundle(self) -> dict[str, Any]:
        with self.lock:
            note = self._say()
        bundle: dict[str, Any] = {
            "text/plain": "\n".join(filter(None, [self._guarded(self._text), note, self.source.origin])),
            "text/html": self._guarded(self.html),
        }
        live = self.state != "done" and self.comm is not None and hasattr(type(self), "_esm")
        if live and not unattended():  # a page prefers the widget, and without a kernel could not draw it
            bundle["application/vnd.jupyter.widget-view+json"] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.model_id,
            }
        return bundle

    def _guarded(self, call: Any) -> str:
        """Showing must not fail: where the picture cannot be drawn, the reason stands in its place."""
        try:
            return str(call())
        except Exception as error:
            self.errors.append(error)
            return f"<pre>{esc(said(error))}</pre>" if call == self.html else said(error)

    # Turns

    def _step(self) -> float:
        self._say()
        return super()._step()

    def _say(self) -> str:
        """Bring :attr:`note` up to date. Nothing else of the view hangs on that."""
        try:
            self.set_trait("note", self.remark())
        except Exception as error:
            self.errors.append(error)
        return self.note

    # What pages ask for

    def _page_message(self, kind: str, content: Mapping[str, Any], buffers: list[memoryview]) -> None:
        if kind == "theme":
            self._dark = bool(content.get("dark"))
        elif kind == "error":
            self.errors.append(RuntimeError(str(content.get("message"))[:10_000]))
        elif kind == "control":
            verbs = {"pause": self.pause, "resume": self.resume, "stop": self.stop}
            verbs.get(str(content.get("verb")), self.refresh)()
        elif kind == "static":
            self._reply({"kind": "static", "id": self.model_id, "html": self._guarded(self.html)})
        else:
            self._guard(lambda: self._on_message(content, buffers))

    # Links

    def _abandon(self, yes: bool) -> None:
        """What was selected where no page shows it any more must not filter the others unseen."""
        if yes != self.abandoned:
            self.abandoned = yes
            self._hub.changed()

    @traitlets.validate("selection")
    def _check_selection(self, proposal: Mapping[str, Any]) -> Selection:
        return selections.check(proposal["value"], self.source.columns if proposal["value"] else None)

    @traitlets.observe("selection")
    def _selection_changed(self, _: object) -> None:
        self.refresh()
        self._hub.changed()

    def _filtered_by(self, selection: Selection) -> None:
        if selection != self.filter:
            self.set_trait("filter", selection)
            self._filter_is_new = True
            self.refresh()


def dumps(value: object) -> str:
    """JSON that may stand inside a ``<script>``."""
    return json.dumps(value).replace("<", "\\u003c")
