"""Counting rows into cells of time and value in one pass: what a live heatmap does with each event.

NumPy needs about fifteen passes, which for the few events of one frame is fifteen calls of some microseconds each; this
is a loop of C (:mod:`bpfnb.compile.native`). Where it cannot be had, and for values that are no integers, there is no
:class:`Tally`, and rows go through NumPy, with the same counts.
"""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bpfnb.compile.native import native
from bpfnb.views._buckets import Edges, inner_edges

if TYPE_CHECKING:
    from bpfnb.views.heat.grid import Grid

__all__ = ["Tally"]

_NARROW = 1 << 12
"""Distance between the outermost inner edges up to which buckets are looked up instead of searched."""

SOURCE = """
struct tally {
    i64 origin, every, width, base, first, stop, room, buckets; /* the grid: `room` columns of memory from `base` on */
    double *counts;
    u8 *used;
    i64 rows, shift, absent;
    const u8 *at;
    i64 at_step;
    const u8 *value;
    i64 value_step;
    const void *inner;
    i64 edges;
    const u16 *table;
    i64 span;
    i64 done, low, high, fresh, unplaced; /* what comes back */
};

/* The bucket of v: how many of the inner edges are not above it. */
#define BUCKET(wide) \\
    if (t.table) { \\
        u64 distance = (u64)v - (u64)inner[0]; \\
        bucket = v < inner[0] ? 0 : distance < (u64)t.span ? t.table[distance] : t.edges; \\
    } else { \\
        const wide *from = inner; \\
        for (i64 left = t.edges; left > 0;) { \\
            i64 half = (left + 1) / 2; \\
            from += from[half - 1] <= v ? half : 0; \\
            left -= half; \\
        } \\
        bucket = from - inner; \\
    }

static i64 column_of(struct tally t, i64 moment)
{
    i64 away = moment - t.origin, column = away / t.every;
    return column - (column * t.every > away);
}

/* The column after the newest row's, or after the grid's. */
static i64 stop_of(struct tally t)
{
    i64 newest = t.room ? t.origin + t.stop * t.every - 1 : -(1LL << 62);
    for (i64 i = 0; i < t.rows; i++) {
        i64 at = *(const i64 *)(t.at + i * t.at_step);
        if (at != t.absent && at + t.shift > newest)
            newest = at + t.shift;
    }
    return column_of(t, newest) + 1;
}

/* Counts rows from `done` on; stops at one whose column has no memory yet. */
#define TALLY(type, wide) \\
    void tally_##type(struct tally *given) \\
    { \\
        struct tally t = *given; /* a copy, which no write to the counts can change */ \\
        const wide *inner = t.inner; \\
        i64 begin = 0, end = 0, stop = stop_of(t); \\
        double *row = 0; \\
        for (; t.done < t.rows; t.done++) { \\
            i64 at = *(const i64 *)(t.at + t.done * t.at_step), bucket; \\
            if (at == t.absent) { \\
                t.unplaced++; \\
                continue; \\
            } \\
            at += t.shift; \\
            if (at < begin || at >= end) { /* another column than the last row's */ \\
                i64 column = column_of(t, at); \\
                begin = t.origin + column * t.every; \\
                end = begin + t.every; \\
                t.low = column < t.low ? column : t.low; \\
                t.high = column > t.high ? column : t.high; \\
                if (column < stop - t.width) { \\
                    row = 0; /* too old to be shown */ \\
                } else { \\
                    if (column < t.first || column >= t.base + t.room) \\
                        break; \\
                    row = t.counts + (column - t.base) * t.buckets; \\
                } \\
            } \\
            if (!row) \\
                continue; \\
            wide v = *(const type *)(t.value + t.done * t.value_step); \\
            BUCKET(wide) \\
            row[bucket] += 1; \\
            if (!t.used[bucket]) \\
                t.fresh = t.used[bucket] = 1; \\
        } \\
        *given = t; \\
    }

TALLY(u8, i64) TALLY(u16, i64) TALLY(u32, i64) TALLY(u64, u64)
TALLY(i8, i64) TALLY(i16, i64) TALLY(i32, i64) TALLY(i64, i64)
"""


_FAR = 1 << 62


class Tally:
    """Counts values of one integer type into the buckets of *edges*. Make one with :meth:`of`."""

    def __init__(self, edges: Edges, dtype: np.dtype[Any], loop: Any) -> None:
        inner = inner_edges(edges, dtype).astype(np.uint64 if dtype == np.uint64 else np.int64)
        table = np.zeros(0, np.uint16)
        if len(inner) and int(inner[-1]) - int(inner[0]) < _NARROW:
            offsets = (inner - inner[0]).astype(np.int64)
            table = np.searchsorted(offsets, np.arange(offsets[-1] + 1), "right").astype(np.uint16)
        self.dtype = dtype
        self._buckets = len(edges) - 1
        self._loop = loop
        self._arrays = inner, table  # to which C points
        self._limits = (inner.ctypes.data, len(inner), table.ctypes.data if len(table) else 0, len(table))

    @classmethod
    def of(cls, edges: Edges, dtype: np.dtype[Any]) -> Tally | None:
        """A tally of values of *dtype*; None where C cannot count them."""
        loop = _loops().get(f"{dtype.kind}{dtype.itemsize}") if dtype.isnative else None
        return None if loop is None else cls(edges, dtype, loop)

    def count(
        self, grid: Grid, at: npt.NDArray[Any], values: npt.NDArray[Any], shift: int, absent: int
    ) -> int:
        """Count rows into *grid*, as :meth:`Grid.add`; returns how many had no moment.

        *at* are 8-byte integers (or what NumPy makes of them): moments in ns but for *shift*, or *absent* for none.
        Every value lies within the edges.
        """
        grid.widen(self._buckets)
        rows = (len(at), shift, absent, at.ctypes.data, at.strides[0], values.ctypes.data, values.strides[0])
        done, unplaced = 0, 0
        while done < len(at):  # it stops where the grid's memory ends
            given = array("q", (*grid.cells(), *rows, *self._limits, done, _FAR, -_FAR, 0, 0))
            self._loop(given.buffer_info()[0])
            before = done
            done, low, high, fresh, without = given[-5:]
            unplaced += without
            if low <= high:
                grid.counted(done - before, low, high, bool(fresh))
        return unplaced


@cache
def _loops() -> dict[str, Any]:
    """The loop for each integer type; none where there is no compiler."""
    library = native("tally", SOURCE)
    if library is None:
        return {}
    loops = {f"{kind}{size}": library[f"tally_{kind}{8 * size}"] for kind in "iu" for size in (1, 2, 4, 8)}
    for loop in loops.values():
        loop.restype, loop.argtypes = None, (ctypes.c_void_p,)
    return loops
