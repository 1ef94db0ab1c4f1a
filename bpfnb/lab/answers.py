"""Readers of answers: whatever a student gave, as the value that a check wants, or a hint that says what is wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bpfnb.recording import session

__all__ = ["Unfit", "frame", "hooked", "loaded", "mapping", "member", "names", "number", "text", "texts"]


class Unfit(Exception):
    """An answer that cannot be judged: the message is a hint, and the verdict is wrong."""


def number(answer: Any) -> float | int:
    """A number: of Python, NumPy or pandas, or the only one in a Series, frame or array. Durations in nanoseconds."""
    value = _only(answer)
    if isinstance(value, pd.Timedelta | np.timedelta64):
        return int(pd.Timedelta(value).value)
    if isinstance(value, bool | np.bool_):
        raise Unfit("A number is wanted here, and this is a truth value: count, do not compare.")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int | float):
        plain = float(value) if isinstance(value, float) else int(value)
        if not math.isfinite(plain):
            raise Unfit(
                f"This is {plain}, which is no number that was measured: was the selection empty, or was "
                "something divided by zero?"
            )
        return plain
    raise Unfit(f"A number is wanted here, and this is {_kind(answer)}.{_read_it(answer)}")


def frame(answer: Any, *columns: str) -> pd.DataFrame:
    """A DataFrame with these columns at least; from a Series its index and values, from live things their ``.df``."""
    found = _frame(answer)
    if found is None:
        raise Unfit(f"A DataFrame is wanted here, and this is {_kind(answer)}.")
    missing = [name for name in columns if name not in found.columns]
    if missing:
        there = ", ".join(map(str, found.columns)) or "none"
        raise Unfit(f"The frame has no column {', '.join(missing)}. Its columns are: {there}.")
    return found


def mapping(answer: Any) -> dict[Any, Any]:
    """A dict; from a Series its index and values, from a map or a frame of two columns the first and the second."""
    if isinstance(answer, Mapping):
        return dict(answer)
    if isinstance(answer, pd.Series):
        return dict(answer.items())
    found = _frame(answer)
    if found is None:
        raise Unfit(
            f"Names with their values are wanted here (a dict or a Series), and this is {_kind(answer)}."
        )
    if {"key", "value"} <= {*found.columns}:
        return dict(zip(found["key"].tolist(), found["value"].tolist(), strict=True))
    if found.shape[1] == 1:
        return dict(found.iloc[:, 0].items())
    if found.shape[1] != 2:
        raise Unfit(
            f"Names with their values are wanted here, and this frame has {found.shape[1]} columns: choose two, "
            'for example with frame.set_index("NAME")["VALUE"].'
        )
    return dict(zip(found.iloc[:, 0].tolist(), found.iloc[:, 1].tolist(), strict=True))


def texts(answer: Any) -> set[str]:
    """A set of texts, from any collection of them (or one text)."""
    if isinstance(answer, str):
        return {answer.strip()}
    if isinstance(answer, Iterable) and not isinstance(answer, Mapping | pd.DataFrame | bytes):
        values = list(answer)
        if all(isinstance(value, str) for value in values):
            return {value.strip() for value in values}
    raise Unfit(f"A set of texts is wanted here, such as {{'one', 'two'}}, and this is {_kind(answer)}.")


def names(answer: Any) -> list[str]:
    """Names in their order, from any sequence of them, or a frame with a column ``name``."""
    if isinstance(answer, pd.DataFrame) and "name" in answer.columns:
        answer = answer["name"]
    if isinstance(answer, set | frozenset):
        raise Unfit("A set has no order, and the order matters here: give a list.")
    if (
        isinstance(answer, str)
        or not isinstance(answer, Iterable)
        or isinstance(answer, Mapping | pd.DataFrame)
    ):
        raise Unfit('A list of names is wanted here, such as `["one", "two"]`.')
    return [str(name) for name in answer]


def text(answer: Any) -> str:
    """One text, without blanks around it; from a collection its only one."""
    value = _only(answer)
    if isinstance(value, set | frozenset | list | tuple) and len(value) == 1:
        value = next(iter(value))
    if isinstance(value, str):
        return value.strip()
    raise Unfit(f"A text in quotes is wanted here, and this is {_kind(answer)}.")


def loaded(answer: Any, *sections: str) -> Any:
    """The object that a ``%%bpf`` cell bound (or of a tool), with programs in these sections (``tp_btf/sys_enter``)."""
    from bpfnb.object import BpfObject

    obj = answer if isinstance(answer, BpfObject) else getattr(answer, "object", None)
    if not isinstance(obj, BpfObject):
        raise Unfit(
            f"The object itself is wanted here, the name after %%bpf without quotes, and this is {_kind(answer)}."
        )
    if session.replaying() and any("not the one that was recorded" in told.message for told in obj.warnings):
        raise Unfit(
            "In replay no program is loaded: what this cell shows is of the recorded one, and yours is another, which "
            "can only be judged on a machine that may load it."
        )
    there = {program.section for program in obj.programs.values()}
    missing = [section for section in sections if section not in there]
    if missing:
        raise Unfit(
            f"'{obj.name}' has no program in the section {' or '.join(missing)}; "
            f"its sections are: {', '.join(sorted(there)) or 'none'}."
        )
    return obj


def hooked(answer: Any, *kinds: str) -> Any:
    """As :func:`loaded`, with a program whose section begins with one of these words (``xdp``)."""
    obj = loaded(answer)
    there = [program.section for program in obj.programs.values()]
    if not any(section.startswith(kinds) for section in there):
        raise Unfit(
            f"`{obj.name}` has no program in a section `{'` or `'.join(kinds)}`; its sections are: "
            f"{', '.join(there) or 'none'}."
        )
    return obj


def member(obj: Any, name: str) -> Any:
    """The map or stream of an object that is called so, or the value of its global variable."""
    if name in (held := {**obj.maps, **obj.streams}):
        return held[name]
    if name in dir(obj.vars):
        return getattr(obj.vars, name)
    raise Unfit(f"`{obj.name}` has no `{name}`: keep that name, the check reads it.")


def _only(answer: Any) -> Any:
    """The one value of a collection of pandas or NumPy; anything else as it is."""
    if isinstance(answer, pd.DataFrame | pd.Series | np.ndarray | pd.Index):
        values = np.asarray(answer, dtype=object).ravel()
        if len(values) != 1:
            raise Unfit(f"One value is wanted here, and this {type(answer).__name__} has {len(values):,}.")
        return values[0]
    return answer


def _frame(answer: Any) -> pd.DataFrame | None:
    if isinstance(answer, pd.DataFrame):
        return answer
    if isinstance(answer, pd.Series):
        named = answer if answer.name is not None else answer.rename("value")
        return named.reset_index()
    inner = getattr(answer, "df", None)
    return inner if isinstance(inner, pd.DataFrame) else None


def _kind(answer: Any) -> str:
    """What an answer is, in words."""
    if answer is None or answer is Ellipsis:
        return "nothing yet: put your answer in its place"
    if isinstance(answer, str):
        return f"the text {answer[:40]!r}"
    if isinstance(answer, pd.DataFrame):
        return f"a DataFrame of {len(answer):,} rows and {answer.shape[1]} columns"
    if callable(answer) and not isinstance(answer, type) and hasattr(answer, "__name__"):
        return f"the function {answer.__name__}: call it with ()"
    name = type(answer).__name__
    known = {
        "BpfObject": "an object of a %%bpf cell",
        "MapFrame": "a map",
        "Stream": "a stream",
        "Program": "a program",
        "Workload": "a workload",
    }
    return known.get(name, f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}")


def _read_it(answer: Any) -> str:
    """How to get at what a live thing holds."""
    name = type(answer).__name__
    if name == "MapFrame":
        return f" Read it: {answer.name}.df is its frame, {answer.name}[key] one value."
    if name in ("Stream", "TypeFrame"):
        return f" Its rows are {answer.name}.df."
    if name == "BpfObject":
        inside = ", ".join(f"{answer.name}.{part}" for part in answer)
        return f" What it holds is in {inside}." if inside else ""
    return ""
