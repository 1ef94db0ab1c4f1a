"""The other columns of a span as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.views._style import humanize

__all__ = ["texts"]


def texts(values: pd.Series, about: Mapping[str, Any]) -> Any:
    """A column as a Categorical of text: in the unit that *about* gives it, with the number as it is behind it."""
    unit = about.get("unit") if about.get("format") != "timestamp" else None
    codes, labels = pd.factorize(values.astype(object).map(_hashable))
    again, distinct = pd.factorize(np.array([*(_said(label, unit) for label in labels), ""], dtype=object))
    return pd.Categorical.from_codes(np.where(codes < 0, -1, again[codes]), pd.Index(distinct))


def _hashable(value: object) -> object:
    return value if isinstance(value, str | int | float | bytes | pd.Timestamp | pd.Timedelta) else str(value)


def _said(value: object, unit: str | None) -> str:
    if isinstance(value, bytes):
        return value.hex(" ")
    if unit and isinstance(value, int | float) and not isinstance(value, bool):
        shown = humanize(value, unit)
        return shown if isinstance(value, float) or shown.startswith(f"{value} ") else f"{shown} ({value:,})"
    return str(value)
