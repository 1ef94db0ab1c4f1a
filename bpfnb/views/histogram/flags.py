"""Where labels of vertical lines stand: beside their lines like flags, none touching another nor crossed by a line.

As in js/src/histogram/scale.ts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

__all__ = ["placed"]

GAP = 4.0  # px between a line and its label

Flag = tuple[float, float, float, int]  # the line's x, the label's left and right end, its row from below


def placed(marks: Sequence[tuple[float, float]], left: float, right: float) -> list[tuple[float, int]]:
    """Left end and row (0: the lowest) of the label of each of a few *marks*, given as (x of the line, label's width).

    As few rows as possible, to the right of the line where that is possible. Between *left* and *right* as far as
    labels fit at all.
    """
    for rows in range(1, len(marks) + 1):
        choices = []
        for x, wide in marks:
            starts = [start for start in (x + GAP, x - GAP - wide) if left <= start and start + wide <= right]
            choices.append([(x, start, start + wide, row) for row in range(rows) for start in starts])
        for flags in product(*choices):
            if not any(_meet(a, b) for a, b in combinations(flags, 2)):
                return [(flag[1], flag[3]) for flag in flags]
    return [(max(left, min(x + GAP, right - wide)), row) for row, (x, wide) in enumerate(marks)]


def _meet(a: Flag, b: Flag) -> bool:
    """Whether two labels touch, or one's line, which reaches up to its row, goes through the other's label."""
    if a[3] == b[3] and a[1] < b[2] + GAP and b[1] < a[2] + GAP:
        return True
    return (a[3] >= b[3] and b[1] < a[0] < b[2]) or (b[3] >= a[3] and a[1] < b[0] < a[2])
