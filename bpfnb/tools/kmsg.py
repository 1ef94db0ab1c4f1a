"""The kernel's log (dmesg), live, with the process that wrote each message.

All that /dev/kmsg still has, and what comes. ``time`` is the kernel's own stamp, to the microsecond, ``level`` is
emerg (worst) to debug, ``facility`` kern for the kernel itself, else what a process said that wrote to /dev/kmsg.
``comm`` and ``pid`` are of the task that ran when the message was made, since the tool began; of messages from
interrupts it is whom those interrupted. With a filter only messages of such tasks. Records that were overwritten before
they were read are counted as lost. Linux 5.11.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from bpfnb.errors import BpfnbError, NotPermitted, UnknownName
from bpfnb.frames import Stream
from bpfnb.frames.completeness import ATTR
from bpfnb.kernel import syscall
from bpfnb.kernel.system import open_fd, path
from bpfnb.tools.tool import Option, Tool

if TYPE_CHECKING:
    from bpfnb.views import View

LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
_LONGEST = 255  # bytes of a message that the program sends


def _level(value: Any) -> int:
    """A level by name or number."""
    text = str(value).lower()
    if text.isdigit() and int(text) < len(LEVELS):
        return int(text)
    if text not in LEVELS:
        raise UnknownName.among(LEVELS, text, f"the kernel's log has no level '{value}'")
    return LEVELS.index(text)


class Kmsg(Tool):
    family = "kernel"
    options = (
        Option("level", _level, "only this level and worse: err, warning, info ...", "LEVEL", variable=False),
    )
    stream = "written"
    columns: ClassVar[tuple[str, ...]] = ("time", "level", "facility", "comm", "pid", "text")

    def __init__(self, **given: Any) -> None:
        self._writers: dict[int, tuple[str, int]] = {}
        self._from = 0  # rows of the stream that were looked at
        try:
            super().__init__(**given)
        except BaseException:
            if "_log" in vars(self):
                self._log.close()
            raise

    def begin(self) -> None:
        self._log = _Log(self.clock_offset)

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        with self._log.lock:
            self._log.read()
            self._match()
            records = list(self._log.records)
            writers = dict(self._writers)
            lost = self._log.lost
        worst = self.given.get("level", len(LEVELS))
        known = [one for one in records if one[2] <= worst and (not self.filters or one[0] in writers)]
        ran = [writers.get(one[0], (None, None)) for one in known]
        frame = pd.DataFrame(
            {
                "time": pd.to_datetime([one[1] for one in known], unit="us", utc=True),
                "level": pd.Categorical.from_codes([one[2] for one in known], pd.Index(LEVELS), ordered=True),
                "facility": pd.Categorical([one[3] for one in known]),
                "comm": pd.Categorical([comm for comm, _ in ran]),
                "pid": pd.array([pid for _, pid in ran], dtype="Int64"),
                "text": pd.Series([one[4] for one in known], dtype="str"),
            }
        )
        about = dict(raw.attrs.get(ATTR, {}))
        about |= {"rows": len(frame), "total": len(frame)}
        if lost:
            about |= {"lost": about.get("lost", 0) + lost, "complete": False}
            about["lost_by"] = {**about.get("lost_by", {}), "log": lost}
        frame.attrs[ATTR] = about
        return frame

    @property
    def grows(self) -> bool:
        return False  # who wrote a record may be known later

    def _match(self) -> None:
        """Give the messages that the program saw to the log's records: the same text, in the same order."""
        stream = self.frames
        assert isinstance(stream, Stream)
        stream.drain()
        rows = stream.slice(self._from)
        waiting: dict[str, deque[int]] = defaultdict(deque)
        for record in self._log.records:
            if record[0] not in self._writers and record[0] >= self._log.first_new:
                waiting[record[4].encode()[:_LONGEST].decode(errors="replace")].append(record[0])
        for text, comm, pid in zip(rows["text"], rows["comm"], rows["pid"], strict=True):
            fitting = waiting[text.rstrip("\n")]
            if fitting:
                self._writers[fitting.popleft()] = (comm, int(pid))
        if len(rows):
            self._from = int(rows.index[-1]) + 1

    def view(self, **options: Any) -> View:
        """The table of messages, live, the newest first. *options* are those of :func:`bpfnb.views.table`."""
        return super().view(**{"sort": ("time", "desc"), **options})

    def wait(self, rows: int = 1, timeout: float | None = None) -> bool:
        """Block until *rows* messages have come since the tool began; False if *timeout* seconds passed before."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._log.lock:
                self._log.read()
                if self._log.new >= rows:
                    return True
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.02)

    def close(self) -> None:
        if self.object.state != "closed":
            self.df  # noqa: B018  the last look
        super().close()
        self._log.close()


class _Log:
    """/dev/kmsg: records as (sequence number, µs since 1970, level, facility, text)."""

    def __init__(self, clock: int) -> None:
        self.lock = threading.RLock()
        self.records: list[tuple[int, int, int, str, str]] = []
        self.lost = 0
        try:
            self._fd = open_fd(path("/dev/kmsg"), os.O_NONBLOCK)
        except PermissionError:
            raise NotPermitted(
                "the kernel's log may not be read",
                missing=["CAP_SYSLOG"],
                hints=["or sysctl kernel.dmesg_restrict=0"],
            ) from None
        self._offset = clock // 1000
        self.read()
        self.first_new = self.records[-1][0] + 1 if self.records else 0

    @property
    def new(self) -> int:
        """How many came since the beginning."""
        return sum(1 for record in reversed(self.records) if record[0] >= self.first_new)

    def read(self) -> None:
        """Take what is new."""
        while self._fd >= 0:
            try:
                data = syscall.read(self._fd, 1 << 13)
            except BlockingIOError:
                return
            except BpfnbError:  # the guest has ended
                return
            except OSError as error:
                if (
                    error.errno == errno.EPIPE
                ):  # overwritten before it was read; the next is the oldest there is
                    continue
                raise
            self._add(data.decode(errors="replace"))

    def _add(self, text: str) -> None:
        head, _, rest = text.partition(";")
        priority, number, moment, *_ = head.split(",")
        sequence = int(number)
        if self.records and sequence > self.records[-1][0] + 1:
            self.lost += sequence - self.records[-1][0] - 1
        facility = int(priority) >> 3
        name = FACILITIES[facility] if facility < len(FACILITIES) else str(facility)
        message = rest.partition("\n")[0]
        with contextlib.suppress(UnicodeError):
            message = re.sub(
                rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), message.encode()
            ).decode()
        self.records.append((sequence, int(moment) + self._offset, int(priority) & 7, name, message))

    def close(self) -> None:
        with self.lock:
            if self._fd >= 0:
                syscall.close(self._fd)
                self._fd = -1
