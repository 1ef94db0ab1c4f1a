"""The controls of an object's panel: which one a variable gets, what it covers, what it takes."""

from __future__ import annotations

import math

import pytest
from bpf_objects import btf_of

from bpfnb.errors import BadValue
from bpfnb.views.objectpanel.controls import Bounds, Control, controls

BTF = btf_of("""
#include <bpfnb/annotations.h>
enum mode { QUIET = 0, LOUD = 7 };
struct limits { unsigned low; short high; };
const volatile unsigned int wanted = 1;
volatile unsigned long long seen = 0;
volatile int offset = -5;
volatile unsigned char small = 1;
volatile signed char tiny = 1;
volatile enum mode mode = LOUD;
volatile _Bool enabled = 1;
volatile char label[8] = "abc";
volatile unsigned char raw[8] = {1};
volatile struct limits limits = {1, -2};
volatile unsigned short table[3] = {1, 2, 3};
volatile double real = 0.5;
volatile float single = 0.1;
volatile ns_t slow DESCRIPTION("the least that counts") = 0;
volatile bytes_t most = 0;
volatile port_t port = 80;
volatile ipv4_t host = 0;
volatile mac_t mac = {1};
volatile unsigned long long bounded RANGE(10, 20) = 0;
volatile unsigned long long secret HIDDEN = 0;
""")
ALL = {control.name: control for control in controls(BTF)}


def test_every_variable_has_the_control_of_its_type() -> None:
    assert {name: control.kind for name, control in ALL.items()} == {
        "seen": "slider",
        "offset": "slider",
        "small": "slider",
        "tiny": "slider",
        "mode": "choice",
        "enabled": "switch",
        "label": "text",
        "raw": "fixed",
        "limits": "fixed",
        "table": "fixed",
        "real": "slider",
        "single": "slider",
        "slow": "slider",
        "most": "slider",
        "port": "number",
        "host": "text",
        "mac": "text",
        "bounded": "slider",
        "wanted": "fixed",
    }
    assert list(ALL)[:3] == ["seen", "offset", "small"], "as declared"
    assert list(ALL)[-1] == "wanted", "constants last"
    assert ALL["wanted"].constant
    assert ALL["mode"].choices == ("QUIET", "LOUD")
    assert (ALL["slow"].unit, ALL["slow"].type) == ("ns", "ns_t")
    assert ALL["slow"].description == "the least that counts"
    assert (ALL["offset"].type, ALL["limits"].type) == ("int", "struct limits")


@pytest.mark.parametrize(
    ("name", "value", "low", "high", "step"),
    [
        ("seen", 0, 0, 100, 1),
        ("seen", 50, 0, 500, 1),
        ("seen", 3000, 0, 50_000, 50),
        ("offset", -5, -50, 50, 1),
        ("offset", 2**31 - 1, -(2**31), 2**31 - 1, 2_000_000),
        ("small", 200, 0, 255, 1),
        ("tiny", 1, -128, 127, 1),
        ("real", 0.0, 0, 1, 0.001),
        ("real", 0.5, 0, 5, 0.005),
        ("real", -20.0, -200, 200, 0.2),
        ("slow", 0, 0, 1_000_000, 1000),
        ("most", 0, 0, 1 << 20, 1000),
        ("bounded", 0, 10, 20, 1),
    ],
)
def test_a_slider_covers_what_is_sensible(name, value, low, high, step) -> None:
    assert ALL[name].bounds(value) == Bounds(low, high, step)


def test_a_slider_that_would_not_be_exact_is_none() -> None:
    assert ALL["seen"].bounds(2**64 - 1) is None
    assert ALL["real"].bounds(math.inf) is None
    assert ALL["real"].bounds(math.nan) is None
    assert ALL["mode"].bounds(7) is None
    huge = Control("x", "slider", "u64", low=0, high=2**64 - 1, stated=(0, 2**60))
    assert huge.bounds(5) is None


def test_a_slider_keeps_its_ends_until_the_value_leaves_them() -> None:
    first = ALL["seen"].bounds(50)
    assert ALL["seen"].bounds(499, first) == first
    assert ALL["seen"].bounds(501, first) == Bounds(0, 10_000, 10)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seen", "18446744073709551615", 2**64 - 1),
        ("seen", " 0x10 ", 16),
        ("seen", "1_000", 1000),
        ("seen", "1,000", 1000),
        ("seen", "10ULL", 10),
        ("seen", "1e6", 1_000_000),
        ("seen", "9007199254740993", 2**53 + 1),
        ("offset", "-7", -7),
        ("slow", "1.5 ms", 1_500_000),
        ("slow", "2s", 2_000_000_000),
        ("slow", "3 µs", 3000),
        ("slow", "250", 250),
        ("most", "4 KiB", 4096),
        ("most", "1.5MiB", 3 << 19),
        ("real", "0.1", 0.1),
        ("real", "1e-3", 0.001),
        ("real", "inf", math.inf),
        ("enabled", True, True),
        ("enabled", False, False),
        ("label", "1e6", "1e6"),
        ("host", "10.0.0.1", "10.0.0.1"),
        ("mode", "LOUD", "LOUD"),
    ],
)
def test_what_a_person_enters_is_taken_exactly(name, text, value) -> None:
    found = ALL[name].parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("seen", "many", "'many' is no number"),
        ("seen", "", "'' is no number"),
        ("seen", "1.5", "'1.5' is no whole number"),
        ("seen", "5 ms", "'5 ms' is no number"),
        ("slow", "1.5", "'1.5' is no whole number of ns"),
        ("slow", "5 parsecs", "'5 parsecs' is no number, like 1.5 ms"),
        ("seen", "inf", "'inf' is no whole number"),
    ],
)
def test_what_is_no_value_is_refused_with_the_reason(name, text, said) -> None:
    with pytest.raises(BadValue) as caught:
        ALL[name].parse(text)
    assert caught.value.message == said


def test_values_are_shown_as_they_are_entered() -> None:
    assert ALL["seen"].text(2**64 - 1) == "18446744073709551615"
    assert ALL["single"].text(0.10000000149011612) == "0.1"
    assert ALL["real"].text(0.1) == "0.1"
    assert ALL["enabled"].text(True) == "true"
    assert ALL["slow"].said(1_500_000) == "1.5 ms"
    assert ALL["slow"].said(5) == "", "nothing more than the value and its unit"
    assert ALL["seen"].said(5) == ""
