"""Perfetto's trace format: packets of track descriptors, slices, instants and counters.

The messages and their numbers are those of protos/perfetto/trace/ in github.com/google/perfetto: trace.proto,
trace_packet.proto, clock_snapshot.proto, track_event/{track_descriptor,track_event,debug_annotation}.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bpfnb.exports.subject import Subject
from bpfnb.exports.timeline import NOBODY, Event, Timeline, Track, timeline
from bpfnb.views._protobuf import double, message, number, text

__all__ = ["perfetto"]

_REALTIME, _BOOTTIME = 1, 6
_BEGIN, _END, _INSTANT, _COUNTER = 1, 2, 3, 4
_SEQUENCE = number(10, 1)  # trusted_packet_sequence_id: who wrote the packets
_HEALTH = 1 << 62  # uuid of the group of counters


def perfetto(subject: Subject, path: Path) -> int:
    """Write *subject* as ``.perfetto-trace``; returns how many events."""
    found = timeline(subject)
    with path.open("wb") as file:
        for packet in _packets(found):
            file.write(message(1, packet))
    return len(found.events)


def _packets(found: Timeline) -> Iterator[bytes]:
    clocks = b"".join(
        message(1, number(1, clock) + number(2, found.start)) for clock in (_BOOTTIME, _REALTIME)
    )
    snapshot = message(6, clocks + number(2, _BOOTTIME)) if found.wall else b""
    yield snapshot + _SEQUENCE + number(13, 1)  # SEQ_INCREMENTAL_STATE_CLEARED
    yield from _descriptors(found)
    for moment, event, kind in _ordered(found.events):
        yield number(8, moment) + _SEQUENCE + message(11, _event(event, kind))
    for at, counter in enumerate(found.counters, 1):
        for time, value in zip(counter.times.tolist(), counter.values.tolist(), strict=True):
            body = number(9, _COUNTER) + number(11, _HEALTH + at) + double(44, float(value))
            yield number(8, time) + _SEQUENCE + message(11, body)


def _descriptors(found: Timeline) -> Iterator[bytes]:
    for pid, name in found.processes.items():
        body = number(1, _process(pid)) + text(2, name)
        if 0 < pid < NOBODY:
            body += message(3, number(1, pid) + text(6, name))
        yield _SEQUENCE + message(60, body)
    for at, track in enumerate(found.tracks, 1):
        yield _SEQUENCE + message(60, _track(at, track, found.name(track)))
    if found.counters:
        yield _SEQUENCE + message(60, number(1, _HEALTH) + text(2, "health"))
    for at, counter in enumerate(found.counters, 1):
        body = number(1, _HEALTH + at) + text(2, counter.name) + number(5, _HEALTH) + message(8, b"")
        yield _SEQUENCE + message(60, body)


def _process(pid: int) -> int:
    return (1 << 61) + pid


def _track(uuid: int, track: Track, name: str) -> bytes:
    """A thread's first track is the thread's own; the others stand beside it in the process."""
    body = number(1, uuid) + number(5, _process(track.process))
    if track.lane == 0 and 0 < track.process < NOBODY:
        return body + message(4, number(1, track.process) + number(2, track.thread) + text(5, name))
    return body + text(2, name)


def _ordered(events: list[Event]) -> Iterator[tuple[int, Event, int]]:
    """Beginnings, instants and ends by time. Where one slice ends as another begins, the end comes first."""
    marks: list[tuple[int, int, int, Event, int]] = []
    for event in events:
        if event.duration is None:
            marks.append((event.start, 1, 0, event, _INSTANT))
            continue
        end = event.start + event.duration
        # An empty slice would end before it begins: it ends after all that begins there.
        marks.append((event.start, 1, -event.duration, event, _BEGIN))
        marks.append((end, 0 if event.duration else 2, -event.start, event, _END))
    marks.sort(key=lambda mark: mark[:3])
    for moment, _, _, event, kind in marks:
        yield moment, event, kind


def _event(event: Event, kind: int) -> bytes:
    body = number(9, kind) + number(11, event.track + 1)
    if kind == _END:
        return body
    details = (_detail(name, value) for name, value in event.details.items())
    return body + _called(event.category, event.name) + b"".join(details)


@lru_cache(1 << 12)
def _called(category: str, name: str) -> bytes:
    return text(22, category) + text(23, name)


@lru_cache(1 << 16, typed=True)  # most values come again
def _detail(name: str, value: Any) -> bytes:
    if isinstance(value, bool):
        one = number(2, int(value))
    elif isinstance(value, int):
        one = number(4, value) if value < 1 << 63 else number(3, value)
    elif isinstance(value, float):
        one = double(5, value)
    else:
        one = text(6, str(value))
    return message(4, text(10, name) + one)
