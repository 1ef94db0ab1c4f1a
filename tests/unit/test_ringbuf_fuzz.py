"""The array parser of ring buffers against one that goes byte by byte, on images of every kind."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfnb.kernel.perfbuf import parse
from bpfnb.kernel.ringbuf import BUSY, DISCARDED, take
from bpfnb.kernel.split import address, library, pack_text, split, split_tailed

RING = 1 << 14


@dataclass
class Image:
    """A ring of ``RING`` bytes mapped twice, what is in it, and the two positions."""

    data: np.ndarray
    begin: int
    end: int


def build(begin: int, records: list[tuple[int, int]], torn: int) -> Image:
    """*records* as (length, flags) from *begin* on; the last *torn* bytes were not produced yet."""
    ring = np.full(RING, 0xEE, np.uint8)
    pos = begin
    for number, (length, flags) in enumerate(records):
        total = (length + 15) & ~7
        if pos + total - begin > RING:
            break
        payload = bytes((number * 7 + i) & 0xFF for i in range(length))
        record = struct.pack("=II", length | flags, 0) + payload.ljust(total - 8, b"\xdd")
        at = (pos + np.arange(total)) % RING
        ring[at] = np.frombuffer(record, np.uint8)
        pos += total
    return Image(np.concatenate([ring, ring]), begin, max(begin, pos - torn * 8))


def reference(image: Image) -> tuple[list[bytes], int]:
    """One record after the other, as the kernel's documentation describes it."""
    out = []
    pos = image.begin
    while pos < image.end:
        at = pos % RING
        (word,) = struct.unpack_from("=I", image.data, at)
        length = word & (DISCARDED - 1)
        after = pos + (length + 15) // 8 * 8
        if word & BUSY or after > image.end:
            break
        if not word & DISCARDED:
            out.append(image.data[at + 8 : at + 8 + length].tobytes())
        pos = after
    return out, pos


def rows(records: list) -> list[bytes]:
    out = []
    for batch in records:
        count, width = batch.data.shape
        lengths = np.broadcast_to(batch.lengths, count)
        assert not count or lengths.max() == width
        for row, length in zip(batch.data, lengths, strict=True):
            assert not row[length:].any()
            out.append(row[:length].tobytes())
    return out


def consume(image: Image, piece: int) -> tuple[list[bytes], int]:
    out: list[bytes] = []
    begin = image.begin
    while begin < image.end:
        records, after = take(image.data, begin, image.end, piece)
        assert after >= begin
        if after == begin:
            assert not records
            break
        out += rows(records)
        begin = after
    return out, begin


flags = st.sampled_from([0] * 12 + [DISCARDED] * 3 + [BUSY])
runs = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([0, 4, 8, 64, 65, 72]), st.integers(0, 3000)),
        st.lists(flags, min_size=1, max_size=40),
    ),
    max_size=12,
)


@settings(max_examples=400, deadline=None)
@given(
    start=st.integers(0, 4 * RING // 8),
    runs=runs,
    torn=st.one_of(st.just(0), st.integers(0, 20)),
    piece=st.sampled_from([8, 64, 1000, 4096, RING, 1 << 19]),
)
def test_arrays_and_bytes_agree(start: int, runs: list, torn: int, piece: int) -> None:
    records = [(length, flag) for length, flagged in runs for flag in flagged]
    image = build(start * 8, records, torn)
    assert consume(image, piece) == reference(image)


@settings(max_examples=100, deadline=None)
@given(
    start=st.integers(0, RING), lengths=st.lists(st.sampled_from([16, 17, 64]), min_size=100, max_size=400)
)
def test_alternating_sizes_keep_their_order(start: int, lengths: list[int]) -> None:
    image = build(start * 8, [(length, 0) for length in lengths], 0)
    assert consume(image, 1 << 19) == reference(image)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([0x7F, 0xFFF, 0xC0000FFF]), st.integers(0, RING // 8))
def test_garbage_never_hangs_nor_reads_outside(seed: int, mask: int, length: int) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(0, 1 << 32, RING // 4, np.uint32) & np.uint32(mask)
    image = Image(np.concatenate([words, words]).view(np.uint8), 0, 0)
    image.begin = int(random.integers(0, RING)) * 8
    image.end = image.begin + length * 8
    assert consume(image, 1 << 19) == reference(image)


def test_a_batch_owns_its_bytes() -> None:
    image = build(0, [(64, 0)] * 20, 0)
    records, _ = take(image.data, image.begin, image.end)
    before = records[0].data.copy()
    image.data[:] = 0
    assert (records[0].data == before).all()
    assert [batch.data.shape for batch in records] == [(20, 64)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sample"), st.sampled_from([4, 12, 68]), st.integers(1, 30)),
            st.tuples(st.just("sample"), st.integers(0, 40).map(lambda n: 8 * n + 4), st.integers(1, 3)),
            st.tuples(st.just("lost"), st.integers(1, 1 << 40), st.just(1)),
            st.tuples(st.just("other"), st.just(0), st.just(1)),
        ),
        max_size=12,
    )
)
def test_perf_records(plan: list[tuple[str, int, int]]) -> None:
    image, expected, lost = b"", [], 0
    for kind, amount, repeat in plan:
        for turn in range(repeat):
            if kind == "sample":
                payload = bytes((turn * 5 + i) & 0xFF for i in range(amount))
                image += struct.pack("=IHHI", 9, turn & 3, amount + 12, amount) + payload
                expected.append(payload)
            elif kind == "lost":
                image += struct.pack("=IHHQQ", 2, 0, 24, 77, amount)
                lost += amount
            else:
                image += struct.pack("=IHHQ", 5, 0, 16, 0)
    records, found, used = parse(np.frombuffer(bytearray(image), np.uint8), 3)
    assert rows(records) == expected
    assert (found, used) == (lost, len(image))
    assert all(batch.cpu == 3 for batch in records)


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, 4 * RING // 8),
    length=st.sampled_from([1, 7, 8, 24, 64, 65]),
    before=st.integers(0, 150),
    after=st.lists(st.tuples(st.sampled_from([8, 64, 65]), flags), max_size=3),
    fields=st.lists(st.tuples(st.integers(0, 64), st.sampled_from([1, 2, 3, 4, 8, 16])), max_size=6),
)
def test_fields_of_the_run_at_the_head(
    start: int, length: int, before: int, after: list, fields: list[tuple[int, int]]
) -> None:
    assert library() is not None
    image = build(start * 8, [(length, 0)] * before + after, 0)
    fields = [(offset, size) for offset, size in fields if offset + size <= length]
    stride = (length + 15) & ~7
    room = (image.end - image.begin) // stride
    got, cells = split(address(image.data) + image.begin % RING, room, length, fields)
    same = [word == length for word in _heads(image, stride, room)]
    assert got == (same.index(False) if False in same else room)
    payloads = reference(image)[0][:got]
    assert [cell.tobytes() for cell in cells] == [
        b"".join(payload[offset : offset + size] for payload in payloads) for offset, size in fields
    ]


@settings(max_examples=300, deadline=None)
@given(
    start=st.integers(0, 4 * RING // 8),
    length=st.sampled_from([0, 1, 8, 24, 65]),
    records=st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from([0] * 60 + [BUSY, DISCARDED])), max_size=80
    ),
    torn=st.one_of(st.just(0), st.integers(0, 20)),
    fields=st.lists(st.tuples(st.integers(0, 64), st.sampled_from([1, 2, 3, 4, 8, 16])), max_size=6),
)
def test_fields_and_what_is_behind_them(
    start: int, length: int, records: list[tuple[int, int]], torn: int, fields: list[tuple[int, int]]
) -> None:
    assert library() is not None
    image = build(start * 8, records, torn)
    fields = [(offset, size) for offset, size in fields if offset + size <= length]
    room = image.end - image.begin
    rows, taken, cells, (offsets, tails) = split_tailed(
        address(image.data) + start * 8 % RING, room, length, fields
    )
    expected, used = [], 0
    for size, flag in records:
        total = (size + 15) & ~7
        if flag or size < length or used + total > room:
            break
        expected.append(image.data[(start * 8 + used) % RING + 8 :][:size].tobytes())
        used += total
    assert (rows, taken) == (len(expected), used)
    assert [cell.tobytes() for cell in cells] == [
        b"".join(payload[offset : offset + size] for payload in expected) for offset, size in fields
    ]
    behind = [tails[at:end].tobytes() for at, end in itertools.pairwise(offsets)]
    assert behind == [payload[length:] for payload in expected]


@given(
    st.integers(1, 40).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=30))
)
def test_text_up_to_its_first_nul(cells: list[bytes]) -> None:
    offsets, text = pack_text(np.array(cells, f"S{len(cells[0])}" if cells else "S1"))
    found = [text[at:end].tobytes() for at, end in itertools.pairwise(offsets)]
    assert found == [cell.split(b"\0")[0] for cell in cells]


def _heads(image: Image, stride: int, count: int) -> list[int]:
    """The words where headers stand as long as all records have one size."""
    at = image.begin % RING
    return [struct.unpack_from("=I", image.data, at + i * stride)[0] for i in range(count)]
