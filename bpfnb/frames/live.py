"""Live frames: bounded tables that fill while one works, and plain DataFrames of them at any moment.

A :class:`LiveFrame` is a reference, ``.df`` is a value. Reading is safe while rows arrive; what was decoded once is
not decoded again. Callbacks, and observers of the summary traits, run on a thread of the frame's own, at most ten
times a second each: a slow one gets more rows at a time and delays nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import traitlets

from bpfnb.frames import arrays, completeness
from bpfnb.frames.columns import without, without_arrow
from bpfnb.frames.drawn import Drawn
from bpfnb.frames.lane import Lane
from bpfnb.frames.store import Bound, Store
from bpfnb.frames.union import Part, numbers, union_arrow, union_frame

__all__ = ["LiveFrame"]

PERIOD = 0.1  # seconds between deliveries to observers and callbacks

Callback = Callable[[pd.DataFrame], object]


class _Live(traitlets.TraitType[Any, Any]):
    """A trait that reads the present value; its observers hear of changes at most every ``PERIOD``."""

    def get(self, obj: Any, cls: Any = None) -> Any:  # noqa: ARG002
        return getattr(obj, f"_now_{self.name}")()


class LiveFrame(Drawn, traitlets.HasTraits):
    """A bounded table of rows that arrive.

    Traits: ``total`` (rows ever), ``rows`` (rows kept), ``lost`` (records that never arrived), ``rate`` (rows a
    second over the last second).
    """

    total = _Live(0, read_only=True)
    rows = _Live(0, read_only=True)
    lost = _Live(0, read_only=True)
    rate = _Live(0.0, read_only=True)

    kind = "frame"
    view: tuple[str, ...] | None = None
    """What the VIEW annotation asks for, e.g. ``("hist", "column=latency")``."""

    def __init__(self, name: str, *, provenance: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.name = name
        self.provenance = dict(provenance or {})
        self.errors: deque[BaseException] = deque(maxlen=20)
        """The last errors of callbacks and of draining."""
        self._store = Store(Bound())
        self._speeds: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=11)
        self._callbacks: dict[Callback, int] = {}
        self._dispatcher: threading.Thread | None = None

    # The present

    def _now_total(self) -> int:
        return self._store.total

    def _now_rows(self) -> int:
        return self._store.total - self._store.floor

    def _now_lost(self) -> int:
        return sum(self.lost_by().values())

    def _now_rate(self) -> float:
        speeds = list(self._speeds)
        seconds = speeds[-1][0] - speeds[0][0]
        return (speeds[-1][1] - speeds[0][1]) / seconds if seconds > 0 else 0.0

    @property
    def closed(self) -> bool:
        """Whether no more rows will come."""
        return self._store.closed

    def lost_by(self) -> dict[str, int]:
        """Where records were lost, and how many."""
        return {}

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the kept rows take, raw and decoded."""
        return self._store.nbytes

    def __len__(self) -> int:
        return self._now_rows()

    def limit(
        self, *, rows: int | None = None, nbytes: int | None = None, seconds: float | None = None
    ) -> Bound:
        """Change the bounds that are given and return all: rows (1,000,000), bytes (256 MiB), seconds (none)."""
        given = {"rows": rows, "nbytes": nbytes, "seconds": seconds}
        for name, value in given.items():
            if value is not None and value <= 0:
                raise ValueError(f"a frame's limit in {name} is positive, not {value}")
        with self._store.lock:
            old = self._store.bound
            self._store.bound = Bound(
                rows or old.rows, nbytes or old.nbytes, seconds if seconds is not None else old.seconds
            )
            self._store.evict(time.time())
            return self._store.bound

    def clear(self) -> None:
        """Forget the rows so far; ``total`` goes on counting."""
        self.drain()
        self._store.clear()

    # Values

    def drain(self) -> int:
        """Take what is ready now; returns the number of rows. Reading a value does this by itself."""
        return 0

    @property
    def df(self) -> pd.DataFrame:
        """The rows kept, as a DataFrame that nothing changes afterwards, up to this moment."""
        return self.frame()

    def frame(self, *, raw: bool = False) -> pd.DataFrame:
        """As :attr:`df`; with *raw*, integers stay as the kernel wrote them."""
        self.drain()
        return self._frame(0, raw)[0]

    def span(self) -> tuple[int, int]:
        """The number of the oldest row kept, and the number that the next row to come will have."""
        with self._store.lock:
            return self._store.floor, self._store.total

    def slice(
        self,
        start: int = 0,
        stop: int | None = None,
        columns: Collection[str] | None = None,
        *,
        raw: bool = False,
    ) -> pd.DataFrame:
        """The rows numbered *start* to *stop* (exclusive) that are kept, with *columns* only; the index numbers them.

        Rows are numbered from 0 in the order of arrival, for ever: numbers go on when old rows are left out by the
        bound. Costs what the rows asked for cost, not what the frame holds. Takes nothing out of the buffer first.
        """
        upto, looked = self._now()
        return self._slice(start, upto if stop is None else min(stop, upto), raw, columns, looked)

    def arrays(
        self, start: int, stop: int | None, columns: Collection[str], *, boot: bool = False
    ) -> arrays.Arrays | None:
        """As :meth:`slice`, of numbers and times alone, in a fraction of its time.

        See :func:`bpfnb.frames.arrays.read`; None where it cannot be had.
        """
        if self.gone.intersection(columns):
            return None
        return arrays.read(self._store, self._lanes(), start, stop, columns, boot=boot)

    def numbers(self, start: int, stop: int) -> pd.Index:
        """The numbers of the rows from *start* to *stop* (exclusive) that are kept."""
        low, high = self.span()
        if set(self._store.lanes()) <= set(self._lanes()):  # all that arrived is in this frame
            return pd.RangeIndex(max(start, low), max(start, low, min(stop, high)))
        return numbers([(lane, self._store.read(lane, start, stop)) for lane in self._lanes()])

    def take(
        self, wanted: npt.ArrayLike, columns: Collection[str] | None = None, *, raw: bool = False
    ) -> pd.DataFrame:
        """The rows with these numbers, in this order, as far as they are kept; else as :meth:`slice`."""
        asked = np.asarray(wanted, np.int64)
        ascending = np.unique(asked)
        upto, looked = self._now()
        parts = [(lane, self._store.pick(lane, ascending)) for lane in self._lanes()]
        frame = self._put_together(parts, raw, columns, upto, looked)
        if len(asked) < 2 or (asked[1:] > asked[:-1]).all():
            return frame
        places = np.searchsorted(frame.index, asked)
        there = np.append(frame.index, -1)[places] == asked
        taken: pd.DataFrame = frame.iloc[places[there]]
        return taken

    def arrow(self) -> pa.Table:
        """The rows kept as a pyarrow.Table; ``bpfnb`` in its metadata is what ``df.attrs`` holds, as JSON."""
        self.drain()
        upto, looked = self._now()
        parts = [(lane, self._store.read(lane, 0, upto)) for lane in self._lanes()]
        rows = sum(batch.rows for _, batches in parts for batch in batches)
        return without_arrow(union_arrow(parts, self._attrs(rows, upto, looked)), self.gone)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def _lanes(self) -> list[Lane]:
        """The lanes whose rows make the frame, most important first."""
        return self._store.lanes()

    def _frame(self, since: int, raw: bool = False) -> tuple[pd.DataFrame, int]:
        """The rows numbered from *since* on, and the number that comes next."""
        upto, looked = self._now()
        frame = self._slice(since, upto, raw, None, looked)
        frame.index = pd.RangeIndex(len(frame))
        return frame, upto

    def _slice(
        self, start: int, stop: int, raw: bool, columns: Collection[str] | None, looked: float
    ) -> pd.DataFrame:
        parts = [(lane, self._store.read(lane, start, stop)) for lane in self._lanes()]
        return self._put_together(parts, raw, columns, stop, looked)

    def _put_together(
        self,
        parts: list[Part],
        raw: bool,
        columns: Collection[str] | None,
        upto: int,
        looked: float,
    ) -> pd.DataFrame:
        """A frame of *parts*, with their numbers as the index."""
        shown = parts if columns is None else [(lane.only(columns), batches) for lane, batches in parts]
        frame = union_frame(shown, raw)
        if columns is not None:
            frame = frame[[name for name in frame.columns if name in columns]]
        frame.index = numbers(parts)
        if self.gone:
            frame = without(frame, self.gone)
        frame.attrs[completeness.ATTR] = self._attrs(len(frame), upto, looked)
        return frame

    def _now(self) -> tuple[int, float]:
        """How many rows there are and when they were last looked for, of one moment: more may come while reading."""
        with self._store.lock:
            return self._store.total, self._store.looked

    def _attrs(self, rows: int, total: int, looked: float) -> dict[str, Any]:
        store = self._store
        return completeness.describe(
            self.name,
            self.kind,
            (store.window[0], looked),
            rows,
            self.lost_by(),
            self.provenance,
            total=total,
            evicted=store.floor or None,
        )

    # Events

    def on(self, callback: Callback) -> Callable[[], None]:
        """Call *callback* with a DataFrame of new rows, at most ten times a second, from now on.

        Returns a function that ends it. An error in *callback* is printed once, kept in ``errors``, and ends nothing.
        """
        with self._store.lock:
            self._callbacks[callback] = self._store.total
        self._start_dispatcher()

        def end() -> None:
            self._callbacks.pop(callback, None)

        return end

    def observe(self, *args: Any, **kwargs: Any) -> None:
        super().observe(*args, **kwargs)
        self._start_dispatcher()

    def wait_for(self, rows: int | None = None, timeout: float | None = None) -> bool:
        """Block until *rows* rows have arrived in all (default: one more than now); False if *timeout* s passed."""
        goal = self._now_total() + 1 if rows is None else rows
        with self._store.changed:
            self._store.changed.wait_for(lambda: self._now_total() >= goal or self.closed, timeout)
        return self._now_total() >= goal

    async def wait(self, rows: int | None = None, timeout: float | None = None) -> bool:
        """As :meth:`wait_for`, while other cells and callbacks of the event loop go on."""
        goal = self._now_total() + 1 if rows is None else rows
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._until(lambda: self._now_total() >= goal)
        return self._now_total() >= goal

    async def __aiter__(self) -> AsyncIterator[pd.DataFrame]:
        """DataFrames of new rows as they arrive, from now on, until the frame is closed."""
        cursor = self._store.total
        while True:
            await self._until(lambda: self._store.total > cursor)  # noqa: B023
            if self._store.total == cursor:
                return
            frame, cursor = self._frame(cursor)
            if len(frame):
                yield frame

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Until *reached* or closed."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._store.lock:
            self._store.waiters.add(waiter)
        try:
            while not reached() and not self.closed:
                await event.wait()
                event.clear()
        finally:
            with self._store.lock:
                self._store.waiters.discard(waiter)

    def _measure(self) -> None:
        """Note the total for the rate, ten times a second."""
        now = time.monotonic()
        if now - self._speeds[-1][0] >= PERIOD:
            self._speeds.append((now, self._store.total))

    def close(self) -> None:
        """No more rows; those kept stay readable."""
        with self._store.lock:
            self._store.closed = True
            self._store.announce()

    # The thread of callbacks and observers

    def _start_dispatcher(self) -> None:
        with self._store.lock:
            if self._dispatcher is None and not self._store.closed:
                self._dispatcher = threading.Thread(
                    target=self._dispatch, name=f"bpfnb-{self.name}", daemon=True
                )
                self._dispatcher.start()

    def _dispatch(self) -> None:
        seen: dict[str, Any] = {"total": 0, "rows": 0, "lost": 0, "rate": 0.0}
        while True:
            ending = self.closed
            for name, old in seen.items():
                new = getattr(self, name)
                if new != old:
                    seen[name] = new
                    self._guard(partial(self._notify_trait, name, old, new))
            for callback, cursor in list(self._callbacks.items()):
                if self._store.total > cursor:
                    self._guard(partial(self._deliver, callback, cursor))
            if ending:
                return
            time.sleep(PERIOD)
            with self._store.changed:
                idle = not seen["rate"] and self._store.total == seen["total"]
                if idle and not self._store.closed:
                    self._store.changed.wait(10 * PERIOD)

    def _deliver(self, callback: Callback, cursor: int) -> None:
        frame, after = self._frame(cursor)
        if callback in self._callbacks:
            self._callbacks[callback] = after
            if len(frame):
                callback(frame)

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._report(error, "a callback of")

    def _report(self, error: BaseException, what: str) -> None:
        """Keep *error*; print it unless the same was printed before."""
        known = {(type(e), str(e)) for e in self.errors}
        self.errors.append(error)
        if (type(error), str(error)) not in known:
            print(f"bpfnb: {what} '{self.name}' failed:", file=sys.stderr)
            traceback.print_exception(error)

    # Display

    def _ipython_display_(self) -> None:
        from bpfnb.views.objectpanel import display_frame

        display_frame(self)

    def __repr__(self) -> str:
        bits = f"{self.total:,} rows, {self.rate:,.0f}/s"
        return f"<{type(self).__name__} {self.name}: {bits}" + (
            f", {self.lost:,} LOST>" if self.lost else ">"
        )

    def _repr_html_(self) -> str:
        frame = self.df
        note = completeness.line(frame.attrs[completeness.ATTR])
        return f"{frame.tail(10).to_html(border=0)}<p><small>{note}</small></p>"
