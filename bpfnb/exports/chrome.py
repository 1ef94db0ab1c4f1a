"""Chrome's Trace Event Format, as chrome://tracing and ui.perfetto.dev read it.

The format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. Times there
are microseconds; here they count from the trace's start, so that nanoseconds survive the viewers' floating point.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bpfnb.exports.subject import Subject
from bpfnb.exports.timeline import Timeline, timeline

__all__ = ["chrome_trace"]

_HEALTH = 2**31 - 1  # the process under which counters stand


def chrome_trace(subject: Subject, path: Path) -> int:
    """Write *subject* as ``.json``; returns how many events."""
    found = timeline(subject)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit": "ns", "otherData": ')
        json.dump(_about(subject, found), file)
        file.write(', "traceEvents": [\n')
        events = [*_tracks(found), *_events(found)]
        file.write(",\n".join(json.dumps(event, ensure_ascii=False) for event in events))
        file.write("\n]}\n")
    return len(found.events)


def _about(subject: Subject, found: Timeline) -> dict[str, Any]:
    about: dict[str, Any] = {"title": subject.title, "exporter": "bpfnb"}
    if found.wall:
        about["start"] = pd.Timestamp(found.start, unit="ns", tz="UTC").isoformat()
    if subject.origin:
        about["origin"] = subject.origin
    losses = {part.name: part.frame().attrs.get("bpfnb", {}).get("lost", 0) for part in subject.parts}
    return {**about, "lost": losses}


def _tracks(found: Timeline) -> list[dict[str, Any]]:
    names = {**found.processes, **({_HEALTH: "health"} if found.counters else {})}
    processes = [
        {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": name}}
        for number, name in names.items()
    ]
    threads = [
        {
            "ph": "M",
            "name": "thread_name",
            "pid": track.process,
            "tid": thread,
            "args": {"name": found.name(track)},
        }
        for track, thread in zip(found.tracks, _threads(found), strict=True)
    ]
    return [*processes, *threads]


def _threads(found: Timeline) -> list[int]:
    """A thread's own number for its first track, for others one that no thread has."""
    beyond = 1 << 22  # PID_MAX_LIMIT
    return [beyond + at if track.lane else track.thread for at, track in enumerate(found.tracks)]


def _events(found: Timeline) -> list[dict[str, Any]]:
    start = found.start
    threads = _threads(found)
    out: list[dict[str, Any]] = []
    for event in found.events:
        made: dict[str, Any] = {
            "ph": "i" if event.duration is None else "X",
            "name": event.name,
            "cat": event.category,
            "pid": found.tracks[event.track].process,
            "tid": threads[event.track],
            "ts": (event.start - start) / 1000,
            "args": event.details,
        }
        made |= {"s": "t"} if event.duration is None else {"dur": event.duration / 1000}
        out.append(made)
    for counter in found.counters:
        for time, value in zip(counter.times.tolist(), counter.values.tolist(), strict=True):
            args = {"value": value}
            out.append(
                {"ph": "C", "name": counter.name, "pid": _HEALTH, "ts": (time - start) / 1000, "args": args}
            )
    return out
