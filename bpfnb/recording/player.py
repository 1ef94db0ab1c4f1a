"""The moment of a recording that its replay has come to: at recorded speed, faster, or at once at its end."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Generator
from numbers import Real
from typing import Any

from bpfnb.errors import BadValue

__all__ = ["Player"]

_LOOK = 0.02  # seconds between looks of those who wait in a cell


class Player:
    """Goes through the *window* (s since 1970) of a recording, *speed* times as fast as it was; None: at once.

    It runs while something is attached (:meth:`start`), stands while nothing is (:meth:`pause`), and has ``ended`` once
    everything that was recorded has come. ``await player`` waits for that.
    """

    def __init__(self, window: tuple[float, float], speed: float | None) -> None:
        given: Any = speed
        if given is not None and not (isinstance(given, Real) and 0 < float(given) < math.inf):
            raise BadValue(
                f"a recording is not replayed {speed!r} times as fast",
                hints=["speed=1.0 is the recorded one, 10 ten times as fast, None all at once"],
            )
        self.window = window
        self.speed = speed
        self.on_end: Callable[[], object] | None = None
        """Called once when it has ended."""
        self._lock = threading.Lock()
        self._at = window[0] if speed is not None else math.inf
        self._since: float | None = None  # on the clock time.monotonic(), while it runs
        self._stopped = False
        self._told = False

    @property
    def position(self) -> float:
        """The recorded moment that has come, in s since 1970; infinite once it has ended."""
        with self._lock:
            if self._since is None or self.speed is None:
                return self._at
            at = self._at + (time.monotonic() - self._since) * self.speed
            if at <= self.window[1]:
                return at
            self._at, self._since = math.inf, None
        self._tell()
        return math.inf

    def present(self) -> int:
        """The recorded moment that has come, in ns since 1970; the last one once it has ended."""
        return int(min(self.position, self.window[1]) * 1e9)

    @property
    def progress(self) -> float:
        """The share of the window that has come, 0 to 1."""
        start, stop = self.window
        return 1.0 if stop <= start else min(1.0, max(0.0, (self.position - start) / (stop - start)))

    @property
    def ended(self) -> bool:
        """Whether all that was recorded has come."""
        return self.position == math.inf

    @property
    def running(self) -> bool:
        return not self.ended and self._since is not None

    def start(self) -> None:
        """Go on, or begin."""
        with self._lock:
            if self._since is None and not self._stopped and self._at != math.inf:
                self._since = time.monotonic()

    def pause(self) -> None:
        """Stand still until :meth:`start`."""
        at = self.position
        with self._lock:
            self._at, self._since = at, None

    def stop(self) -> None:
        """Stand still for good: what has not come yet does not come any more."""
        self.pause()
        self._stopped = True

    def finish(self) -> None:
        """Let everything come now."""
        with self._lock:
            self._at, self._since = math.inf, None
        self._tell()

    def wait_for(self, timeout: float | None = None) -> bool:
        """Block until it has ended or was stopped; False if *timeout* seconds passed before."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (self.ended or self._stopped):
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(self._nap())
        return True

    async def wait(self, timeout: float | None = None) -> bool:
        """As :meth:`wait_for`, while other cells and callbacks of the event loop go on."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (self.ended or self._stopped):
            if end is not None and time.monotonic() > end:
                return False
            await asyncio.sleep(self._nap())
        return True

    def __await__(self) -> Generator[Any, None, bool]:
        return self.wait().__await__()

    def _nap(self) -> float:
        left = (self.window[1] - self.position) / (self.speed or 1.0)
        return min(_LOOK, max(left, 0.0)) if self._since is not None else _LOOK

    def _tell(self) -> None:
        told, self._told = self._told, True
        if not told and self.on_end is not None:
            self.on_end()

    def __repr__(self) -> str:
        state = (
            "ended" if self.ended else "stopped" if self._stopped else "running" if self.running else "paused"
        )
        speed = "at once" if self.speed is None else f"{self.speed:g} times as fast as recorded"
        return f"<Player {state}: {self.progress:.0%} of {self.window[1] - self.window[0]:.1f} s, {speed}>"
