"""What is put in front of a program in bcc's dialect so that it counts what it loses."""

from __future__ import annotations

import pytest

from bpfnb.bcc.find import module
from bpfnb.bcc.losses import counters, counting, hidden_name
from bpfnb.bcc.scan import scan
from bpfnb.bcc.units import plain, typedefs
from bpfnb.compile.events import Counter
from bpfnb.errors import MissingDependency


@pytest.fixture(autouse=True)
def bcc() -> None:
    try:
        module()
    except MissingDependency as error:
        pytest.skip(error.message)


RING = "BPF_RINGBUF_OUTPUT(events, 8); int f(void *c) { u64 d; events.ringbuf_output(&d, 8, 0); return 0; }"
HASH = "BPF_HASH(h); int f(void *c) { u64 k = 1; h.increment(k); return 0; }"
PERF = "BPF_PERF_OUTPUT(events); int f(void *c) { u64 d; events.perf_submit(c, &d, 8); return 0; }"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BPF_HASH(h); int f(void *c) { u64 k = 1; h.lookup(&k); h.delete(&k); return 0; }",
        "BPF_ARRAY(a, u64, 2); int f(void *c) { int k = 1; a.lookup(&k); return 0; }",
        "BPF_RINGBUF_OUTPUT(events, 8); // events.ringbuf_output(&d, 8, 0)",
        'char text[] = "events.ringbuf_output(";',
    ],
)
def test_programs_that_lose_nothing_stay_as_they_are(text: str) -> None:
    assert counting([scan(text)]) == ""


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (RING, {"BPF_RINGBUF_OUTPUT"}),
        (HASH, {"BPF_F_TABLE", "BPF_QUEUESTACK"}),
        (PERF, {"BPF_PERF_OUTPUT"}),
        (
            RING.replace("events", "ring").replace(" f(", " g(") + PERF,
            {"BPF_RINGBUF_OUTPUT", "BPF_PERF_OUTPUT"},
        ),
    ],
)
def test_only_the_macros_of_tables_that_can_lose_are_changed(text: str, changed: set[str]) -> None:
    front = counting([scan(text)])
    assert front is not None
    again = {line.split()[1] for line in front.splitlines() if line.startswith("#undef")}
    assert again == changed
    assert front.endswith("\n")


def test_headers_of_the_program_count_as_well() -> None:
    main, header = (
        scan("BPF_RINGBUF_OUTPUT(events, 8);"),
        scan("#define SEND(x) events.ringbuf_output(x, 8, 0)"),
    )
    assert counting([main]) == ""
    assert counting([main, header])


@pytest.mark.parametrize(
    "text",
    [
        HASH + '\n__attribute__((section("maps/hash"))) struct own_table_t own;',
        "#define BPF_F_TABLE(a, b, c, d, e, f) nothing\n" + HASH,
        HASH + "BPF_SOCKMAP(socks, 4);",
        HASH + "int g(void *m) { return bpf_map_update_elem(m, 0, 0, 0); }",
        "".join(f"BPF_HASH(h{number}); " for number in range(40)) + HASH,
    ],
)
def test_programs_beside_whose_tables_there_would_be_no_counter_are_left_alone(text: str) -> None:
    assert counting([scan(text)]) is None


def test_counters_are_found_by_name() -> None:
    kinds = {"events": "ringbuf", "h": "hash", "a": "array"}
    hidden = {hidden_name(name): "array" for name in ("events", "h")}
    assert counters([*kinds.items(), *hidden.items()]) == {
        "events": (Counter(hidden_name("events"), 0, "lost"),),
        "h": (Counter(hidden_name("h"), 0, "full"),),
    }


def test_typedefs_are_supplied_where_they_are_named_and_not_defined() -> None:
    text = "struct ev { ns_t a; ipv6_t b; us_t c; ms_t d; };"
    assert typedefs([scan(text)]) == (
        "typedef unsigned char ipv6_t[16]; typedef unsigned long long ms_t; "
        "typedef unsigned long long ns_t; typedef unsigned long long us_t;\n"
    )
    own = scan("typedef u32 ns_t;\n#define us_t u32\n")
    assert "ns_t" not in typedefs([scan("ns_t x; us_t y;"), own])
    assert typedefs([scan("struct ev { u64 a; };")]) == ""


@pytest.mark.parametrize(
    ("field", "known"),
    [("ts#ktime_ns_t", "ts#u64"), ("six#ipv6_t", "six#u8[16]"), ("e#errno_t", "e#int"), ("n#u64", "n#u64")],
)
def test_fields_in_words_that_bccs_python_knows(field: str, known: str) -> None:
    assert plain(field) == known
