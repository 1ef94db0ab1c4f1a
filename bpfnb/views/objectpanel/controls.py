"""How a person sets each global variable: what its C type and its annotations say about a control for it.

Values travel to and from the browser as the text that a person sees, and only Python turns text into numbers: a u64
is exact, and ``1.5 ms`` is understood where the variable's unit is a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from bpfnb.annotations import of, of_type
from bpfnb.btf import Array, Btf, Enum, Float, Int
from bpfnb.errors import BadValue
from bpfnb.variables import Variable, variables_of
from bpfnb.views._style import DURATIONS, humanize

__all__ = ["Bounds", "Control", "Number", "controls"]

Number = int | float
Kind = Literal["slider", "number", "switch", "choice", "text", "fixed"]

EXACT: Final = 1 << 53
"""The largest whole number up to which a browser's slider is exact."""

STEPS: Final = 1000  # of a slider, at least

NO_AMOUNT: Final = frozenset(
    {"timestamp", "port", "port_be", "errno", "signal", "syscall", "stack", "cgroup"}
)
"""Formats of numbers that are names: more or less of them means nothing, so they get no slider."""

FIRST: Final = {"ns": 1_000_000, "us": 10_000, "ms": 1000, "s": 60, "bytes": 1 << 20, "pages": 1024}
"""Where a slider ends by the variable's unit, as long as the variable is 0; 100 for other units."""

_AMOUNTS: Final[Mapping[str, Mapping[str, Fraction]]] = {
    "bytes": {"B": Fraction(1), **{f"{p}iB": Fraction(1024) ** (i + 1) for i, p in enumerate("KMGTPE")}},
    **{unit: {name: Fraction(ns, DURATIONS[unit]) for name, ns in DURATIONS.items()} for unit in DURATIONS},
}
"""By unit: what may stand behind a number, and by what it multiplies."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a slider covers, both ends included, and its step."""

    low: Number
    high: Number
    step: Number


@dataclass(frozen=True, slots=True)
class Control:
    """One variable as a person sees it.

    ``kind``: ``slider`` (with a number box), ``number`` (a box alone), ``switch``, ``choice`` (of ``choices``),
    ``text``, or ``fixed``, which shows the value only. ``type`` is what C calls it, ``unit`` what it counts. ``low``
    and ``high`` are the least and most that the type holds, or infinite; ``whole`` whether it takes no fractions;
    ``stated`` what a RANGE annotation says.
    """

    name: str
    kind: Kind
    type: str
    constant: bool = False
    unit: str = ""
    description: str = ""
    choices: tuple[str, ...] = ()
    whole: bool = True
    low: Number = -math.inf
    high: Number = math.inf
    stated: tuple[Number, Number] | None = None

    def bounds(self, value: Any, before: Bounds | None = None) -> Bounds | None:
        """What the slider covers with *value*; None where there is none. Goes on as *before* while that is enough.

        What a RANGE annotation states, else all of an 8- or 16-bit type, else from 0 to ten times the value (a round
        number), below 0 too where the value is or the type is a signed integer.
        """
        if self.kind != "slider" or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.stated:
            low, high = self.stated
        elif self.whole and self.high - self.low < 1 << 16:
            low, high = self.low, self.high
        else:
            if before and before.low <= value <= before.high:
                return before
            if not math.isfinite(value):
                return None
            high = _round(10 * abs(value)) or (FIRST.get(self.unit, 100) if self.whole else 1)
            low = -high if value < 0 or (self.whole and self.low < 0) else 0
            low, high = max(low, self.low), min(high, self.high)
        if max(abs(low), abs(high)) > EXACT:
            return None
        step = _round((high - low) / STEPS, down=True)
        return Bounds(low, high, max(1, int(step)) if self.whole else step)

    def text(self, value: object) -> str:
        """*value* as it stands in the control."""
        if isinstance(value, float):
            return f"{value:.7g}" if self.type.endswith("float") else repr(value)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def said(self, value: object) -> str:
        """*value* with its unit, as a person says it, where that is more than its text."""
        if not self.unit or isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        said = humanize(value, self.unit)
        return "" if said == f"{value} {self.unit}" else said

    def parse(self, text: str | bool) -> object:
        """What a person entered, as ``obj.vars`` takes it. Raises BadValue; what the type holds is checked there."""
        if self.kind == "switch":
            return text is True or text == "true"
        text = str(text)
        if self.kind not in ("slider", "number"):
            return text
        number = self._amount(text.strip().replace(",", ""))
        if number is None:
            like = f", like {humanize(1_500_000, self.unit)}" if self.unit in _AMOUNTS else ""
            raise BadValue(f"'{text}' is no number{like}")
        if not self.whole:
            return float(number)
        if not isinstance(number, Fraction) or number.denominator != 1:
            raise BadValue(f"'{text}' is no whole number" + (f" of {self.unit}" if self.unit else ""))
        return int(number)

    def _amount(self, text: str) -> Fraction | float | None:
        number = _parsed(text)
        if number is not None:
            return number
        found = re.fullmatch(r"(.*?)\s*([a-zA-Zµ]+)", text)
        factor = _AMOUNTS.get(self.unit, {}).get(found[2].replace("µ", "u")) if found else None
        number = _parsed(found[1]) if found and factor else None
        return number * factor if isinstance(number, Fraction) and factor else None


def controls(btf: Btf) -> list[Control]:
    """A control for each global variable that is not HIDDEN, in the order of their declaration, constants last."""
    variables = sorted(variables_of(btf).values(), key=lambda variable: variable.id)
    found = [control for v in variables if (control := _control(btf, v)) is not None]
    return sorted(found, key=lambda control: control.constant)


def _control(btf: Btf, variable: Variable) -> Control | None:
    stated = of(btf, variable.id).over(of_type(btf, variable.type))
    if stated.hidden:
        return None
    found = btf.resolve(variable.type)
    facts: dict[str, Any] = {
        "name": variable.name,
        "type": _type(btf, variable.type),
        "constant": variable.constant,
        "unit": stated.unit or "",
        "description": stated.description,
        "stated": stated.range,
    }
    match found:
        case Int(bool=True):
            facts["kind"] = "switch"
        case Int() if stated.format == "ipv4" and found.size == 4:
            facts["kind"] = "text"
        case Int() if found.size <= 8:
            low = -(1 << 8 * found.size - 1) if found.signed else 0
            facts |= {"low": low, "high": low + (1 << 8 * found.size) - 1}
            facts["kind"] = "number" if stated.format in NO_AMOUNT else "slider"
        case Float() if found.size <= 8:
            facts |= {"kind": "slider", "whole": False}
        case Enum():
            facts |= {"kind": "choice", "choices": tuple(name for name, _ in found.values)}
        case Array() if _text(btf, found, stated.format):
            facts["kind"] = "text"
        case _:
            facts["kind"] = "fixed"
    if variable.constant:
        facts["kind"] = "fixed"
    return Control(**facts)


def _type(btf: Btf, type_id: int) -> str:
    """The type's name as a person would declare it: without the qualifiers, which all live variables have."""
    return re.sub(r"\b(const|volatile)\b\s*", "", btf.describe(type_id)).strip()


def _text(btf: Btf, array: Array, said: str | None) -> bool:
    element = btf.resolve(array.element)
    plain = isinstance(element, Int) and element.size == 1 and not element.bool
    address = {"ipv6": 16, "mac": 6}.get(said or "")
    return plain and (element.char or said == "text" or btf.size(array) == address)  # type: ignore[attr-defined]


def _parsed(text: str) -> Fraction | float | None:
    """A number as Python or C writes it; a float only for what is infinite or not a number."""
    try:
        return Fraction(int(text.rstrip("uUlL") if text[:1].isdigit() else text, 0))
    except ValueError:
        pass
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        pass
    return float(text) if text.lower().lstrip("+-") in ("inf", "infinity", "nan") else None


def _round(value: Number, *, down: bool = False) -> Number:
    """The next 1, 2 or 5 times a power of ten, upwards or *down*; 0 for 0."""
    if value <= 0:
        return 0
    power = Fraction(10) ** math.floor(math.log10(value))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    fitting = [step for step in steps if (step <= value if down else step >= value)]
    chosen = (max if down else min)(fitting, default=power)
    return int(chosen) if chosen.denominator == 1 else float(chosen)
