"""Annotations from the C macros and typedefs of annotations.h, through clang and BTF, to what Python knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bpf_objects import INCLUDE, btf_of

from bpfnb.annotations import FORMATS, NONE, TYPEDEFS, UNITS, VIEWS, Annotations, check, of, of_type, parse
from bpfnb.btf import Btf, Composite
from bpfnb.compile import vmlinux_h
from bpfnb.errors import UnknownName

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
        ("bpfnb:formt=ipv4", "bpfnb: knows no key 'formt'", "Did you mean format?"),
    ],
)
def test_unknown_words_name_the_nearest_known(tag: str, message: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        parse([tag])
    assert message in caught.value.message
    assert hint in caught.value.hints[0]


def test_parse_ignores_foreign_tags_and_prefers_tags_to_typedefs() -> None:
    assert parse(["user", "other:unit=furlong"]) == NONE
    assert parse(["bpfnb:unit=us"], ["ns_t", "u64"]) == Annotations(unit="us", format="duration")
    assert parse([], ["my_t", "ipv4_t"]).format == "ipv4"
    assert parse(["bpfnb:view=hist, linear, us"]).view == ("hist", "linear", "us")
    assert all(parse([f"bpfnb:view={view}"]).view == (view,) for view in VIEWS)


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


def test_plain_values_for_frames() -> None:
    stated = parse(["bpfnb:unit=ns", "bpfnb:description=why", "bpfnb:hidden", "bpfnb:view=hist,log2"])
    assert stated.to_dict() == {"unit": "ns", "description": "why", "view": ["hist", "log2"]}
    assert NONE.to_dict() == {}
