"""What rules make of values: in decoded columns, in the raw bytes of maps, and in tools' frames."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bpf_objects import btf_of

from bpfnb.errors import BadValue, UnknownName
from bpfnb.frames.columns import TEXT
from bpfnb.frames.lane import Lane
from bpfnb.frames.layout import Layout
from bpfnb.recording.redaction import Redaction

SOURCE = """
#include <bpfnb/annotations.h>
struct login { unsigned int uid; char shell[8]; };
struct event {
    ktime_ns_t ts;
    unsigned int pid;
    short nice;
    char comm[16];
    char tag[4];
    ipv4_t saddr;
    ip_t peer;
    ipv6_t daddr;
    mac_t mac;
    errno_t error;
    unsigned int low : 3, mid : 7, high : 6;
    int turned : 5;
    char query[24] SENSITIVE;
    struct login user SENSITIVE;
    union { unsigned long long word; unsigned char bytes[8]; } both;
    unsigned long long secret_or[2];
    float share;
    unsigned int many[71];
    char args[];
};
struct key { unsigned int pid; ipv4_t addr; };
struct value { unsigned long long count; char comm[16]; unsigned int flags : 4, rest : 28; };
struct event event; struct key key; struct value value; ns_t scalar;
"""
KEY = b"a key of 32 bytes, no less, here"
BTF = btf_of(SOURCE)
EVENT = Lane(Layout.of(BTF, BTF.find("event", "struct").id))
PLACE = {column.name: column for column in EVENT.layout.columns}


def records(**fields: list[bytes | int]) -> np.ndarray:
    """Rows of ``struct event`` with these fields, the others zero."""
    count = len(next(iter(fields.values())))
    rows = np.zeros((count, EVENT.size), np.uint8)
    for name, values in fields.items():
        at = PLACE[name]
        for row, value in zip(rows, values, strict=True):
            data = (
                value
                if isinstance(value, bytes)
                else (value % (1 << 8 * at.size)).to_bytes(at.size, "little")
            )
            row[at.offset : at.offset + len(data)] = np.frombuffer(data, np.uint8)
    return rows


def redacted(
    rules: list[str], include: list[str] | None = None, key: bytes | None = KEY, **fields: list[bytes | int]
):
    """The event's columns after the rules, as decoded."""
    out = Redaction.parse(rules, include or (), key).stream(
        "events", EVENT, EVENT.decode(records(**fields), None)
    )
    return {
        name: values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
        for name, values in out.items()
    }


def digest(value: bytes) -> bytes:
    return hmac.new(KEY, value, hashlib.sha256).digest()


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


# Streams


def test_equal_numbers_stay_equal_in_their_own_width() -> None:
    out = redacted(
        ["pid=hash", "nice=hash", "error=hash"], pid=[7, 8, 7], nice=[-5, 3, -5], error=[-2, -2, 1]
    )
    expected = [int.from_bytes(digest(str(n).encode())[:4], "little") for n in (7, 8, 7)]
    assert out["pid"] == expected
    assert out["nice"][0] == out["nice"][2] == struct.unpack("<h", digest(b"-5")[:2])[0]
    assert out["error"][0] == out["error"][1] != out["error"][2]
    plan = Redaction.parse(["pid=hash", "nice=hash"], key=KEY)
    columns = plan.stream("events", EVENT, EVENT.decode(records(pid=[1]), None))
    assert columns["pid"].dtype == np.uint32
    assert columns["nice"].dtype == np.int16


def test_another_key_gives_others_and_none_is_a_random_one() -> None:
    values = [redacted(["pid=hash"], key=key, pid=[7])["pid"] for key in (KEY, KEY[::-1], None, None)]
    assert len({tuple(one) for one in values}) == 4


def test_text_becomes_digits_that_its_field_holds() -> None:
    out = redacted(["comm=hash", "tag=hash"], comm=[b"nginx", b"", b"nginx"], tag=[b"abcd", b"x", b""])
    assert out["comm"] == [digest(b"nginx").hex()[:16], "", digest(b"nginx").hex()[:16]]
    assert out["tag"] == [digest(b"abcd").hex()[:4], digest(b"x").hex()[:4], ""]


def test_bytes_and_lists_keep_their_shape() -> None:
    out = redacted(
        ["mac=hash", "daddr=hash", "many=hash"],
        mac=[b"\1" * 6, b"\1" * 6],
        daddr=[b"\2" * 16, b"\3" * 16],
        pid=[1, 2],
    )
    assert out["mac"] == [digest(b"\1" * 6)[:6]] * 2
    assert out["daddr"] == [digest(b"\2" * 16)[:16], digest(b"\3" * 16)[:16]]
    assert out["many"] == [[int.from_bytes(digest(b"0")[:4], "little")] * 71] * 2


def test_bit_fields_keep_their_bits() -> None:
    flags = PLACE["low"].offset
    rows = records(pid=[1, 2])
    rows[0, flags : flags + 4] = np.frombuffer(
        struct.pack("<I", 5 | 100 << 3 | 33 << 10 | (-7 & 31) << 16), np.uint8
    )
    before = EVENT.decode(rows, None)
    assert [before[name][0] for name in ("low", "mid", "high", "turned")] == [5, 100, 33, -7]
    out = Redaction.parse(["mid=hash", "turned=hash"], key=KEY).stream("events", EVENT, before)
    assert out["mid"][0] == int.from_bytes(digest(b"100")[:8], "little") & 127
    number = int.from_bytes(digest(b"-7")[:8], "little") & 31
    assert out["turned"][0] == (number - 32 if number > 15 else number)
    assert out["low"][0] == 5


@pytest.mark.parametrize(
    ("column", "address", "network"),
    [
        ("saddr", "10.1.2.3", "10.1.2.0"),
        ("saddr", "255.255.255.255", "255.255.255.0"),
        ("peer", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("peer", "::ffff:192.168.7.9", "::ffff:192.168.7.0"),
        ("daddr", "::ffff:192.168.7.9", "::ffff:192.168.7.0"),
        ("daddr", "fe80::1", "fe80::"),
    ],
)  # fmt: skip
def test_masks_keep_networks(column: str, address: str, network: str) -> None:
    out = redacted([f"{column}=mask"], **{column: [packed(address)]})[column]
    value = struct.pack("<I", out[0]) if column == "saddr" else out[0]
    assert ipaddress.ip_address(value) == ipaddress.ip_address(network)


def test_a_mac_address_keeps_its_maker() -> None:
    assert redacted(["mac=mask"], mac=[bytes.fromhex("aabbcc010203")])["mac"] == [
        bytes.fromhex("aabbcc000000")
    ]


def test_what_is_private_is_left_out_unless_it_is_asked_for() -> None:
    out = redacted([], query=[b"select 1"], pid=[1])
    assert {"query", "user.uid", "user.shell"} & out.keys() == set()
    assert {"pid", "comm"} <= out.keys()
    kept = redacted([], ["query"], query=[b"select 1"])
    assert kept["query"] == ["select 1"]
    assert "user.uid" not in kept
    hashed = redacted(["query=hash", "user=hash"], query=[b"select 1"])
    assert hashed["query"] == [digest(b"select 1").hex()[:16]]
    assert "user.shell" in hashed


def test_the_rest_of_a_record() -> None:
    text = b"ls\0-l\0/root"
    rows = np.hstack([records(pid=[1]), np.frombuffer(text, np.uint8).reshape(1, -1)])
    columns = EVENT.decode(rows, np.array([rows.shape[1]], np.uint32))
    assert columns["args"].to_pylist() == ["ls -l /root"]
    assert "args" not in Redaction.parse(key=KEY).stream("events", EVENT, columns)
    assert Redaction.parse(include=["args"]).stream("events", EVENT, columns)["args"].to_pylist() == [
        "ls -l /root"
    ]
    hashed = Redaction.parse(["events.args=hash"], key=KEY).stream("events", EVENT, columns)
    assert hashed["args"].to_pylist() == [digest(b"ls -l /root").hex()[:16]]
    assert Redaction.parse(["other.args=hash"], key=KEY).stream(
        "events", EVENT, columns
    ).keys() == columns.keys() - {"args", "query", "user.uid", "user.shell"}


def test_records_of_no_known_type_are_left_out() -> None:
    lane = Lane(None)
    columns = lane.decode(np.zeros((2, 4), np.uint8), np.array([4, 4], np.uint32))
    assert Redaction.parse().stream("ring", lane, columns) == {}
    assert Redaction.parse(include=["ring.data"]).stream("ring", lane, columns) == columns


def test_what_shares_bytes_with_a_redacted_column_goes_too() -> None:
    assert {"both.bytes", "both.word"} & PLACE.keys(), "a union shows its widest member"
    shown = next(name for name in PLACE if name.startswith("both"))
    others = {name for name in PLACE if name.startswith("both")} - {shown}
    out = redacted([f"{shown}=hash"], pid=[1])
    assert shown in out
    assert not others & out.keys()
    assert redacted(["both=drop"], pid=[1]).keys() & {shown, *others} == set()


def test_an_array_goes_with_its_name_and_one_element_alone() -> None:
    assert {"secret_or.0", "secret_or.1"} & redacted(["secret_or=drop"], pid=[1]).keys() == set()
    assert "secret_or.1" in redacted(["secret_or.0=drop"], pid=[1])
    assert not any(name.startswith("s") for name in redacted(["s*=drop"], pid=[1]))


def test_the_last_rule_counts() -> None:
    assert "pid" in redacted(["pid=drop", "pid=hash"], pid=[1])
    assert "pid" not in redacted(["pid=hash", "p?d=drop"], pid=[1])


# Maps


def map_of(rules: list[str], cpus: int = 1) -> tuple[dict, dict, np.ndarray]:
    layouts = [Layout.of(BTF, BTF.find(name, "struct").id) for name in ("key", "value")]
    keys = np.frombuffer(struct.pack("<I4s", 7, packed("10.1.2.3")) * 2, np.uint8).reshape(2, 8)
    one = struct.pack("<Q16sI4x", 3, b"nginx", 9 | 77 << 4)
    values = np.frombuffer(one * 2 * cpus, np.uint8).reshape(2, -1)
    redaction = Redaction.parse(rules, key=KEY)
    keys, values = redaction.map("seen", *layouts, keys, values)
    assert values.shape == (2, 32 * cpus)
    rows = values.reshape(-1, 32)
    return layouts[0].decode(keys), layouts[1].decode(rows), rows


def test_fields_are_changed_where_they_stand() -> None:
    key, value, rows = map_of(["comm=hash", "addr=mask", "flags=hash", "pid=hash"])
    assert key["pid"].tolist() == [int.from_bytes(digest(b"7")[:4], "little")] * 2
    assert key["addr"].view(np.uint8).reshape(2, 4).tolist() == [[10, 1, 2, 0]] * 2
    assert value["count"].tolist() == [3, 3]
    assert value["comm"].to_pylist() == [digest(b"nginx").hex()[:16]] * 2
    assert value["flags"].tolist() == [int.from_bytes(digest(b"9")[:8], "little") & 15] * 2
    assert value["rest"].tolist() == [77, 77]
    assert not rows[:, 28:].any()


def test_each_cpus_value_is_changed() -> None:
    _, value, rows = map_of(["value.comm=drop", "comm=drop", "rest=drop"], cpus=3)
    assert value["comm"].to_pylist() == [""] * 6
    assert value["rest"].tolist() == [0] * 6
    assert value["flags"].tolist() == [9] * 6
    assert b"nginx" not in rows.tobytes()


def test_scalars_are_called_key_and_value() -> None:
    scalar = Layout.of(BTF, BTF.find("ns_t", "typedef").id)
    rows = np.arange(2, dtype=np.uint64).view(np.uint8).reshape(2, 8)
    keys, values = Redaction.parse(["key=hash", "value=drop"], key=KEY).map("m", scalar, scalar, rows, rows)
    assert keys.view(np.uint64).ravel().tolist() == [
        int.from_bytes(digest(n)[:8], "little") for n in (b"0", b"1")
    ]
    assert not values.any()
    assert rows[1, 0] == 1, "what was read from the kernel is not written to"


# Frames


def test_tools_frames() -> None:
    frame = pd.DataFrame({
        "time": pd.to_datetime([1, 2, 3], utc=True),
        "comm": pd.Categorical(["a", "b", "a"]),
        "pid": np.array([1, 2, 1], np.uint32),
        "peer": pd.array(["10.0.0.77:443", "[2001:db8:1:2::3]:80", "localhost"], TEXT),
        "args": pd.array(["ls -l", "id", ""], TEXT),
        "text": pd.array(["oops", None, "x"], TEXT),
        "stack": pd.Series([["f", "g"], [], ["f"]], dtype=pd.ArrowDtype(pa.list_(pa.string()))),
    })  # fmt: skip
    frame.attrs = {"bpfnb": {"rows": 3}, "bpfnb_columns": {"text": {"sensitive": True}}}
    rules = ["comm=hash", "pid=hash", "peer=mask", "stack=hash"]
    redaction = Redaction.parse(rules, key=KEY)
    redaction.check(frames={"exec": frame})
    out = redaction.frame("exec", frame)
    assert list(out.columns) == ["time", "comm", "pid", "peer", "stack"]
    assert out["comm"].tolist() == [digest(name).hex()[:16] for name in (b"a", b"b", b"a")]
    assert out["pid"].dtype == np.uint32
    assert out["pid"][0] == out["pid"][2] != out["pid"][1]
    assert out["peer"].tolist() == ["10.0.0.0:443", "[2001:db8:1::]:80", "*"]
    assert [list(one) for one in out["stack"]] == [
        [digest(name).hex()[:16] for name in names] for names in ((b"f", b"g"), (), (b"f",))
    ]
    assert out.attrs == frame.attrs
    assert frame["comm"].tolist() == ["a", "b", "a"]
    assert redaction.dropped("exec") == {"args", "text"}


def test_two_names_that_become_one() -> None:
    frame = pd.DataFrame({"host": pd.Categorical(["10.0.0.1", "10.0.0.2", None])})
    out = Redaction.parse(["host=mask"]).frame("t", frame)["host"]
    assert out.cat.categories.tolist() == ["10.0.0.0"]
    assert out.isna().tolist() == [False, False, True]


# What the rules are, and what is said of them


def test_the_manifest_says_what_became_of_each_column() -> None:
    redaction = Redaction.parse(["comm=hash", "saddr=mask", "nice=drop"], ["user.uid"], KEY)
    redaction.check(streams={"events": [EVENT]})
    said = redaction.described()
    assert json.loads(json.dumps(said)) == said
    assert said["columns"] == {
        "events.comm": "hash", "events.saddr": "mask", "events.nice": "drop", "events.query": "left out",
        "events.user.shell": "left out", "events.args": "left out",
    }  # fmt: skip
    assert said["sensitive"] == ["events.user.uid"]
    assert said["rules"] == ["comm=hash", "saddr=mask", "nice=drop"]
    assert said["key"] == "given"
    assert KEY.hex() not in json.dumps(said)
    assert redaction.dropped("events", "event") == {"nice", "query", "user.shell", "args"}


def test_a_rule_that_fits_nothing_names_the_nearest_column() -> None:
    with pytest.raises(UnknownName, match="did you mean comm"):
        Redaction.parse(["com=hash"]).check(streams={"events": [EVENT]})
    with pytest.raises(UnknownName, match=r"event\.comm"):
        Redaction.parse(["event.comm=hash"]).check(streams={"events": [EVENT]})
    with pytest.raises(UnknownName, match="'arg'"):
        Redaction.parse(include=["arg"]).check(streams={"events": [EVENT]})


def test_a_column_may_be_called_as_a_pattern_is_written() -> None:
    frame = pd.DataFrame({"argv[1]": pd.array(["x"], TEXT), "argv1": pd.array(["y"], TEXT)})
    assert list(Redaction.parse(["argv[1]=drop"]).frame("t", frame).columns) == []
    assert list(Redaction.parse(["t.argv[1]=drop"]).frame("t", frame[["argv[1]"]]).columns) == []


@pytest.mark.parametrize("rule", ["comm", "comm=", "=hash", "comm=hush", "ts=hash", "share=hash", "pid=mask"])
def test_rules_that_make_no_sense(rule: str) -> None:
    with pytest.raises(BadValue):
        Redaction.parse([rule]).check(streams={"events": [EVENT]})


def test_a_short_key_is_refused() -> None:
    with pytest.raises(BadValue, match="guessed"):
        Redaction.parse(["pid=hash"], key=b"secret")


def test_tables_of_one_name_keep_their_own_secrets() -> None:
    redaction = Redaction.parse()
    plain = pd.DataFrame({"name": pd.array(["timer"], TEXT), "data": pd.Series([None], dtype=object)})
    asked = plain.copy()
    asked.attrs["bpfnb_columns"] = {"name": {"sensitive": True}}
    assert list(redaction.frame("frame", plain).columns) == ["name"]
    assert list(redaction.frame("frame", asked).columns) == []
    assert list(redaction.frame("frame", plain).columns) == ["name"]
    filled = pd.DataFrame({"data": pd.Series([b"GET /"], dtype=object)})
    assert list(redaction.frame("frame", filled).columns) == []


def test_a_stream_is_named_with_or_without_its_object() -> None:
    for rule in ("pid=drop", "events.pid=drop", "io.events.pid=drop"):
        redaction = Redaction.parse([rule])
        redaction.check(streams={"io.events": [EVENT]})
        assert redaction.described()["columns"]["io.events.pid"] == "drop"
