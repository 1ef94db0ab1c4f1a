"""One entry of the catalogue of rejections, see :mod:`bpfnb.kernel.rejections`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Rejection", "entry"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One way to be refused.

    ``origin``, if given, must be found in the log line that set the offending register, to which ``now=`` and its
    present state are added.
    """

    id: str
    pattern: re.Pattern[str]
    title: str
    explanation: str
    remedy: tuple[str, ...]
    origin: re.Pattern[str] | None = field(default=None)


def entry(id: str, pattern: str, title: str, explanation: str, *remedy: str, origin: str = "") -> Rejection:  # noqa: A002
    """A Rejection from the texts of its regular expressions; ``^`` and ``$`` match at lines."""
    compiled = re.compile(origin) if origin else None
    return Rejection(id, re.compile(pattern, re.MULTILINE), title, explanation, remedy, compiled)
