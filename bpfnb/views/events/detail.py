"""One row with all its fields, decoded and raw side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bpfnb.views.events.cells import full
from bpfnb.views.events.rowset import RowSet

__all__ = ["detail"]


def detail(rows: RowSet, number: int) -> list[dict[str, str]]:
    """The fields of the row *number*, hidden ones included: ``name``, ``value`` in full, ``raw`` where it differs,
    ``note``: what the frame says of the column. Empty where the row is gone."""
    at = np.array([number], np.int64)
    decoded = rows.take(at)
    if not len(decoded):
        return []
    raw = rows.take(at, raw=True)
    fields = []
    for name in dict.fromkeys([*decoded.columns, *raw.columns]):
        about = rows.about(str(name))
        value = decoded[name].iloc[0] if name in decoded else None
        written = raw[name].iloc[0] if name in raw and len(raw) else None
        shown = full(value if name in decoded else written, about)
        digits = _digits(written if name in raw else value)
        if name not in decoded:
            about = {**about, "description": about.get("description") or "hidden in the table"}
        note = " · ".join(str(about[key]) for key in ("unit", "format", "description") if about.get(key))
        fields.append(
            {"name": str(name), "value": shown, "raw": "" if digits == shown else digits, "note": note}
        )
    return fields


def _digits(value: Any) -> str:
    """A raw value: numbers as digits, times as nanoseconds."""
    if isinstance(value, pd.Timestamp | pd.Timedelta) and value is not pd.NaT:
        return str(value.as_unit("ns").value)
    if isinstance(value, bytes | bytearray | list | tuple | np.ndarray):
        return ""
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, int | float | str) else ""
