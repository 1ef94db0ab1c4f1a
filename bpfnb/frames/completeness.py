"""What a frame says about itself: ``df.attrs["bpfnb"]``, a plain dict that JSON can hold.

Keys, where they apply: ``object``, ``name``, ``kind``; ``window`` (first and last moment that the rows can come from,
ISO 8601 in UTC); ``rows``; ``total`` (rows ever seen), ``evicted`` (left out by the frame's bound); ``lost`` and
``lost_by`` (where they were lost), ``uncounted`` (where more may have been lost that nobody counts); ``short`` (records
shorter than their struct, filled with zeros); ``fill`` (share of the buffer that waited, or of the map that is used),
``entries``, ``max_entries``; ``complete`` (surely nothing was lost within the window); and provenance: ``kernel``,
``btf``, ``compiler``, ``source``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["ATTR", "describe", "line", "merge", "moment"]

ATTR = "bpfnb"


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def describe(
    name: str,
    kind: str,
    window: tuple[float, float],
    rows: int,
    lost_by: Mapping[str, int],
    provenance: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """The dict described above. *window* in seconds since 1970; ``None`` among *more* is left out."""
    lost = sum(lost_by.values())
    return {
        "name": name,
        "kind": kind,
        "window": [moment(window[0]), moment(window[1])],
        "rows": rows,
        "lost": lost,
        "lost_by": {where: count for where, count in lost_by.items() if count},
        "complete": lost == 0,
        **{key: value for key, value in more.items() if value is not None},
        **provenance,
    }


def merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One description of frames that were put together: windows joined, counts added, the rest where all agree."""
    dicts = [dict(part) for part in parts]
    if not dicts:
        return {}
    out = {key: value for key, value in dicts[0].items() if all(d.get(key) == value for d in dicts)}
    for key in ("rows", "lost", "total", "evicted", "short"):
        if any(key in d for d in dicts):
            out[key] = sum(d.get(key, 0) for d in dicts)
    lost_by: dict[str, int] = {}
    for d in dicts:
        for where, count in d.get("lost_by", {}).items():
            lost_by[where] = lost_by.get(where, 0) + count
    windows = [d["window"] for d in dicts if "window" in d]
    if windows:
        out["window"] = [min(w[0] for w in windows), max(w[1] for w in windows)]
    out["lost_by"] = lost_by
    out["complete"] = all(d.get("complete", False) for d in dicts)
    return out


def line(attrs: Mapping[str, Any]) -> str:
    """One line for people: rows, window, and everything that was lost or left out."""
    parts = [f"{attrs.get('rows', 0):,} rows"]
    if "window" in attrs:
        start, end = (datetime.fromisoformat(text) for text in attrs["window"])
        parts.append(f"{start:%H:%M:%S} to {end:%H:%M:%S} UTC")
    if attrs.get("lost"):
        places = ", ".join(f"{count:,} {where}" for where, count in attrs["lost_by"].items())
        parts.append(f"{attrs['lost']:,} LOST ({places})")
    if attrs.get("uncounted"):
        parts.append(f"losses not counted ({', '.join(attrs['uncounted'])})")
    if attrs.get("evicted"):
        parts.append(f"{attrs['evicted']:,} older rows left out by the bound")
    if attrs.get("short"):
        parts.append(f"{attrs['short']:,} short records")
    if attrs.get("max_entries") and attrs.get("entries") is not None:
        parts.append(f"{attrs['entries']:,} of {attrs['max_entries']:,} entries")
    if attrs.get("complete"):
        parts.append("complete")
    return " · ".join(parts)
