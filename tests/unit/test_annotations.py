"""Annotations from the C macros and typedefs of annotations.h, through clang and BTF, to what Python knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bpf_objects import INCLUDE, btf_of

from bpfnb.annotations import FORMATS, NONE, TYPEDEFS, UNITS, VIEWS, Annotations, check, of, of_type, parse
from bpfnb.btf import Btf, Composite
from bpfnb.compile import vmlinux_h
from bpfnb.errors import BadValue, UnknownName

VMLINUX = Path("/sys/kernel/btf/vmlinux")
has_btf = pytest.mark.skipif(not VMLINUX.exists(), reason="this kernel has no BTF")

SOURCE = """
#include <bpfnb/annotations.h>
struct event {
    ktime_ns_t ts;
    ns_t latency DESCRIPTION("from issue " "to completion, with \\"quotes\\"");
    unsigned int queue UNIT(packets);
    ipv4_t saddr DESCRIPTION("who");
    int cookie HIDDEN;
    us_t overridden UNIT(ms);
    int plain __attribute__((btf_decl_tag("someone:else=1")));
};
struct { int (*type)[1]; ns_t *value; } latency __attribute__((section(".maps"))) UNIT(ns) VIEW(hist, log2);
struct event event;
"""

EVERYTHING = "".join(f"{name} field_{name}; " for name in TYPEDEFS)


def member(btf: Btf, name: str) -> Annotations:
    event = btf.find("event", "struct")
    assert isinstance(event, Composite)
    index = [m.name for m in event.members].index(name)
    return of(btf, event.id, index).over(of_type(btf, event.members[index].type))


def test_fields_say_what_their_macros_and_typedefs_say() -> None:
    btf = btf_of(SOURCE, ["-Wall", "-Werror"])
    assert check(btf) == []
    assert member(btf, "ts") == Annotations(unit="ns", format="timestamp")
    assert member(btf, "latency") == Annotations(
        unit="ns", format="duration", description='from issue to completion, with "quotes"'
    )
    assert member(btf, "queue") == Annotations(unit="packets")
    assert member(btf, "saddr") == Annotations(format="ipv4", description="who")
    assert member(btf, "cookie") == Annotations(hidden=True)
    assert member(btf, "overridden").unit == "ms"
    assert member(btf, "plain") == NONE
    assert not member(btf, "plain")
    assert of(btf, btf.find("latency", "var").id) == Annotations(unit="ns", view=("hist", "log2"))


def test_the_header_and_the_tables_agree() -> None:
    text = (INCLUDE / "bpfnb" / "annotations.h").read_text()
    assert set(re.findall(r"typedef .*?(\w+_t)\b(?:\[\d+\])?;", text)) == set(TYPEDEFS)
    for macro, known in (("UNIT", UNITS), ("FORMAT", FORMATS)):
        [listed] = re.findall(rf"/\* [^*]*: ([^*]*)\. \*/\n#define {macro}\(", text)
        assert listed.split(", ") == list(known)
    btf = btf_of(
        f"#include <bpfnb/annotations.h>\nstruct everything_here {{ {EVERYTHING} }}; struct everything_here everything_there;"
    )
    for name, stated in TYPEDEFS.items():
        sizes = FORMATS[stated.format or ""]
        assert btf.size(btf.find(name).id) in sizes, name
        assert stated.unit is None or stated.unit in UNITS


@has_btf
def test_the_header_lives_beside_the_kernels_own_types() -> None:
    directory = vmlinux_h(VMLINUX).parent
    for first, second in (("vmlinux.h", "bpfnb/annotations.h"), ("bpfnb/annotations.h", "vmlinux.h")):
        source = f'#include "{first}"\n#include "{second}"\n#include <bpfnb/annotations.h>\n'
        btf = btf_of(
            f"{source}struct everything_here {{ u32 own; {EVERYTHING} }}; struct everything_here everything_there;",
            [f"-I{directory}"],
        )
        assert btf.size(btf.find("everything_here", "struct").id) > 0
    kernel = Btf.kernel()
    assert not set(TYPEDEFS) & set(kernel.names("typedef"))


@pytest.mark.parametrize(
    ("tag", "message", "hint"),
    [
        ("bpfnb:unit=nss", "UNIT knows no unit 'nss'", "Did you mean ns?"),
        ("bpfnb:unit=HZ", "UNIT knows no unit 'HZ'", "Did you mean Hz?"),
        ("bpfnb:format=ipv5", "FORMAT knows no format 'ipv5'", "Did you mean ipv"),
        ("bpfnb:view=histogram", "VIEW knows no view 'histogram'", "Did you mean hist?"),
        (
            "bpfnb:view=hist, log3",
            "VIEW(hist, ...) knows no option of the view hist 'log3'",
            "Did you mean log2?",
        ),
        ("bpfnb:view=table, ns", "VIEW(table, ...) knows no option of the view table 'ns'", "It takes none."),
        (
            "bpfnb:view=hist, colum=latency",
            "VIEW(hist, ...) knows no option of the view hist 'colum='",
            "Did you mean column=?",
        ),
        ("bpfnb:formt=ipv4", "bpfnb: knows no key 'formt'", "Did you mean format?"),
    ],
)
def test_unknown_words_name_the_nearest_known(tag: str, message: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        parse([tag])
    assert message in caught.value.message
    assert hint in caught.value.hints[0]


def test_the_lowest_slot_is_a_number() -> None:
    with pytest.raises(BadValue, match=r"first= takes a whole number, not low"):
        parse(["bpfnb:view=hist, first=low"])


def test_parse_ignores_foreign_tags_and_prefers_tags_to_typedefs() -> None:
    assert parse(["user", "other:unit=furlong"]) == NONE
    assert parse(["bpfnb:unit=us"], ["ns_t", "u64"]) == Annotations(unit="us", format="duration")
    assert parse([], ["my_t", "ipv4_t"]).format == "ipv4"
    assert parse(["bpfnb:view=hist, linear, us"]).view == ("hist", "linear", "us")
    assert parse(["bpfnb:view=hist, column = latency"]).view == ("hist", "column=latency")
    assert parse(["bpfnb:view=hist, log2, first=-1"]).view == ("hist", "log2", "first=-1")
    assert all(parse([f"bpfnb:view={view}"]).view == (view,) for view in VIEWS)


def test_a_range_is_two_numbers_as_c_writes_them() -> None:
    assert parse(["bpfnb:range=0,1000"]).range == (0, 1000)
    assert parse(["bpfnb:range=-0x10, 0xffffffffffffffffULL"]).range == (-16, 2**64 - 1)
    assert parse(["bpfnb:range=-1.5,1e6"]).range == (-1.5, 1e6)
    for wrong in ("1000,0", "1", "1,2,3", "a,b", "5,5", "1 << 3,9"):
        with pytest.raises(BadValue, match="two numbers, the smaller first"):
            parse([f"bpfnb:range={wrong}"])


def test_check_names_every_mistake_and_its_place() -> None:
    btf = btf_of("""
#include <bpfnb/annotations.h>
struct event {
    unsigned int a UNIT(nss);
    unsigned short b FORMAT(ipv4);
    struct { int x; } c UNIT(ns);
    unsigned int right[4] FORMAT(ipv4);
    unsigned int six[4] FORMAT(ipv6);
};
struct event event;
typedef unsigned long long mine __attribute__((btf_decl_tag("bpfnb:colour=red")));
mine used;
struct { int (*type)[1]; } counts __attribute__((section(".maps"))) VIEW(hst) FORMAT(ipv4);
__attribute__((section("socket"))) int program(void *ctx UNIT(ns)) { return (int)used + event.a; }
""")
    problems = dict(check(btf))
    assert problems.keys() == {"struct event.a", "struct event.b", "struct event.c", "mine", "counts"}
    assert problems["struct event.a"] == "UNIT knows no unit 'nss'. Did you mean ns?"
    assert problems["struct event.b"] == "FORMAT(ipv4) is for values of 4 bytes; unsigned short has 2."
    assert problems["struct event.c"].startswith("UNIT(ns) is for numbers")
    assert problems["mine"].startswith("bpfnb: knows no key 'colour'.")
    assert problems["counts"] == "VIEW knows no view 'hst'. Did you mean hist?"


def test_ranges_and_the_columns_of_views_are_checked_against_the_types() -> None:
    source = """
#include <bpfnb/annotations.h>
#define MOST 1000
struct event { unsigned long long latency; char comm[16]; struct { int low; } deep; };
struct pair { int pid; int uid; };
struct { int (*type)[27]; } events __attribute__((section(".maps"))) VIEW(hist, column=latncy);
struct { int (*type)[27]; } good __attribute__((section(".maps"))) VIEW(hist, column=latency, by=comm);
struct { int (*type)[27]; } nested __attribute__((section(".maps"))) VIEW(heatmap, column=deep.low);
struct { int (*type)[27]; } vague __attribute__((section(".maps"))) VIEW(heatmap, log2);
struct { int (*type)[1]; struct pair *key; unsigned *value; } flames __attribute__((section(".maps"))) VIEW(flamegraph, stack=pid, stacks=stcks);
struct { int (*type)[27]; } unknown __attribute__((section(".maps"))) VIEW(hist, column=whatever);
struct { int (*type)[1]; struct pair *key; unsigned *value; } map __attribute__((section(".maps"))) VIEW(servicemap, source=pid, target=ppid);
struct { int (*type)[1]; struct pair *key; struct pair *value; } twice __attribute__((section(".maps"))) VIEW(hist, column=value_uid);
struct { int (*type)[1]; unsigned *key; unsigned *value; } plain __attribute__((section(".maps"))) VIEW(timeseries, column=value, by=key);
volatile unsigned char fine RANGE(0, 255), wide RANGE(0, 256), below RANGE(-1, 5), part RANGE(0, 1.5);
volatile int named RANGE(-MOST, MOST), turned RANGE(5, 1);
volatile float real RANGE(-1.5, 1e3);
volatile _Bool flag RANGE(0, 1);
struct event event;
"""
    btf = btf_of(source, ["-Wno-everything"])
    event = btf.find("event", "struct").id
    problems = dict(check(btf, {"events": [event], "good": [event], "nested": [event], "vague": [event]}))
    assert problems.keys() == {"events", "vague", "flames", "map", "wide", "below", "part", "turned", "flag"}
    assert problems["events"] == (
        "VIEW(hist, ...) names the column 'latncy', which is not there. Did you mean latency?"
    )
    assert problems["vague"].endswith("of which column: VIEW(heatmap, column=latency).")
    assert problems["flames"] == "VIEW(flamegraph, ...) names the map 'stcks', which is not there."
    assert problems["map"].endswith("'ppid', which is not there. Did you mean pid?")
    assert problems["wide"] == "RANGE(0, 256) is more than volatile unsigned char holds."
    assert problems["below"] == "RANGE(-1, 5) is more than volatile unsigned char holds."
    assert "has a fraction" in problems["part"]
    assert problems["turned"] == "RANGE takes two numbers, the smaller first, not (5,1)."
    assert "is for numbers; this is volatile" in problems["flag"]
    assert of(btf, btf.find("named", "var").id).range == (-1000, 1000)
    assert of(btf, btf.find("real", "var").id).range == (-1.5, 1e3)


def test_plain_values_for_frames() -> None:
    stated = parse(["bpfnb:unit=ns", "bpfnb:description=why", "bpfnb:hidden", "bpfnb:view=hist,log2"])
    assert stated.to_dict() == {"unit": "ns", "description": "why", "view": ["hist", "log2"]}
    assert NONE.to_dict() == {}
