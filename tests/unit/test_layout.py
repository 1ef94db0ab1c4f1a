"""Columns, frames and single values of known structs. Random ones are in test_layout_property.py."""

from __future__ import annotations

import errno
import ipaddress
import struct
import time
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bpf_objects import btf_of

from bpfnb.annotations import Annotations
from bpfnb.btf import Btf
from bpfnb.errors import MapTypeError, UnknownName
from bpfnb.frames.layout import Layout, clock_offset
from bpfnb.frames.syscalls import syscall_names

SOURCE = """
#include <bpfnb/annotations.h>
enum state { IDLE, RUNNING = 3, ALSO_RUNNING = 3, DEAD = -1 };
enum wide { SMALL = 2, HUGE = 1ull << 63 };
struct inner { int x; char tag[8]; };
struct event {
    ktime_ns_t ts;
    ns_t latency DESCRIPTION("issue to completion");
    unsigned int pid;
    enum state state;
    char comm[16];
    ipv4_t saddr;
    port_be_t port;
    mac_t mac;
    errno_t error;
    syscall_t nr;
    _Bool ok;
    unsigned char digest[5];
    struct inner in;
    union { int number; unsigned char raw[8]; } u;
    union { int whole; short half; };
    unsigned long long slots[3];
    unsigned int long_one[100];
    ipv6_t daddr;
    char names[2][4];
    enum wide wide;
    void *where;
    float ratio;
    double share;
    int cookie HIDDEN;
    struct inner both[2];
    short grid[2][2];
    unsigned char typed[4] FORMAT(text);
    char rest[];
};
struct event event;
struct simple { unsigned long long ts, latency; unsigned int pid, tid; char comm[16]; unsigned long long more[3]; };
struct simple simple;
struct __attribute__((packed)) tight { unsigned char first : 5; long long nine_bytes : 61; unsigned int three : 20; };
struct tight tight;
struct __attribute__((packed)) odd { unsigned char a : 3; unsigned int b : 17; signed char c : 4; };
struct odd odd;
struct crowd { struct inner many[65]; struct { int a[64]; } wide[20]; struct inner few[2]; };
struct crowd crowd;
struct hidden { struct inner in HIDDEN; int shown; ns_t lap[2] DESCRIPTION("laps"); };
struct hidden hidden;
struct wrong { int x UNIT(parsec); };
struct wrong wrong;
typedef ns_t plain_t;
plain_t one_number UNIT(us);
unsigned int some_numbers[5];
enum state only_state;
char only_text[8];
"""


@pytest.fixture(scope="module")
def btf() -> Btf:
    return btf_of(SOURCE, ["-Wall", "-Werror"])


@pytest.fixture(scope="module")
def event(btf: Btf) -> Layout:
    return Layout.of(btf, btf.find("struct event").id)


EVENT = {
    "ts": 10**12, "latency": 5, "pid": 7, "state": "DEAD", "comm": "bash", "saddr": "10.1.2.3", "port": 443,
    "mac": "aa:bb:cc:dd:ee:ff", "error": "ENOENT", "nr": "getppid", "ok": True, "digest": b"\1\2\3\4\5",
    "in": {"x": -1}, "u": {"raw": b"12345678"}, "whole": 9, "slots": (1, 2, 3), "daddr": "fe80::1",
    "names": ["ab", "cdef"], "wide": "HUGE", "where": 2**64 - 1, "ratio": 1.5, "share": 0.1, "cookie": 77,
    "both": [{"x": 1, "tag": "t"}, (2, "é")], "grid": [[1, -2], [3, -4]], "typed": "hey", "long_one": range(100),
}  # fmt: skip


def rows_of(layout: Layout, *values: object) -> np.ndarray:
    data = b"".join(layout.encode(value) for value in values)
    return np.frombuffer(data, np.uint8).reshape(len(values), layout.size)


def test_columns_stand_in_the_order_of_declaration(event: Layout) -> None:
    assert [column.name for column in event.columns] == [
        "ts", "latency", "pid", "state", "comm", "saddr", "port", "mac", "error", "nr", "ok", "digest", "in.x",
        "in.tag", "u.raw", "whole", "whole|half", "slots.0", "slots.1", "slots.2", "long_one", "daddr", "names.0",
        "names.1", "wide", "where", "ratio", "share", "cookie", "both.0.x", "both.0.tag", "both.1.x", "both.1.tag",
        "grid.0.0", "grid.0.1", "grid.1.0", "grid.1.1", "typed",
    ]  # fmt: skip
    assert event.name == "struct event"
    kinds = {column.name: (column.kind, column.dtype) for column in event.columns}
    assert kinds["ts"] == ("int", "<u8")
    assert kinds["state"] == ("enum", "<i4")
    assert kinds["comm"] == ("text", "S16")
    assert kinds["digest"] == ("bytes", "V5")
    assert kinds["long_one"] == ("list", "(100,)<u4")
    assert kinds["where"] == ("pointer", "<u8")
    assert kinds["ok"] == ("bool", "|b1")


def test_frame_shows_what_the_bytes_mean(event: Layout) -> None:
    unset = {"state": 9, "error": 0, "nr": 100_000, "comm": "", "wide": 5}
    frame = event.frame(event.decode(rows_of(event, EVENT, unset)), clock_offset=1_700_000_000 * 10**9)
    first, second = frame.iloc[0], frame.iloc[1]
    assert first["ts"] == pd.Timestamp("2023-11-14 22:30:00", tz="UTC")
    assert second["ts"] is pd.NaT
    assert frame["ts"].dtype == "datetime64[ns, UTC]"
    assert (first["latency"], frame["latency"].dtype) == (5, np.uint64)
    assert list(frame["state"]) == ["DEAD", "9"]
    assert list(frame["state"].cat.categories) == ["IDLE", "RUNNING", "DEAD", "9"]
    assert list(frame["wide"]) == ["HUGE", "5"]
    assert list(frame["error"]) == ["ENOENT", "0"]
    assert list(frame["nr"]) == ["getppid", "100000"]
    assert len(frame["nr"].cat.categories) == 2
    assert list(frame["comm"]) == ["bash", ""]
    assert frame["comm"].dtype == ("str" if pd.__version__ >= "3" else "string[pyarrow]")
    assert (first["saddr"], first["daddr"], first["mac"]) == ("10.1.2.3", "fe80::1", "aa:bb:cc:dd:ee:ff")
    assert (first["port"], frame["port"].dtype) == (443, np.uint16)
    assert (first["ok"], frame["ok"].dtype) == (True, np.bool_)
    assert first["digest"] == b"\1\2\3\4\5"
    assert (first["in.x"], first["u.raw"], first["whole"]) == (-1, b"12345678", 9)
    assert first["whole|half"] == struct.pack("<i", 9)
    assert [first[f"slots.{i}"] for i in range(3)] == [1, 2, 3]
    assert list(first["long_one"]) == list(range(100))
    assert (first["names.0"], first["names.1"], first["typed"]) == ("ab", "cdef", "hey")
    assert (first["where"], first["ratio"], first["share"]) == (2**64 - 1, 1.5, 0.1)
    assert (first["both.1.x"], first["both.1.tag"]) == (2, "é")
    assert [first[f"grid.{i}.{j}"] for i in (0, 1) for j in (0, 1)] == [1, -2, 3, -4]
    assert "cookie" not in frame
    assert frame.attrs["bpfnb_columns"] == {
        "ts": {"unit": "ns", "format": "timestamp"},
        "latency": {"unit": "ns", "format": "duration", "description": "issue to completion"},
        "saddr": {"format": "ipv4"},
        "port": {"format": "port_be"},
        "mac": {"format": "mac"},
        "error": {"format": "errno"},
        "nr": {"format": "syscall"},
        "daddr": {"format": "ipv6"},
        "typed": {"format": "text"},
    }


def test_raw_and_hidden(event: Layout) -> None:
    decoded = event.decode(rows_of(event, EVENT))
    raw = event.frame(decoded, raw=True).iloc[0]
    assert (raw["ts"], raw["state"], raw["error"], raw["nr"], raw["cookie"]) == (
        10**12,
        -1,
        -2,
        raw["nr"],
        77,
    )
    assert raw["saddr"] == int.from_bytes(bytes([10, 1, 2, 3]), "little")
    assert raw["port"] == int.from_bytes((443).to_bytes(2, "big"), "little")
    hidden = event.frame(decoded, hidden=True).iloc[0]
    assert (hidden["cookie"], hidden["state"]) == (77, "DEAD")


def test_arrow_has_the_same_columns_and_their_meaning(event: Layout) -> None:
    decoded = event.decode(rows_of(event, EVENT, {}))
    batch = event.arrow(decoded, clock_offset=0)
    assert batch.schema.names == list(event.frame(decoded).columns)
    assert batch.schema.field("ts").type == pa.timestamp("ns", "UTC")
    assert batch.schema.field("latency").metadata == {
        b"unit": b"ns", b"format": b"duration", b"description": b"issue to completion"
    }  # fmt: skip
    assert batch.column("state").to_pylist() == ["DEAD", "IDLE"]
    assert batch.column("long_one").type == pa.list_(pa.uint32(), 100)
    assert batch.column("latency").to_numpy().ctypes.data == decoded["latency"].ctypes.data  # not a copy
    assert event.arrow(decoded, raw=True).column("state").to_pylist() == [-1, 0]


def test_a_frame_shares_nothing_with_what_it_was_made_from(event: Layout) -> None:
    rows = rows_of(event, EVENT, {"long_one": range(1, 101)})
    decoded = event.decode(rows)
    before = {name: pa.array(values).to_pylist() for name, values in decoded.items()}
    for raw in (False, True):
        frame = event.frame(decoded, raw=raw)
        for name in frame:
            if isinstance(decoded[name], np.ndarray):
                assert not np.shares_memory(frame[name].to_numpy(), decoded[name])
            if name != "long_one":  # pandas sets no single cell to a list
                frame.iloc[0, frame.columns.get_loc(name)] = frame[name].iloc[1]
        frame["pid"] = 0
        frame.loc[:, "slots.0"] = 0
    assert {name: pa.array(values).to_pylist() for name, values in decoded.items()} == before
    assert all(values.flags.writeable for values in decoded.values() if isinstance(values, np.ndarray))
    assert not any(
        np.shares_memory(values, rows) for values in decoded.values() if isinstance(values, np.ndarray)
    )


def test_no_rows_make_empty_columns_of_the_same_types(event: Layout) -> None:
    empty, one = event.frame(event.concat([])), event.frame(event.decode(rows_of(event, EVENT)))
    assert len(empty) == 0
    assert list(empty.columns) == list(one.columns)
    same = [name for name in one if not isinstance(one[name].dtype, pd.CategoricalDtype)]
    assert list(empty[same].dtypes) == list(one[same].dtypes)
    assert event.arrow(event.concat([])).num_rows == 0


def test_rows_may_be_wider_strided_and_many(btf: Btf) -> None:
    layout = Layout.of(btf, btf.find("struct simple").id)
    many = np.random.default_rng(1).integers(0, 128, (20_000, layout.size + 8), np.uint8)
    decoded = layout.decode(many[::3])
    assert decoded["tid"].tolist() == [int.from_bytes(row[20:24].tobytes(), "little") for row in many[::3]]
    assert decoded["more.2"].tolist() == [int.from_bytes(row[56:64].tobytes(), "little") for row in many[::3]]
    assert decoded["comm"].to_pylist() == [row[24:40].tobytes().split(b"\0")[0].decode() for row in many[::3]]
    backwards = layout.decode(many[:5, ::-1])
    assert backwards["ts"].tolist() == [int.from_bytes(row[::-1][:8].tobytes(), "little") for row in many[:5]]
    with pytest.raises(ValueError, match="rows of 64 bytes"):
        layout.decode(many[:, :63])


@pytest.mark.parametrize("distinct", [3, 5000])
def test_text_is_the_same_whether_it_repeats_or_not(btf: Btf, distinct: int) -> None:
    layout = Layout.of(btf, btf.find("struct simple").id)
    texts = [b"caf\xc3\xa9", b"\xff\xfebad\0rest", b"", *(b"%d\0old" % i for i in range(distinct))]
    rows = np.zeros((5000, layout.size), np.uint8)
    wanted = [texts[i % len(texts)] for i in range(5000)]
    rows[:, 24:40] = np.array(wanted, "S16").view(np.uint8).reshape(5000, 16)
    expected = [text.split(b"\0")[0].decode(errors="replace") for text in wanted]
    comm = layout.decode(rows)["comm"]
    assert comm.type == pa.string()
    assert comm.to_pylist() == expected


def test_bit_fields_that_no_machine_word_covers(btf: Btf) -> None:
    tight, odd = (Layout.of(btf, btf.find(f"struct {name}").id) for name in ("tight", "odd"))
    columns = {column.name: column.bits for column in tight.columns}
    assert columns == {"first": (0, 5), "nine_bytes": (5, 61), "three": (66, 20)}
    value = {"first": 21, "nine_bytes": -(2**60) + 12345, "three": 0xABCDE}
    rows = rows_of(tight, value, {"nine_bytes": -1})
    packed = 21 | (value["nine_bytes"] % 2**61) << 5 | 0xABCDE << 66
    assert rows[0].tobytes() == packed.to_bytes(tight.size, "little")
    decoded = tight.decode(rows)
    assert {name: values.tolist() for name, values in decoded.items()} == {
        "first": [21, 0], "nine_bytes": [value["nine_bytes"], -1], "three": [0xABCDE, 0]
    }  # fmt: skip
    assert odd.size == 3
    small = {"a": 5, "b": 0x1ABCD, "c": -8}
    assert odd.encode(small) == (5 | 0x1ABCD << 3 | 8 << 20).to_bytes(3, "little")
    assert {name: values.tolist() for name, values in odd.decode(rows_of(odd, small)).items()} == {
        "a": [5], "b": [0x1ABCD], "c": [-8]
    }  # fmt: skip


def test_arrays_of_structs_stay_bytes_when_they_would_flood_the_table(btf: Btf) -> None:
    columns = {column.name: column for column in Layout.of(btf, btf.find("struct crowd").id).columns}
    assert (columns["many"].kind, columns["many"].size) == ("bytes", 65 * 12)
    assert (columns["wide"].kind, columns["wide"].size) == ("bytes", 20 * 256)
    assert "few.1.tag" in columns
    assert len(columns) == 6


def test_annotations_reach_nested_fields(btf: Btf) -> None:
    layout = Layout.of(btf, btf.find("struct hidden").id)
    frame = layout.frame(layout.decode(rows_of(layout, {"shown": 1, "lap": (3, 4)})))
    assert list(frame.columns) == ["shown", "lap.0", "lap.1"]
    assert frame.attrs["bpfnb_columns"]["lap.1"] == {
        "unit": "ns",
        "format": "duration",
        "description": "laps",
    }
    with pytest.raises(UnknownName, match="parsec"):
        Layout.of(btf, btf.find("struct wrong").id)


def test_scalars_arrays_and_variables_are_one_column(btf: Btf) -> None:
    number = Layout.of(btf, btf.find("one_number", "var").id)
    assert (number.name, number.size, [column.name for column in number.columns]) == ("plain_t", 8, [""])
    assert number.columns[0].annotations == Annotations(unit="us", format="duration")
    assert number.decode(rows_of(number, 4, 5))[""].tolist() == [4, 5]
    several = Layout.of(btf, btf.find("some_numbers", "var").id)
    assert several.decode(rows_of(several, [1, 2, 3, 4, 5]))[""].to_pylist() == [[1, 2, 3, 4, 5]]
    state = Layout.of(btf, btf.find("only_state", "var").id)
    assert list(state.frame(state.decode(rows_of(state, "DEAD", 3)))[""]) == ["DEAD", "RUNNING"]
    text = Layout.of(btf, btf.find("only_text", "var").id)
    assert text.decode(rows_of(text, "hello"))[""].to_pylist() == ["hello"]
    outer = Layout.of(btf, btf.find("unsigned int").id, Annotations(unit="bytes"))
    assert outer.frame(outer.decode(rows_of(outer, 1))).attrs["bpfnb_columns"] == {"": {"unit": "bytes"}}


def test_one_value_to_python_and_back(event: Layout) -> None:
    data = event.encode(EVENT)
    value = event.decode_one(data)
    assert event.encode(value) == data
    assert value["state"] == "DEAD"
    assert (value["comm"], value["saddr"], value["port"]) == ("bash", "10.1.2.3", 443)
    assert value["error"] == -errno.ENOENT
    assert value["both"] == [{"x": 1, "tag": "t"}, {"x": 2, "tag": "é"}]
    assert value["u"] == {"number": int.from_bytes(b"1234", "little"), "raw": b"12345678"}
    assert (value["whole"], value["half"]) == (9, 9)
    assert event.encode(data) == data
    with pytest.raises(MapTypeError, match=r"takes \d+ bytes, not 3"):
        event.decode_one(b"abc")


def test_structs_take_mappings_tuples_and_dataclasses(btf: Btf) -> None:
    inner = Layout.of(btf, btf.find("struct inner").id)

    @dataclass
    class Inner:
        x: int
        tag: str

    pair = namedtuple("pair", "tag x")  # noqa: PYI024
    wanted = struct.pack("<i8s", -5, b"ab")
    for value in (
        {"x": -5, "tag": "ab"},
        {"tag": b"ab", "x": np.int64(-5)},
        (-5, "ab"),
        Inner(-5, "ab"),
        pair("ab", -5),
    ):
        assert inner.encode(value) == wanted
    assert inner.encode({}) == bytes(12)


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        ({"ts": -1}, "ts (ktime_ns_t) takes 0 to 18446744073709551615, not -1", ""),
        ({"tss": 1}, "struct event has no field 'tss'", "Did you mean ts?"),
        ({"comm": "x" * 17}, "comm (char[16]) takes at most 16 bytes of text", ""),
        ({"comm": 5}, "comm (char[16]) takes text or bytes of 16, not 5", ""),
        ({"state": "RUNING"}, "state (enum state) takes a known name or a number, not 'RUNING'", "Did you mean RUNNING?"),
        ({"pid": 1.5}, "pid (unsigned int) takes a whole number, not 1.5", ""),
        ({"pid": 2**32}, "pid (unsigned int) takes 0 to 4294967295", ""),
        ({"in": {"x": "q"}}, "in.x (int) takes a number, not 'q'", ""),
        ({"in": {"x": -(2**31) - 1}}, "in.x (int) takes -2147483648 to 2147483647", ""),
        ({"both": [{}, {"tag": "123456789"}]}, "both.1.tag (char[8]) takes at most 8 bytes", ""),
        ({"slots": [1]}, "slots (unsigned long long[3]) takes a list of 3, not [1]", ""),
        ({"digest": b"12"}, "digest (unsigned char[5]) takes bytes of 5, not b'12'", ""),
        ({"saddr": "1.2.3"}, "saddr takes an address (ipv4), not '1.2.3'", ""),
        ({"mac": "aa:bb"}, "mac takes an address (mac), not 'aa:bb'", ""),
        ({"error": "ENOENTT"}, "error (errno_t) takes a known name or a number", "Did you mean ENOENT?"),
        ({"ok": 2}, "ok (_Bool) takes 0 to 1, not 2", ""),
        ({"share": "much"}, "share (double) takes a number, not 'much'", ""),
        ((1, 2), "struct event takes its 27 fields in order", ""),
        (5, "struct event takes a dict of its fields", ""),
        (b"short", "struct event takes a dict of its fields", ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(event: Layout, value: object, message: str, hint: str) -> None:
    with pytest.raises(MapTypeError) as caught:
        event.encode(value)
    assert message in caught.value.message
    assert hint in " ".join(caught.value.hints)


def test_clock_offset_turns_monotonic_into_wall_clock(btf: Btf) -> None:
    offset = clock_offset()
    assert offset == clock_offset()
    assert abs(time.monotonic_ns() + offset - time.time_ns()) < 5_000_000
    layout = Layout.of(btf, btf.find("struct event").id)
    decoded = layout.decode(rows_of(layout, {"ts": time.monotonic_ns()}))
    shown = layout.frame(decoded)["ts"].iloc[0]
    assert abs(shown - pd.Timestamp.now("UTC")) < pd.Timedelta(seconds=5)


def test_addresses_at_random_are_what_ipaddress_says(btf: Btf) -> None:
    layout = Layout.of(btf, btf.find("struct event").id)
    rows = np.random.default_rng(2).integers(0, 256, (200, layout.size), np.uint8)
    rows[:50, layout.columns[21].offset :][:, :10] = 0
    frame = layout.frame(layout.decode(rows))
    for name, kind in (("saddr", ipaddress.IPv4Address), ("daddr", ipaddress.IPv6Address)):
        at = next(column for column in layout.columns if column.name == name)
        wanted = [kind(row[at.offset : at.offset + at.size].tobytes()) for row in rows]
        assert [kind(text) for text in frame[name]] == wanted


def test_an_address_of_either_family_is_written_as_its_own() -> None:
    btf = btf_of("#include <bpfnb/annotations.h>\nstruct peer { ip_t a, b, c; } peer;")
    layout = Layout.of(btf, btf.find("struct peer").id)
    value = {"a": "10.1.2.3", "b": "fe80::1", "c": "::ffff:1234"}
    assert layout.encode(value)[:16] == ipaddress.IPv6Address("::ffff:10.1.2.3").packed
    frame = layout.frame(layout.decode(rows_of(layout, value)))
    assert ipaddress.ip_address(frame["c"].iloc[0]) == ipaddress.IPv6Address("::ffff:1234")
    assert frame[["a", "b"]].iloc[0].tolist() == ["10.1.2.3", "fe80::1"]
    assert layout.decode_one(layout.encode(value))["a"] == "10.1.2.3"


def test_system_calls_have_the_names_of_their_architecture() -> None:
    assert {n: syscall_names("x86_64")[n] for n in (0, 59, 110, 334, 424, 435)} == {
        0: "read", 59: "execve", 110: "getppid", 334: "rseq", 424: "pidfd_send_signal", 435: "clone3"
    }  # fmt: skip
    assert {n: syscall_names("aarch64")[n] for n in (63, 173, 221, 293, 435)} == {
        63: "read", 173: "getppid", 221: "execve", 293: "rseq", 435: "clone3"
    }  # fmt: skip
    assert syscall_names("pdp11") == {}
