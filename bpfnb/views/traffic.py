"""The traffic between a view and the pages that show it: frames out, acknowledgements and requests in.

Live pictures travel as custom messages of an anywidget: a header and one buffer a column (:mod:`bpfnb.views.wire`),
numbered by ``seq``. The browser acknowledges what it painted; at most two frames are on their way, and what comes
meanwhile is drawn with the next one. Nothing is sent while nobody sees the view, nor when the picture is the same.

Messages from the browser arrive on the main thread or on a subshell's; frames are built on the ticker's thread. One
lock a view orders them.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

import anywidget
import traitlets

from bpfnb.errors import BpfnbError
from bpfnb.views import ticker
from bpfnb.views.source import Source
from bpfnb.views.wire import Packed, Payload, pack

__all__ = ["Traffic", "said"]

FASTEST = 30.0  # frames a second, at most
IN_FLIGHT = 2  # frames that the browser has not painted yet
GIVEN_UP = 5.0  # seconds after which a frame that nobody acknowledged counts as lost
SHARE = 0.2  # of the time that building frames may take; a costly picture comes less often


class Traffic(anywidget.AnyWidget):
    """A widget that shows pictures of *source*; :class:`bpfnb.views.view.View` is what people have of it."""

    incremental: ClassVar[bool] = False
    """Whether frames say only what is new; :attr:`full` tells :meth:`_build` when all is needed."""

    error = traitlets.Unicode("").tag(sync=True)
    state = traitlets.Enum(("live", "paused", "done"), "live", read_only=True).tag(sync=True)
    hz = traitlets.Float(10.0)

    def __init__(self, source: Source, **traits: Any) -> None:
        self.lock = threading.RLock()
        self.source = source
        self.errors: deque[BaseException] = deque(maxlen=20)
        self.spent: deque[float] = deque(maxlen=1000)
        """Seconds of a processor that each of the last frames took to build and to send."""
        self.full = True
        self._clients: dict[str, bool] = {}  # browser pages that show it, and whether it can be seen there
        self._sent = self._acked = 0
        self._sent_at = 0.0
        self._last: Packed | None = None
        self._said_of_source: dict[str, Any] | None = None
        self._version: object = None
        self._dirty = True
        self._filter_is_new = False
        super().__init__(**traits)
        self.on_msg(self._received)

    def _build(self) -> Payload | None:
        """The picture of now, or None as long as there is nothing to show. Under the lock, on the ticker's thread."""
        raise NotImplementedError

    def _page_message(self, kind: str, content: Mapping[str, Any], buffers: list[memoryview]) -> None:
        """Another message of the page. Under the lock."""

    def _abandon(self, yes: bool) -> None:
        """Whether no page shows it any more changed, perhaps."""

    def _reset(self) -> None:
        """Forget what was counted so far: the filter is another, or the source was cleared."""

    # The browser

    def open(self) -> None:
        super().open()
        self._any_shell()

    def _send(self, msg: Mapping[str, Any], buffers: Any = None) -> None:
        super()._send(msg, buffers=buffers)
        self._any_shell()

    def _any_shell(self) -> None:
        """Let pages say which of the kernel's shells their messages are for.

        ipykernel 7.4 would give them to the shell whose request came last before something was sent. Where that is
        a cell that still runs, a click would wait for its end.
        """
        getattr(self.comm, "__dict__", {}).pop("_reply_subshell_id", None)

    def _received(self, _: object, content: Mapping[str, Any], buffers: list[memoryview]) -> None:
        kind = content.get("kind")
        client = str(content.get("client", ""))
        with self.lock:
            if kind in ("hello", "resync"):
                self._clients[client] = bool(content.get("visible", True))
                self._abandon(False)
                self._acked = self._sent
                self.full, self._last, self._dirty = True, None, True
                if self.state == "done":  # without turns
                    self._last_picture()
            elif kind == "visible":
                self._clients[client] = bool(content.get("visible"))
                self._acked = self._sent
            elif kind in ("away", "bye"):  # with its page, which may be opened again, or alone
                self._clients.pop(client, None)
                self._abandon(not self._clients)
                if kind == "bye" and self.state == "done" and not self._clients:
                    self._leave()  # the page shows the static picture now, or nothing any more
            elif kind == "ack":
                self._acked = max(self._acked, min(int(content.get("seq", 0)), self._sent))
            else:
                self._page_message(str(kind), content, buffers)
        ticker.wake(self)

    def _reply(self, content: Mapping[str, Any], columns: Mapping[str, Any] | None = None) -> None:
        """Send *content* (with its ``kind``) and *columns* at once, beside the frames."""
        packed = pack(Payload({}, columns or {}))
        self.send({**content, "columns": packed.header["columns"]}, packed.buffers)

    def _guard(self, call: Any) -> Any:
        """What *call* returns; its error is shown under the view."""
        try:
            result = call()
        except Exception as error:
            self._fail(error)
            return None
        if self.error:
            self.error = ""
        return result

    def _fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.error = said(error)

    # The ticker's turn

    def _turn(self) -> float:
        with self.lock:
            try:
                return self._step()
            except Exception as error:  # all views share this thread
                self._fail(error)
                return 5.0

    def _step(self) -> float:
        period = 1.0 / min(max(self.hz, 0.01), FASTEST)
        if self.state != "live" and not self._dirty:
            return 1.0
        if not any(self._clients.values()):
            return 3600.0  # whoever shows it says so
        now = time.monotonic()
        if self._sent - self._acked >= IN_FLIGHT:
            if now - self._sent_at < GIVEN_UP:
                return 0.5  # the acknowledgement wakes
            self._acked, self.full = self._sent, True
        if now - self._sent_at < period * 0.9:
            return self._sent_at + period - now
        began = time.thread_time()
        version = self.source.version()
        if version is not None and version == self._version and not self._dirty:
            return period
        self._version, self._dirty = version, False
        payload = self._guard(self._build_now)
        spent = time.monotonic() - now
        if payload is not None and self._transmit(payload):
            self.spent.append(time.thread_time() - began)
        return max(period, spent / SHARE)

    def _build_now(self) -> Payload | None:
        if self._filter_is_new:
            self._filter_is_new = False
            self._reset()
        return self._build()

    def _build_full(self) -> Payload | None:
        """A picture that needs nothing sent before."""
        with self.lock:
            self.source.recount()
            before, self.full = self.full, True
            try:
                return self._build_now()
            finally:
                self.full = True if self.incremental else before

    def _transmit(self, payload: Payload) -> bool:
        """Send *payload*, unless the browser has just that already."""
        about = self._about_source()
        full = self.full or not self.incremental
        if full or about != self._said_of_source:
            self._said_of_source = payload.meta["source"] = about
        packed = pack(payload)
        if self._last is not None and packed == self._last:
            return False
        self._last = packed if full else None
        self._sent += 1
        self._sent_at = time.monotonic()
        self.full = False
        self.send({"kind": "frame", "seq": self._sent, "full": full, **packed.header}, packed.buffers)
        return True

    def _about_source(self) -> dict[str, Any]:
        """What the frame says of its completeness, for the badge."""
        source = self.source
        lost = source.lately()
        about: dict[str, Any] = {"name": source.name, "kind": source.kind, "live": source.live}
        if source.origin:
            about["origin"] = source.origin
        if lost:
            about["lost"], about["lost_by"] = sum(lost.values()), dict(lost)
        evicted = source.evicted
        return {**about, "evicted": evicted} if evicted else about

    def _last_picture(self) -> None:
        """The widget keeps it where outputs cannot be exchanged: within another widget, in a page that was reloaded.

        Pages where the output was exchanged say so with ``bye``.
        """
        payload = self._guard(self._build_full)
        if payload is not None:
            self.full = True
            self._transmit(payload)

    def _leave(self) -> None:
        """Let go of the browser's side; the layout is a widget of its own."""
        layout = self.layout if self.comm is not None else None
        super().close()
        self.__dict__.pop("_repr_mimebundle_", None)  # which close() hides
        if layout is not None:
            layout.close()


def said(error: BaseException) -> str:
    if isinstance(error, BpfnbError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
