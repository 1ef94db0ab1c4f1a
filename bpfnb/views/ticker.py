"""The clock of all views: one thread that gives each its turn.

A view says after each turn when it wants the next one. Views are held weakly; the thread starts with the first view
and sleeps as long as nobody wants anything.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["Ticked", "add", "remove", "wake"]

_SLEEP = 3600.0


class Ticked(Protocol):
    """What takes turns. :meth:`_turn` runs on the ticker's thread and returns the seconds until the next turn."""

    def _turn(self) -> float: ...

    def stop(self) -> None: ...


class _Ticker:
    def __init__(self) -> None:
        self._due: weakref.WeakKeyDictionary[Ticked, float] = weakref.WeakKeyDictionary()
        self._wanted = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, view: Ticked) -> None:
        with self._wanted:
            self._due[view] = 0.0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bpfnb-views", daemon=True)
                self._thread.start()
            self._wanted.notify()

    def wake(self, view: Ticked) -> None:
        with self._wanted:
            if view in self._due:
                self._due[view] = 0.0
                self._wanted.notify()

    def remove(self, view: Ticked) -> None:
        with self._wanted:
            self._due.pop(view, None)

    def views(self) -> list[Ticked]:
        with self._wanted:
            return list(self._due)

    def _run(self) -> None:
        while True:
            with self._wanted:
                now = time.monotonic()
                ready = [view for view, due in self._due.items() if due <= now]
                if not ready:
                    nearest = min(self._due.values(), default=now + _SLEEP)
                    self._wanted.wait(min(_SLEEP, nearest - now))
                    continue
                for view in ready:
                    self._due[view] = now + _SLEEP  # a wake during the turn brings it forward again
            for view in ready:
                self._give(view)
            del ready, view  # the last reference to a view must not be this thread's

    def _give(self, view: Ticked) -> None:
        pause = view._turn()
        with self._wanted:
            if view in self._due and self._due[view] > 0.0:
                self._due[view] = time.monotonic() + pause


_ticker = _Ticker()


def add(view: Ticked) -> None:
    """Give *view* turns from now on."""
    _ticker.add(view)


def wake(view: Ticked) -> None:
    """Give *view* its next turn at once."""
    _ticker.wake(view)


def remove(view: Ticked) -> None:
    """No more turns for *view*."""
    _ticker.remove(view)


def stop_all() -> None:
    """Draw every view a last time, for good."""
    for view in _ticker.views():
        view.stop()


def _forked() -> None:
    """The thread and the browser belong to the parent."""
    global _ticker
    _ticker = _Ticker()


os.register_at_fork(after_in_child=_forked)
atexit.register(stop_all)
