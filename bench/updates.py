"""What one update of a heatmap of 64 by 300 costs Python up to the comm, beside a plotly ``FigureWidget``.

Counted, on both sides, as processor time of the thread: from the call that hands over the new data to the last message
given to the comm, and the packing of each message's content as JSON, as ipykernel packs it. Counted on neither: header,
signature and socket, which are ipykernel's, a message at a time.

The view gets a new column of counts, of which it keeps 300, ``FigureWidget`` the same counts as a grid of 300 columns.
Beside it stands the view that counts 1,000 events of a live ring buffer into its columns itself.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import comm
import numpy as np
from jupyter_client.session import Session

import bpfnb
from bench.peers import run_program
from bench.report import line, note
from bpfnb.kernel import syscall
from bpfnb.views import ticker
from bpfnb.views.heat.feeds import Feed
from bpfnb.views.heat.grid import Fixed, Grid
from bpfnb.views.heat.view import HeatmapView
from bpfnb.views.histogram.asked import Asked
from bpfnb.views.source import Source

__all__ = ["updates"]

BUCKETS, COLUMNS, EVENTS = 64, 300, 1000
HZ = 20
ROUNDS, UPDATES, WARM = 5, 60, 10
GOAL = 100

Update = Callable[[], object]


class Packing(comm.base_comm.BaseComm):
    """Packs what it is given, and sends it nowhere."""

    pack = staticmethod(Session().pack)

    def publish_msg(
        self,
        msg_type: str,
        data: Any = None,
        metadata: Any = None,
        buffers: Any = None,
        **keys: Any,
    ) -> None:
        self.pack({"data": data, "comm_id": self.comm_id})


class Ready(Feed):
    """One more column each time, counted already."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, Asked("values", "value", "given"), 10**9 // HZ, COLUMNS)
        self.grid = Grid(10**9 // HZ, COLUMNS, 0, Fixed(tuple(range(BUCKETS + 1))))
        self.counts = np.zeros(BUCKETS)

    def update(self, chosen: Mapping[str, Any]) -> None:
        stop = self.grid.stop
        self.grid.put(stop, self.counts)
        self.grid.mark(stop, stop + 1)


def updates(program: str) -> None:
    """*program* fills the ring buffer ``events`` with records of a ``value`` below 64, one a run of ``fill``."""
    import plotly.graph_objects as go

    with (
        mock.patch.object(comm, "create_comm", Packing),
        bpfnb.load(program, name="updates", attach=False, watchdog=None) as obj,
    ):
        fd = syscall.fd_by_id(syscall.OBJ_PROGRAM, obj.programs["fill"].info.id)
        feed = Ready(Source.of(obj.events))
        given = HeatmapView(feed.source, feed)
        counted = obj.events.heatmap("value", buckets=list(range(BUCKETS + 1)), every=1 / HZ, span=COLUMNS)
        random = np.random.default_rng(1)
        figure = go.FigureWidget(
            data=[go.Heatmap(z=random.poisson(15, (BUCKETS, COLUMNS)).astype(np.float32))]
        )

        def column() -> Update:
            feed.counts = random.poisson(15, BUCKETS).astype(np.float64)
            return _turn(given)

        def events() -> Update:
            run_program(fd, EVENTS)
            obj.events.drain()
            return _turn(counted)

        def grid() -> Update:
            newest = random.poisson(15, (BUCKETS, 1))
            z = np.concatenate([figure.data[0].z[:, 1:], newest], axis=1).astype(np.float32)
            return lambda: setattr(figure.data[0], "z", z)

        sides = {"column": column, "events": events, "FigureWidget": grid}
        with _held(given, counted):
            hot = _medians(sides, 0.0)
            cold = _medians(sides, 1 / HZ)
        given.close()
        counted.close()
    theirs = hot["FigureWidget"]
    line(
        f"heatmap of {BUCKETS} x {COLUMNS}, up to the comm, back to back: Python an update",
        f"{hot['column']:.3f} ms for a column",
        f"FigureWidget {theirs:.2f} ms",
        theirs / hot["column"],
        GOAL,
    )
    note(f"that counts {EVENTS:,} events: {hot['events']:.3f} ms, ratio={theirs / hot['events']:.0f}")
    note(
        f"at {HZ} Hz, in a process that slept in between: {cold['column']:.3f} ms for a column, {cold['events']:.3f} ms "
        f"for events, FigureWidget {cold['FigureWidget']:.2f} ms, "
        f"ratio={cold['FigureWidget'] / cold['column']:.0f} and {cold['FigureWidget'] / cold['events']:.0f}"
    )


@contextmanager
def _held(*views: HeatmapView) -> Iterator[None]:
    """Shown by a page, and updated by nobody but the caller."""
    for view in views:
        ticker.remove(view)
        view._received(None, {"kind": "hello", "client": "bench", "visible": True}, [])
    yield
    for view in views:
        assert not view.errors, view.errors


def _turn(view: HeatmapView) -> Update:
    """The view's next turn, which is due, its last frame painted."""
    view._received(None, {"kind": "ack", "client": "bench", "seq": view._sent}, [])
    view._sent_at = 0.0
    return view._turn


def _medians(sides: Mapping[str, Callable[[], Update]], pause: float) -> dict[str, float]:
    """Milliseconds an update of each side, which take turns in rounds; the first updates of a round do not count."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS if not pause else 1):
        for name, prepare in sides.items():
            for number in range(UPDATES):
                update = prepare()
                if pause:
                    time.sleep(pause)
                start = time.thread_time_ns()
                update()
                if number >= WARM:
                    spent[name].append((time.thread_time_ns() - start) / 1e6)
    return {name: statistics.median(times) for name, times in spent.items()}
