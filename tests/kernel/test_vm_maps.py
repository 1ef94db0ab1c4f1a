"""Maps of a guest that do not come in one batch: empty slots, and buckets of more bytes than a frame."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

import bpfnb
import bpfnb.vm
from bpfnb.errors import MissingDependency
from bpfnb.kernel import maps
from bpfnb.vm import remote

SOURCE = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); }
    large SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
    inner SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 4); __type(key, u32);
    __array(values, struct inner); } slots SEC(".maps");
"""


@pytest.fixture(scope="module")
def vm() -> Iterator[bpfnb.vm.Vm]:
    try:
        machine = bpfnb.vm.start("6.12", name="maps")
    except MissingDependency as error:
        pytest.skip(str(error))
    with machine:
        yield machine


def test_empty_slots_and_buckets_of_more_than_a_frame(vm, monkeypatch):
    """As of values of some MB, three of which may be in one bucket: here two entries are more than a frame."""
    monkeypatch.setattr(remote, "_BATCH_BYTES", 12)
    with bpfnb.load(SOURCE, name="guests", on=vm) as obj:
        large, inner, slots = (obj.maps[name].info for name in ("large", "inner", "slots"))
        assert [len(rows) for rows in maps.read_all(slots)] == [0, 0]
        maps.update(slots, (2).to_bytes(4, "little"), int(inner.fd).to_bytes(4, "little"))
        keys, values = maps.read_all(slots)
        assert keys.view("<u4").tolist() == [[2]]
        assert values.view("<u4").tolist() == [[inner.id]]
        for number in range(64):  # in 64 buckets: never one in each
            maps.update(large, number.to_bytes(4, "little"), bytes([number]) * 8)
        assert maps._batch(large)[2] == errno.ENOSPC
        keys, values = maps.read_all(large)
        assert sorted(keys.view("<u4").ravel().tolist()) == list(range(64))
        assert (values == keys[:, :1]).all()
