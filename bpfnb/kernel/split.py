"""Records of one struct to an array a field, in one pass over the buffer and at the speed of memory.

NumPy needs a pass for the headers, one for the copy and one a field. Each pass over a buffer that is larger than the
cache costs about as much as libbpf's whole consumer, so this is a loop of C (:mod:`bpfnb.compile.native`). Where it
cannot be had, :func:`library` is None and records take the way through NumPy, which is the same but for time.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bpfnb.compile.native import native

__all__ = ["FieldCells", "Tails", "address", "library", "pack_text", "split", "split_tailed"]

FieldCells = list[npt.NDArray[np.uint8]]
"""For each field its bytes in all records: n times its size of ``uint8``, aligned."""

Tails = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]
"""What records have behind their struct: where each one's bytes begin (n + 1 offsets), and the bytes."""

SOURCE = """
struct field { u64 offset, size; u8 *out; };
enum { BLOCK = 32 }; /* records that stay in the first cache while their fields are copied one by one */

#define COPY(type) \\
    for (u64 i = 0; i < good; i++, from += stride) \\
        ((type *)to)[i] = *(const type *)from

/* Copies records while the word before each says `word`: finished, kept, and of the size in question. */
u64 split(const u8 *at, u64 rows, u64 stride, u32 word, const struct field *fields, u64 count)
{
    for (u64 done = 0; done < rows; at += BLOCK * stride) {
        u64 most = rows - done < BLOCK ? rows - done : BLOCK, good = 0;
        /* Acquire: no payload is read before its header said that it is finished. */
        while (good < most && __atomic_load_n((const u32 *)(at + good * stride), __ATOMIC_ACQUIRE) == word)
            good++;
        for (const struct field *f = fields; f < fields + count; f++) {
            const u8 *from = at + 8 + f->offset;
            u8 *to = f->out + done * f->size;
            if (f->size == 8) COPY(u64);
            else if (f->size == 4) COPY(u32);
            else if (f->size == 2) COPY(u16);
            else
                for (u64 i = 0; i < good; i++, from += stride) {
                    u64 b = 0;
                    for (; b + 8 <= f->size; b += 8, to += 8)
                        __builtin_memcpy(to, from + b, 8);
                    for (; b < f->size; b++)
                        *to++ = from[b];
                }
        }
        done += good;
        if (good < BLOCK)
            return done;
    }
    return rows;
}

/* The same for records of unequal length, in two turns: how many there are from `at` on, in `room` bytes, that are
   finished, kept and at least of `size`; what they take of the ring, and of bytes behind the struct. */
u64 measure(const u8 *at, u64 room, u64 size, u64 *taken, u64 *behind)
{
    u64 rows = 0, end = 0, more = 0;
    while (end + 8 <= room) {
        u32 word = __atomic_load_n((const u32 *)(at + end), __ATOMIC_ACQUIRE);
        u64 next = end + ((word + 15ull) & ~7ull);
        if (word >> 30 || word < size || next > room)
            break;
        more += word - size;
        end = next;
        rows++;
    }
    *taken = end;
    *behind = more;
    return rows;
}

void spread(const u8 *at, u64 rows, u64 size, const struct field *fields, u64 count, i32 *offsets, u8 *tails)
{
    u32 filled = 0;
    for (u64 row = 0; row < rows; row++) {
        u32 length = *(const u32 *)at, behind = length - size;
        const u8 *record = at + 8, *tail = record + size;
        for (const struct field *f = fields; f < fields + count; f++) {
            const u8 *from = record + f->offset;
            u8 *to = f->out + row * f->size;
            if (f->size == 8) *(u64 *)to = *(const u64 *)from;
            else if (f->size == 4) *(u32 *)to = *(const u32 *)from;
            else if (f->size == 2) *(u16 *)to = *(const u16 *)from;
            else
                for (u64 b = 0; b < f->size; b++)
                    to[b] = from[b];
        }
        offsets[row] = filled;
        for (u32 b = 0; b < behind; b++)
            tails[filled + b] = tail[b];
        filled += behind;
        at += (length + 15ull) & ~7ull;
    }
    offsets[rows] = filled;
}

/* C strings in cells of `size` bytes, each up to its first NUL, one behind the other. */
void pack(const u8 *cells, u64 rows, u64 size, i32 *offsets, u8 *text)
{
    u32 filled = 0;
    for (u64 row = 0; row < rows; row++, cells += size) {
        offsets[row] = filled;
        for (u64 b = 0; b < size && cells[b]; b++)
            text[filled++] = cells[b];
    }
    offsets[rows] = filled;
}
"""
_ALIGNED = 64


@cache
def library() -> Any:
    """The compiled loops as ctypes loads them, or None."""
    loaded = native("split", SOURCE)
    if loaded is not None:
        u64, pointer = ctypes.c_uint64, ctypes.c_void_p
        loaded.split.restype = loaded.measure.restype = u64
        loaded.spread.restype = loaded.pack.restype = None
        loaded.split.argtypes = (pointer, u64, u64, ctypes.c_uint32, pointer, u64)
        loaded.measure.argtypes = (pointer, u64, u64, pointer, pointer)
        loaded.spread.argtypes = (pointer, u64, u64, pointer, u64, pointer, pointer)
        loaded.pack.argtypes = (pointer, u64, u64, pointer, pointer)
    return loaded


def split(at: int, rows: int, length: int, fields: Sequence[tuple[int, int]]) -> tuple[int, FieldCells]:
    """Take the fields, (offset, size) each, of at most *rows* ring-buffer records of *length* bytes.

    The first record's header is at address *at*. Returns how many were taken: up to the first that is
    busy, discarded or of another size. Needs :func:`library`.
    """
    plan, cells, _ = _room(rows, fields)
    stride = (length + 8 + 7) & ~7
    where, _ = plan.buffer_info()
    got = int(library().split(at, rows, stride, length, where, len(fields)))
    if got == rows:
        return got, cells
    return got, [cell[: got * size].copy() for cell, (_, size) in zip(cells, fields, strict=True)]


def split_tailed(
    at: int, room: int, length: int, fields: Sequence[tuple[int, int]]
) -> tuple[int, int, FieldCells, Tails]:
    """As :func:`split`, of records that have *length* bytes or more, in the *room* bytes from *at* on.

    Returns how many were taken, up to the first that is busy, discarded or shorter; the bytes of the ring that they
    took; their fields; and what is behind.
    """
    sizes = array("Q", (0, 0))
    where, width = sizes.buffer_info()[0], sizes.itemsize
    rows = int(library().measure(at, room, length, where, where + width))
    plan, cells, more = _room(rows, fields, 4 * (rows + 1), sizes[1])
    offsets, tails = cells[-2].view(np.int32), cells[-1]
    library().spread(at, rows, length, plan.buffer_info()[0], len(fields), *more)
    return rows, sizes[0], cells[:-2], (offsets, tails)


def pack_text(cells: npt.NDArray[np.bytes_]) -> Tails:
    """C strings of one size, each up to its first NUL: where each begins, and all of them. Needs :func:`library`."""
    cells = np.ascontiguousarray(cells)
    offsets, text = np.empty(len(cells) + 1, np.int32), np.empty(cells.nbytes, np.uint8)
    library().pack(address(cells), len(cells), cells.itemsize, address(offsets), address(text))
    return offsets, text[: int(offsets[-1])]


def _room(
    rows: int, fields: Sequence[tuple[int, int]], *more: int
) -> tuple[array[int], FieldCells, list[int]]:
    """Memory that *fields* of *rows* records are copied to, a plan of it as the loops of C read it, and behind them as
    many bytes as each of *more*, with their addresses.
    """
    sizes = [*(size * rows for _, size in fields), *more]
    places = [0]
    for size in sizes:
        places.append((places[-1] + size + _ALIGNED - 1) & -_ALIGNED)
    # One block for all: from 4 MB on NumPy asks for huge pages, and page faults are what memory costs most here.
    block = np.empty(places[-1], np.uint8)
    to = address(block)
    plan = array("Q")
    for place, (offset, size) in zip(places, fields, strict=False):
        plan.extend((offset, size, to + place))
    cells = [block[at : at + size] for at, size in zip(places, sizes, strict=False)]
    return plan, cells, [to + place for place in places[len(fields) : -1]]


def address(memory: npt.NDArray[Any]) -> int:
    """Where an array's bytes begin."""
    return int(memory.__array_interface__["data"][0])
