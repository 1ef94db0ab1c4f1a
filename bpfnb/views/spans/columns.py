"""Which columns of a frame say what of a span, under the names that tracing systems give them, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bpfnb.errors import BadValue, UnknownName
from bpfnb.views import moments
from bpfnb.views._style import DURATIONS

__all__ = ["NAMES", "Roles", "Spans", "find", "read"]

# OpenTelemetry's protocol and its exporters' spellings, Jaeger's, Zipkin's, ClickHouse's and those of eBPF tools.
NAMES: Mapping[str, tuple[str, ...]] = {
    "start": (
        *(
            "start",
            "start_time",
            "start_time_unix_nano",
            "startTimeUnixNano",
            "startTime",
            "start_ns",
            "start_ts",
        ),
        *("span_monotonic_timestamp_ns", "ts", "timestamp", "Timestamp", "time", "begin"),
    ),
    "duration": (
        *("duration", "duration_ns", "duration_nano", "durationNano", "duration_us", "duration_ms", "dur"),
        *("span_duration_ns", "Duration", "latency", "latency_ns", "elapsed", "delta"),
    ),
    "end": ("end", "end_time", "end_time_unix_nano", "endTimeUnixNano", "endTime", "end_ns", "finish"),
    "id": ("span_id", "spanId", "spanID", "SpanId", "context.span_id", "id"),
    "parent": (
        "parent_id",
        "parent_span_id",
        "parentSpanId",
        "parentSpanID",
        "ParentSpanId",
        "parentId",
        "parent",
    ),
    "name": (
        "name",
        "span_name",
        "operationName",
        "operation_name",
        "operation",
        "SpanName",
        "endpoint",
        "comm",
    ),
    "trace": ("trace_id", "traceId", "traceID", "TraceId", "context.trace_id", "trace"),
    "service": (
        *("service", "service_name", "service.name", "serviceName", "ServiceName", "resource.service.name"),
        *("process.serviceName", "localEndpoint.serviceName", "process", "comm"),
    ),
    "status": (
        *("status", "status_code", "status.code", "statusCode", "StatusCode", "otel.status_code", "error"),
        *("http.response.status_code", "http.status_code"),
    ),
    "kind": ("kind", "span_kind", "spanKind", "SpanKind", "span.kind"),
    "lane": ("tid", "thread", "thread_id", "pid", "cpu"),
}

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
"""Of OpenTelemetry's SpanKind, by number."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labels = Any  # pd.Categorical: its stubs tell categories of str from those of object


@dataclass(frozen=True)
class Roles:
    """The column for each of :data:`NAMES`, None where there is none. Without ``start`` spans start ``duration`` before
    their ``end``.
    """

    start: str | None = None
    duration: str | None = None
    end: str | None = None
    id: str | None = None
    parent: str | None = None
    name: str | None = None
    trace: str | None = None
    service: str | None = None
    status: str | None = None
    kind: str | None = None
    lane: str | None = None

    @property
    def tree(self) -> bool:
        """Whether spans have parents; else they stand in lanes."""
        return self.id is not None and self.parent is not None


@dataclass(frozen=True)
class Spans:
    """Rows as spans: ``row`` numbers, ``start`` and ``duration`` in ns, keys as codes (-1: missing), labels."""

    row: Ints
    start: Ints
    duration: Ints
    id: Ints
    parent: Ints
    trace: Ints
    traces: Sequence[str]
    name: Labels
    service: Labels
    kind: Labels
    status: Labels
    lane: Labels
    error: Bools
    wall: bool
    untimed: int

    def __len__(self) -> int:
        return len(self.row)

    @property
    def end(self) -> Ints:
        return self.start + self.duration


def find(
    columns: Sequence[str], given: Mapping[str, str | None], about: Callable[[str], Mapping[str, Any]]
) -> Roles:
    """The roles of *columns*; *given* ones go before found ones.

    :raises UnknownName: a given column is not there. :raises BadValue: no start, or neither duration nor end.
    """
    lower = {name.lower(): name for name in reversed(columns)}
    roles: dict[str, str | None] = {}
    for role, names in NAMES.items():
        wanted = given.get(role)
        if wanted is not None and wanted not in columns:
            raise UnknownName.among(columns, wanted, f"there is no column '{wanted}' ({role})")
        if wanted is None:
            wanted = next((lower[name.lower()] for name in names if name.lower() in lower), None)
        roles[role] = wanted
    if given.get("start") is None:
        stamped = next((name for name in columns if about(name).get("format") == "timestamp"), None)
        roles["start"] = roles["start"] if roles["start"] in NAMES["start"][:8] else stamped or roles["start"]
    if roles["duration"] is None and roles["end"] is None:
        roles["duration"] = next((name for name in columns if about(name).get("format") == "duration"), None)
    if given.get("end") and given.get("start") is None and roles["duration"]:
        roles["start"] = None  # events that say when they ended and how long it took
    elif roles["start"] is None:
        raise BadValue("no column says when spans start", hints=["name it: start="])
    if roles["duration"] is None and roles["end"] is None:
        raise BadValue("no column says how long spans last", hints=["name it: duration= or end="])
    if roles["service"] == roles["name"]:
        roles["service"] = None
    return Roles(**roles)


def read(frame: pd.DataFrame, roles: Roles, about: Callable[[str], Mapping[str, Any]]) -> Spans:
    """The rows of *frame* as spans; rows without a start are left out and counted (``untimed``)."""
    known = roles.start or roles.end or ""
    start, there = moments.nanoseconds(frame[known], about(known).get("unit"))
    duration, lasting = _durations(frame, roles, start, about)
    duration = np.where(lasting, duration, 0)
    if roles.start is None:
        start = start - duration
    if not there.all():
        frame, start, duration = frame[there], start[there], duration[there]
    trace, traces = _codes(frame, roles.trace)
    return Spans(
        row=np.asarray(frame.index, np.int64),
        start=start,
        duration=np.maximum(duration, 0),
        **_keys(frame, roles),
        trace=trace,
        traces=traces,
        name=_labels(frame, roles.name or roles.service, "span"),
        service=_labels(frame, roles.service),
        kind=_kinds(frame, roles.kind),
        status=_labels(frame, roles.status),
        lane=_lanes(frame, roles.lane),
        error=_errors(frame, roles.status),
        wall=not len(start) or int(start.min()) >= moments.EPOCH,
        untimed=int(len(there) - there.sum()),
    )


def _durations(
    frame: pd.DataFrame, roles: Roles, start: Ints, about: Callable[[str], Mapping[str, Any]]
) -> tuple[Ints, Bools]:
    if roles.duration is None:
        end, there = moments.nanoseconds(frame[roles.end], about(roles.end or "").get("unit"))
        return end - start, there
    values = frame[roles.duration]
    unit = about(roles.duration).get("unit")
    if unit not in DURATIONS and values.dtype.kind in "iuf" and not moments.suffix(roles.duration):
        # Jaeger's duration is in its startTime's microseconds; beside datetimes, whole numbers are nanoseconds.
        beside = roles.start or roles.end or ""
        unit = "s" if values.dtype.kind == "f" else _unit_beside(frame[beside], about(beside).get("unit"))
    return moments.nanoseconds(values, unit)


def _unit_beside(start: pd.Series, unit: str | None) -> str:
    factor = moments.factor(start, unit)
    return next(name for name, each in DURATIONS.items() if each == factor)


def _codes(frame: pd.DataFrame, column: str | None) -> tuple[Ints, list[str]]:
    if column is None:
        return np.zeros(len(frame), np.int64), [""]
    codes, labels = pd.factorize(frame[column], use_na_sentinel=False)
    return codes.astype(np.int64), ["(none)" if pd.isna(label) else _id(label) for label in labels]


def _id(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _keys(frame: pd.DataFrame, roles: Roles) -> dict[str, Ints]:
    """Ids and parents in one numbering; -1 for no parent: missing, empty, or all zeros."""
    none = np.full(len(frame), -1, np.int64)
    if not roles.tree:
        return {"id": none, "parent": none}
    both = [frame[roles.id].astype(object), frame[roles.parent].astype(object)]
    if any(_whole(part) for part in both):  # a missing parent makes whole numbers floats
        both = [pd.to_numeric(part, errors="coerce").astype("Int64").astype(object) for part in both]
    codes, labels = pd.factorize(pd.concat(both, ignore_index=True))
    empty = np.array([not _id(label).strip("0") for label in labels] + [True])
    codes = np.where(empty[codes], -1, codes)
    return {"id": codes[: len(frame)], "parent": codes[len(frame) :]}


def _whole(values: pd.Series) -> bool:
    return bool(
        values.map(lambda value: isinstance(value, float) and value == value and value.is_integer()).any()
    )


def _labels(frame: pd.DataFrame, column: str | None, default: str = "") -> Labels:
    if column is None:
        return pd.Categorical.from_codes(np.zeros(len(frame), np.int8), pd.Index([default], dtype=object))
    codes, labels = pd.factorize(frame[column])
    texts = [_id(label) for label in labels]
    if len(set(texts)) < len(texts):
        codes, labels = pd.factorize(frame[column].map(_id, na_action="ignore"))
        texts = [str(label) for label in labels]
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype=object))


def _lanes(frame: pd.DataFrame, column: str | None) -> Labels:
    """Labels, ordered where they are the numbers of CPUs: their place says which one, and they are few."""
    labels = _labels(frame, column)
    if column is None or column.split("_")[-1] != "cpu" or not all(map(str.isdecimal, labels.categories)):
        return labels
    return labels.reorder_categories(sorted(labels.categories, key=int), ordered=True)


def _kinds(frame: pd.DataFrame, column: str | None) -> Labels:
    if column is not None and frame[column].dtype.kind in "iu":
        codes = frame[column].to_numpy(np.int64)
        return pd.Categorical.from_codes(
            np.where((codes >= 0) & (codes < len(KINDS)), codes, 0), pd.Index(KINDS)
        )
    labels = _labels(frame, column)
    names = [str(c).lower().removeprefix("span_kind_") for c in labels.categories]
    texts = np.array([names[code] if code >= 0 else None for code in labels.codes], dtype=object)
    return _labels(pd.DataFrame({"kind": texts}), "kind")


def _errors(frame: pd.DataFrame, column: str | None) -> Bools:
    """True for: true; OpenTelemetry's 2 or HTTP's 500 and above; text that speaks of an error or a failure."""
    if column is None:
        return np.zeros(len(frame), bool)
    values = frame[column]
    if values.dtype.kind == "b":
        return np.asarray(values.to_numpy(bool, na_value=False))
    if values.dtype.kind in "iuf" and not isinstance(values.dtype, pd.CategoricalDtype):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
        return np.asarray((numbers == 2) | (numbers >= 500) | (numbers < 0))
    labels = _labels(frame, column)
    bad = [
        any(word in str(c).lower() for word in ("error", "fail", "true", "exception"))
        for c in labels.categories
    ]
    return np.asarray(np.array([*bad, False])[labels.codes])
