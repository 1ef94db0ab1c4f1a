"""Recording: a thread that takes what live objects give, and a file that is whole after each time it wrote."""

from __future__ import annotations

import atexit
import contextlib
import html
import os
import threading
import time
import weakref
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa

from bpfnb.errors import BpfnbError
from bpfnb.frames.columns import clock_offset
from bpfnb.recording.archive import MAX_ENTRIES
from bpfnb.recording.container import Container, folder_of
from bpfnb.recording.gather import Gathered
from bpfnb.recording.manifest import Manifest
from bpfnb.recording.merge import rewrite, tidy
from bpfnb.recording.parquet import encode
from bpfnb.recording.redaction import Redaction
from bpfnb.recording.sources import Source

__all__ = ["Recorder", "recorders"]

MANY: Final = 100_000  # rows that are written before their time
PIECES: Final = MAX_ENTRIES // 2  # entries of a file, far from as many as are read
_LOOK: Final = 0.1  # seconds between looks for so many

recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
"""The recorders of this process, ended ones too while somebody holds them."""


class Recorder:
    """A recording that goes on. Get one from :func:`bpfnb.record`. As a context manager it stops itself.

    ``state`` is ``recording``, or why it ended: ``stopped``, ``object ended``, ``limit size``, ``limit time``,
    ``limit entries`` (100,000 tables in the file), ``failed`` (``error`` says of what). ``rows`` counts the rows that
    are in the file (of a rotated recording in all its files), ``nbytes`` is the file's size, ``lost`` what was lost and
    by what, the recorder included.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        path: Path,
        redaction: Redaction,
        machine: Any,
        limits: dict[str, Any],
        *,
        clock: int | None = None,
        overwrite: bool,
    ) -> None:
        self.path = path
        self.state = "recording"
        self.rows = 0
        self.error: BaseException | None = None
        self.began = time.time()
        self._sources = tuple(sources)
        self._redaction = redaction
        self._limits = limits
        self._host = machine
        self._clock = clock  # a guest's offset; None: this machine's, which steps
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._part, self._part_began = 0, self.began
        self._why = "recording"  # what the manifest says; the state follows when the file is finished
        self._rows_before = 0
        self._spent = 0.0  # seconds of CPU
        self._named: dict[str, tuple[int, bytes]] = {}  # the tables of names, and of how many
        self._container = self._open(overwrite=overwrite)
        tidy(path)
        self._since = time.monotonic()
        with self._lock:
            self._flush()
        for source in self._sources:
            source.obj.endings.append(self._ended)
            for stream in source.obj.streams.values():
                stream._store.keepers.append(self._keep)
        recorders.add(self)
        self._ended()  # a stopped object gave all that it has
        self._thread = threading.Thread(target=self._run, name="bpfnb-recorder", daemon=True)
        self._thread.start()

    # What it has

    @property
    def nbytes(self) -> int:
        return self._container.nbytes

    @property
    def lost(self) -> dict[str, int]:
        return {where: count for source in self._sources for where, count in source.lost.items()}

    @property
    def names(self) -> list[str]:
        """Of the objects and tools that are recorded."""
        return [source.name for source in self._sources]

    @property
    def failure(self) -> str:
        """What it failed of; empty where it did not."""
        if self.error is None or isinstance(self.error, BpfnbError):
            return str(self.error or "")
        said = self.error.strerror if isinstance(self.error, OSError) else None
        return said or f"{type(self.error).__name__}: {self.error}"

    # Its end

    def stop(self) -> Recorder:
        """Take what is left, and finish the file. May be called twice. Raises BpfnbError where recording failed."""
        self._finish("stopped")
        if self.error is not None:
            raise BpfnbError(
                f"recording to {self.path} failed: {self.failure}",
                hints=[f"the {self.rows:,} rows that were written before can be read"],
            ) from self.error
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it has ended; False if *timeout* seconds passed before."""
        return self._over.wait(timeout)

    def _ended(self) -> None:
        """An object was stopped, or is about to be closed: what it has is taken now."""
        with self._lock:
            if self.state != "recording":
                return
            try:
                for source in self._sources:
                    if source.obj.state in ("stopped", "closed"):
                        self._take(source, last=True)  # in the file with the next flush
            except Exception as error:
                self._fail(error)
                return
            if all(source.ended for source in self._sources):
                self._finish("object ended")

    def _keep(self) -> None:
        """Rows of a stream are about to be forgotten: they are taken now, and in the file with the next flush."""
        with self._lock:
            if self.state != "recording":
                return
            try:
                for source in self._sources:
                    self._take(source, last=False)
            except Exception as error:
                self._fail(error)

    def _finish(self, why: str) -> None:
        with self._lock:
            if self.state != "recording":
                return
            try:
                for source in self._sources:
                    self._take(source, last=True)
                self._why = why
                replaced = self._commit(last=True)
                self._container.close()
            except BaseException as error:
                self._fail(error)
                if isinstance(error, Exception):
                    return
                raise
            try:  # the file is whole
                with contextlib.suppress(Exception):  # no room for both: the small pieces are as complete
                    self._container.nbytes = rewrite(self.path, replaced)
            finally:
                self.state = why
                self._let_go()

    def _fail(self, error: BaseException) -> None:
        self.state, self.error = "failed", error
        self._container.close()
        self._let_go()

    def _let_go(self) -> None:
        self._over.set()
        self._pieces = Gathered(self._container)  # what waits for more is in the file already
        for source in self._sources:
            with contextlib.suppress(ValueError):
                source.obj.endings.remove(self._ended)
            for stream in source.obj.streams.values():
                with contextlib.suppress(ValueError):
                    stream._store.keepers.remove(self._keep)

    def orphan(self) -> None:
        """This process is a fork: the file is the parent's."""
        if self.state == "recording":
            self._lock = threading.RLock()
            self.state = "left to the parent"
            self._let_go()

    # The thread

    def _run(self) -> None:
        flush: float = self._limits["flush"]
        while not self._over.wait(min(_LOOK, flush)):
            many = sum(source.waiting for source in self._sources) >= MANY
            if not many and time.monotonic() - self._since < flush:
                continue
            spent = time.thread_time()
            try:
                with self._lock:
                    if self.state != "recording":
                        return
                    self._flush()
                    self._bound()
            except Exception as error:
                with self._lock:
                    if self.state == "recording":
                        self._fail(error)
                return
            finally:
                self._spent += time.thread_time() - spent

    def _flush(self) -> None:
        self._since = time.monotonic()
        for source in self._sources:
            if not source.ended:
                self._take(source, last=source.obj.state in ("stopped", "closed"))
        self._commit()

    def _take(self, source: Source, *, last: bool) -> None:
        if source.ended:
            return
        folder = folder_of("objects", source.name)
        source.take(partial(self._put_in, folder), last=last)
        source.ended = last

    def _put_in(self, parent: str, name: str, table: pa.Table) -> None:
        self._pieces.put(f"{parent}/{name}", table)

    def _commit(self, *, last: bool = False) -> dict[str, bytes]:
        replaced = self._replaced(last=last)
        self._container.commit(replaced)
        self.rows = self._rows_before + sum(source.rows for source in self._sources)
        return replaced

    def _replaced(self, *, last: bool = False) -> dict[str, bytes]:
        """What each flush writes anew; the *last* one leaves only what has no pieces."""
        out = {}
        for source in self._sources:
            folder = folder_of("objects", source.name)
            put = partial(self._put_in, folder)
            for name, table in source.flush_tables(put, last=last).items():
                out[f"{folder}/{name}/99999.parquet"] = encode(table)
        for name, counted, made in (
            ("symbols", sum(len(source.named.frames) for source in self._sources), self._symbols),
            ("processes", sum(len(source.pids) for source in self._sources), self._processes),
        ):
            known = self._named.get(name)
            if counted and (known is None or known[0] != counted or last):
                known = self._named[name] = counted, self._encoded(name, made(), small=last)
            if known is not None:
                out[f"{name}.parquet"] = known[1]
        out["manifest.json"] = self._manifest().to_json()
        return out

    def _encoded(self, name: str, table: pa.Table, *, small: bool) -> bytes:
        whole = table.to_pandas()
        left = self._redaction.frame(name, whole)
        if left is not whole:
            table = pa.Table.from_pandas(left, preserve_index=False).replace_schema_metadata(None)
        return encode(table, small=small, schema=False)

    def _symbols(self) -> pa.Table:
        return pa.concat_tables([source.named.table() for source in self._sources])

    def _processes(self) -> pa.Table:
        return pa.Table.from_pylist([row for source in self._sources for row in source.labels()])

    def _manifest(self) -> Manifest:
        now = time.time()
        shares = {s.name: s.obj.cpu_share for s in self._sources if s.obj.cpu_share == s.obj.cpu_share}
        lost = self.lost
        return Manifest(
            _version(),
            datetime.fromtimestamp(self.began, UTC).isoformat(timespec="microseconds"),
            self._host,
            clock_offset() if self._clock is None else self._clock,
            (self._part_began, now),
            self._why,
            all(source.complete for source in self._sources),
            lost,
            {"programs": sum(shares.values()), "recorder": self._spent / max(1e-3, now - self.began)},
            {name: value for name, value in self._limits.items() if value is not None},
            self._part,
            self._redaction.described(),
            {source.name: source.info() for source in self._sources},
        )

    # The file

    def _open(self, *, overwrite: bool) -> Container:
        container = Container(self.path, overwrite=overwrite)
        self._pieces = Gathered(container)
        container.add("manifest.json", self._manifest().to_json())
        for source in self._sources:
            folder = folder_of("objects", source.name)
            container.add(f"{folder}/source.c", source.obj.source.text.encode())
            if types := source.types():
                container.add(f"{folder}/types.btf", types)
        return container

    def _bound(self) -> None:
        seconds = self._limits["max_seconds"]
        if seconds is not None and time.time() - self.began >= seconds:
            self._finish("limit time")
            return
        large = self._container.nbytes >= self._limits["max_bytes"]
        many = len(self._container.entries) + self._container.left >= PIECES
        if (large or many) and self._limits["rotate"] is not None:
            self._rotate()
        elif large or many:
            self._finish("limit size" if large else "limit entries")

    def _rotate(self) -> None:
        """Begin another file; the one that is full becomes the first of the older ones."""
        self._why = "limit rotation"
        self._commit(last=True)
        self._why = "recording"
        self._container.close()
        path, most = self.path, self._limits["rotate"]
        names = [path, *(path.with_name(f"{path.stem}.{n}{path.suffix}") for n in range(1, 1 + most))]
        for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)
        self._rows_before += sum(source.rows for source in self._sources)
        self._part, self._part_began = self._part + 1, time.time()
        for source in self._sources:
            source.restart()
        self._container = self._open(overwrite=False)
        self._flush()

    # Display

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        except BpfnbError:
            if error is None:
                raise

    def __repr__(self) -> str:
        lost = f", {sum(self.lost.values()):,} LOST" if self.lost else ""
        why = f" ({self.failure})" if self.error else ""
        return (
            f"<Recorder of {', '.join(self.names)} to {self.path}: {self.state}{why}, "
            f"{self.rows:,} rows, {self.nbytes:,} bytes{lost}>"
        )

    def _repr_html_(self) -> str:
        lost = f" · <b>{sum(self.lost.values()):,} LOST</b>" if self.lost else " · nothing lost"
        why = f": {html.escape(self.failure)}" if self.error else ""
        return (
            f"<p>{html.escape(', '.join(self.names))} → <code>{html.escape(str(self.path))}</code><br>"
            f"<small>{self.state}{why} · {self.rows:,} rows · {self.nbytes:,} bytes{lost}</small></p>"
        )


def _version() -> str:
    from bpfnb import __version__

    return __version__


def _stop_all() -> None:
    for recorder in list(recorders):
        recorder._finish("stopped")


def _after_fork() -> None:
    for recorder in list(recorders):
        recorder.orphan()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_after_fork)
