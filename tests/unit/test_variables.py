"""Arrays among global variables, as people write their values."""

from __future__ import annotations

import struct

import pytest
from bpf_objects import btf_of

from bpfnb.errors import MapTypeError
from bpfnb.variables import encode_globals

SOURCE = """
#define RODATA __attribute__((section(".rodata")))
const volatile unsigned int pids[4] RODATA = {1};
const volatile char comms[3][8] RODATA = {"x"};
const volatile char one[8] RODATA = "x";
"""


@pytest.mark.parametrize("value", [[42, 43], "42,43", "0x2a,43", (42, 43), [42, 43, 0, 0]])
def test_a_list_may_be_shorter_than_the_array(value):
    assert encode_globals(btf_of(SOURCE), {"pids": value}) == {"pids": struct.pack("4I", 42, 43, 0, 0)}


def test_one_value_is_a_list_of_one():
    assert encode_globals(btf_of(SOURCE), {"pids": 7})["pids"] == struct.pack("4I", 7, 0, 0, 0)


def test_texts():
    found = encode_globals(btf_of(SOURCE), {"comms": "sh,a b", "one": "a,b"})
    assert found == {
        "comms": b"sh".ljust(8, b"\0") + b"a b".ljust(8, b"\0") + bytes(8),
        "one": b"a,b".ljust(8, b"\0"),
    }


@pytest.mark.parametrize("value", [[1, 2, 3, 4, 5], "1,x", "1,2,3,4,5"])
def test_what_does_not_fit_is_refused(value):
    with pytest.raises(MapTypeError, match="pids"):
        encode_globals(btf_of(SOURCE), {"pids": value})
