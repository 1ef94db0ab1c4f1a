"""Flexible arrays at the end of a struct: columns of their own in a stream's frame."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from bpf_objects import btf_of

from bpfnb.frames.lane import Lane
from bpfnb.frames.layout import Layout
from bpfnb.recording.redaction import Redaction

SOURCE = """
struct text { unsigned int pid; char args[]; } a;
struct raw { unsigned int pid; unsigned char data[]; } b;
struct padded { unsigned long pid; char flag; char args[]; } c;
struct packet { unsigned int pid; unsigned char payload[4]; } d;
"""


def lane(name: str) -> Lane:
    btf = btf_of(SOURCE)
    return Lane(Layout.of(btf, btf.find(name, "struct").id))


def rows(*tails: bytes) -> tuple[np.ndarray, np.ndarray]:
    width = max(map(len, tails)) + 4
    data = b"".join(
        (number.to_bytes(4, "little") + tail).ljust(width, b"\0") for number, tail in enumerate(tails)
    )
    lengths = np.array([4 + len(tail) for tail in tails], np.uint32)
    return np.frombuffer(data, np.uint8).reshape(len(tails), width), lengths


def test_a_tail_of_chars_is_text_with_spaces_for_its_nuls():
    frame = lane("text").frame(lane("text").decode(*rows(b"ls\0-l\0/", b"", "é".encode(), b"\xff")))
    assert list(frame.columns) == ["pid", "args"]
    assert frame["args"].tolist() == ["ls -l /", "", "é", "\ufffd"]


def test_a_tail_of_bytes_stays_bytes_under_its_own_name():
    frame = lane("raw").frame(lane("raw").decode(*rows(b"a\0b", b"")))
    assert frame["data"].tolist() == [b"a\0b", b""]


def test_records_without_a_tail_have_an_empty_one():
    text = lane("text")
    bare = text.decode(rows(b"")[0], None)
    assert text.frame(bare)["args"].tolist() == [""]
    assert text.concat([bare, text.decode(*rows(b"x"))])["args"].to_pylist() == ["", "x"]
    assert text.arrow(bare).schema.field("args").type == pa.string()
    assert list(text.only(["pid"]).frame(bare).columns) == ["pid"]


def test_a_tail_that_begins_within_the_padding_is_not_taken_for_what_follows_the_struct():
    assert lane("padded").layout.tail is None


def test_a_field_named_payload_is_not_taken_for_what_is_behind_the_struct():
    packet = lane("packet")
    structs = np.arange(16, dtype=np.uint8).reshape(2, 8)
    two = packet.concat([packet.decode(structs[:1], None), packet.decode(structs[1:], None)])
    assert packet.frame(two)["payload"].tolist() == [bytes(range(4, 8)), bytes(range(12, 16))]
    longer = packet.decode(np.arange(11, dtype=np.uint8).reshape(1, 11), 11)
    both = packet.frame(packet.concat([two, longer]))
    assert both["payload"].tolist()[2] == bytes(range(4, 8))
    assert both["payload.rest"].dropna().to_dict() == {2: b"\x08\x09\x0a"}
    assert (
        packet.only(["payload.rest"]).concat([longer, longer])["payload.rest"].to_pylist()
        == [b"\x08\x09\x0a"] * 2
    )


def test_bytes_behind_a_struct_are_left_out_of_recordings_under_either_name():
    packet = lane("packet")
    decoded = packet.decode(np.arange(11, dtype=np.uint8).reshape(1, 11), 11)
    assert list(Redaction.parse().stream("events", packet, decoded)) == ["pid"]
