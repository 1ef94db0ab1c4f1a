"""Options of tools: what a tool may be given, in Python as keywords, on a command line with two dashes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from typing import Any

from bpfnb.errors import BadValue, UnknownName
from bpfnb.processes import COLUMNS
from bpfnb.tools.filters import FILTERS

__all__ = ["COMMON", "Option", "check_columns", "checked", "guest", "named", "share", "signature"]


@dataclass(frozen=True)
class Option:
    """One option of a tool: its name in Python, its type (bool: a switch), and what it does, in a few words.

    Unless *variable* is False it is also a global variable of the program, set where the option is given. One that is
    *positional* need not be named: it is the first argument in Python, and a word of its own on command lines.
    """

    name: str
    type: Callable[[Any], Any]
    help: str
    metavar: str = "N"
    variable: bool = True
    several: bool = False
    positional: bool = False


def share(value: Any) -> float:
    """0.2, ``20%``, or infinity for ``off``: no limit."""
    text = str(value).strip()
    if text == "off":
        return math.inf
    found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not found > 0:
        raise BadValue(f"a share of a CPU is more than 0, not {value}; off: no limit")
    return found


def guest(value: Any) -> Any:
    """A virtual machine, or one by its name (:func:`bpfnb.vm.meant`). Raises UnknownName."""
    if isinstance(value, str):
        from bpfnb.vm import meant

        return meant(value)
    if not hasattr(value, "backend"):
        raise BadValue(f"on= takes a virtual machine or its name, not {value!r}")
    return value


COMMON: tuple[Option, ...] = (
    Option("duration", float, "stop by itself after this many seconds", "SECONDS", variable=False),
    Option("rows", int, "rows to keep", "N", variable=False),
    Option(
        "add",
        str,
        f"columns of processes to add: {', '.join(COLUMNS)}",
        "COLUMN",
        variable=False,
        several=True,
    ),
    Option(
        "watchdog",
        share,
        "share of a CPU (0.2, 20%%) above which the tool is stopped, or off",
        "SHARE",
        variable=False,
    ),
    Option(
        "on",
        guest,
        "trace a virtual machine instead: its name, or its kernel's version",
        "VM",
        variable=False,
    ),
)
"""The options that every tool has, beside the filters."""


def signature(options: Sequence[Option]) -> Signature:
    """How Python calls a tool that has *options*: positional ones first, all of them optional."""
    kinds = {True: Parameter.POSITIONAL_OR_KEYWORD, False: Parameter.KEYWORD_ONLY}
    ordered = sorted(options, key=lambda option: not option.positional)
    return Signature([Parameter(one.name, kinds[one.positional], default=None) for one in ordered])


def named(tool: str, options: Sequence[Option], target: Sequence[Any]) -> dict[str, Any]:
    """What was given without its name; all of it is of an option that takes several. Raises BadValue for too much."""
    names = [option.name for option in options if option.positional]
    if len(names) == 1 and any(option.positional and option.several for option in options):
        found = [one for each in target for one in ([each] if isinstance(each, str) else each)]
        return {names[0]: found} if found else {}
    if len(target) > len(names):
        raise BadValue(
            f"{tool} takes {' and '.join(names) or 'nothing'} without a name; others are NAME=VALUE"
        )
    return dict(zip(names, target, strict=False))


def checked(tool: str, options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was *given* in its types, without what is None. Raises UnknownName with the nearest name, BadValue."""
    own = {option.name: option for option in (*options, *COMMON)}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in own and name not in FILTERS:
            raise UnknownName.among([*own, *FILTERS], name, f"{tool} has no option '{name}'")
        if value is not None:
            found[name] = _typed(own[name], value) if name in own else value
    check_columns(found.get("add", ()))
    for name in ("duration", "rows"):
        if name in found and not found[name] > 0:
            raise BadValue(f"{name}= is more than 0, not {found[name]}")
    return found


def check_columns(names: Sequence[str]) -> None:
    """Raises UnknownName for what is no column of processes."""
    for name in names:
        if name not in COLUMNS:
            raise UnknownName.among(COLUMNS, name, f"processes have no column '{name}'")


def _typed(option: Option, value: Any) -> Any:
    if option.several:
        values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        parts = [part for one in values for part in (one.split(",") if isinstance(one, str) else [one])]
        return [_typed(replace(option, several=False), part) for part in parts]
    if option.type is bool and not isinstance(value, bool):
        raise BadValue(f"{option.name}= is True or False, not {value!r}")
    try:
        return option.type(value)
    except BadValue:
        raise  # which says more
    except (TypeError, ValueError):
        pass
    raise BadValue(f"{option.name}= takes {getattr(option.type, '__name__', 'another value')}, not {value!r}")
