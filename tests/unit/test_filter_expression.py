"""Filters: how they are read, what C they become, and where mistakes are."""

from __future__ import annotations

import fnmatch
import itertools
import random

import pytest

from bpfnb.errors import BadValue, BpfnbError, UnknownName
from bpfnb.tools.expression import names, parse
from bpfnb.tools.filter_c import Operand, compile_filter

FIELDS = {
    "pid": Operand("PID"),
    "size": Operand("SIZE", signed=False),
    "state": Operand("STATE", symbols={"IDLE": 0, "BUSY": 7}),
    "comm": Operand("COMM", 16),
    "path": Operand("PATH", 64),
    "req->fd": Operand("FD", there="HAVE_FD"),
    "*out": Operand("OUT", there="HAVE_OUT"),
}


def c(expression: str) -> str:
    return compile_filter(expression, FIELDS, "x:y").condition


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a == 1 || b == 2 && c == 3", "((a == 1) || ((b == 2) && (c == 3)))"),
        ("(a == 1 || b == 2) && c == 3", "(((a == 1) || (b == 2)) && (c == 3))"),
        ("!a == 1", "(! (a == 1))"),  # as with `not`: C would invert a first, which nobody means
        ("!a && b", "((! a) && b)"),
        ("a << 1 + 2 | b ^ c & 0x10", "((a << (1 + 2)) | (b ^ (c & 16)))"),
        ("a - 1 - 2 > -3", "(((a - 1) - 2) > (- 3))"),
        ("(flags & 4) == 4", "((flags & 4) == 4)"),
        ("~a == 0xff", "((~ a) == 255)"),
        ("comm ~ 'x*' || comm !~ \"y\"", "((comm ~ 'x*') || (comm !~ 'y'))"),
        (r'comm == "a\"b\n"', "(comm == 'a\"b\\n')"),
        ("18446744073709551615 > a", "(18446744073709551615 > a)"),
        ("a == 1 or not b == 2 and c", "((a == 1) || ((! (b == 2)) && c))"),
        ("a + 2 * 3 * b", "(a + ((2 * 3) * b))"),
        ("req -> conn.fd == argv[ 1 ]", "(req->conn.fd == argv[1])"),
        ("a.and && p->or[2].not", "(a.and && p->or[2].not)"),
        ("2 * **p->q > -*r", "((2 * **p->q) > (- *r))"),
    ],
)
def test_trees(text, tree):
    assert str(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "it is empty"),
        ("pid ==", 7, "a field or a value is missing"),
        ("pid == && comm", 8, "missing before '&&'"),
        ("pid = 3", 5, "write '=='"),
        ("(pid == 3", 10, "parenthesis of column 1"),
        ("pid == 3)", 9, "')' is one too many"),
        ("pid == 3 4", 10, "'4' is one too many"),
        ("pid == 12abc", 8, "'12abc' is no whole number"),
        ("pid == 1.5", 8, "'1.5' is no whole number"),
        ("pid == 0x", 8, "'0x' is no whole number"),
        ("pid == 18446744073709551616", 8, "more than 64 bits"),
        ("comm == 'x", 9, "does not end"),
        ("pid & 4 == 4", 5, "needs parentheses"),
        ("1 == 2 == 3", 8, "'==' follows '=='"),
        ("pid == $x", 8, "'$' has no meaning"),
        ("pid and or comm", 9, "missing before '||'"),
        ("req-> == 1", 4, "'->' is followed by a member's name"),
        ("argv[pid] == 1", 5, "'[' is followed by the number"),
        ("argv[1 == 1", 8, "bracket of column 5 is not closed"),
        ("*3 == 1", 1, "'*' stands before a field"),
        ("pid / 2 == 1", 5, "'/' has no meaning"),
        ("pid; return 0", 4, "';' has no meaning"),
        ("(" * 60 + "pid" + ")" * 60, 52, "more than 50 levels"),
        ("comm", 1, "neither true nor false"),
        ("comm == 3", 9, "'comm' is a text and '3' is not"),
        ("comm > 'x'", 6, "texts have no '>'"),
        ("pid ~ 'x'", 1, "takes a field of text"),
        ("comm ~ pid", 8, "takes a pattern in quotes"),
        ("comm == 'sixteen-letters!'", 9, "of 'comm' at most 15 bytes"),
        ("pid == 'x'", 8, "'pid' is a number"),
        ("state == 'LAZY'", 10, "'state' is a number"),
        ("(pid == 1) + 2 == 3", 6, "no number"),
        ("pid == BUSY", 8, "another field than its own"),
        ("comm ~ '" + "x" * 63 + "'", 8, "at most 62 characters"),
    ],
)
def test_mistakes_are_shown_at_their_column(text, column, said):
    with pytest.raises(BadValue) as caught:
        compile_filter(text, FIELDS, "x:y")
    assert said in caught.value.message
    assert (caught.value.where.line, caught.value.where.column) == (1, column)
    assert text[:70] in caught.value.render() or len(text) > 70 or not text


@pytest.mark.parametrize(
    ("text", "column", "near"),
    [
        ("pidd == 3", 1, "pid"),
        ("pid == 1 && !(sise > 2)", 15, "size"),
        ("state == BUSSY", 10, "BUSY"),
        ("paht ~ 'x'", 1, "path"),
        ("'x' == com", 8, "comm"),
        ("pid == 1 or req->df == 2", 13, "req->fd"),
    ],
)
def test_unknown_names_have_the_nearest(text, column, near):
    with pytest.raises(UnknownName) as caught:
        compile_filter(text, FIELDS, "x:y")
    assert caught.value.where.column == column
    assert near in caught.value.hints[0]


def test_a_character_in_quotes_is_no_number_as_in_c_but_its_code_is_told():
    with pytest.raises(BadValue, match="'pid' is a number") as caught:
        compile_filter("pid == 'x'", FIELDS, "x:y")
    assert caught.value.hints == ("quotes are of texts; the character's code is 120",)


def test_numbers_are_compared_by_their_values_whatever_their_signs():
    assert c("pid == 42") == "((s64)PID == (s64)42LL)"
    assert c("size > pid") == "((s64)PID < 0 || (u64)PID < (u64)SIZE)"
    assert c("pid >= size") == "((s64)PID >= 0 && (u64)PID >= (u64)SIZE)"
    assert c("size != -1") == "((s64)(-(s64)1LL) < 0 || (u64)(-(s64)1LL) != (u64)SIZE)"
    assert c("size == 0xffffffffffffffff") == "((u64)SIZE == (u64)0xffffffffffffffffULL)"
    assert c("pid & 4") == "(((s64)PID & (s64)4LL) != 0)"


def test_what_is_absent_meets_no_condition_nor_its_opposite():
    equal = "((s64)FD == (s64)3LL)"
    assert c("req->fd == 3") == f"(HAVE_FD && {equal})"
    assert c("!(req->fd == 3)") == f"(HAVE_FD && !{equal})"
    assert c("not not req->fd == 3") == f"(HAVE_FD && {equal})"
    assert c("!(pid == 1 && req->fd == 3)") == f"(!((s64)PID == (s64)1LL) || (HAVE_FD && !{equal}))"
    assert c("!(pid || req->fd == 3)") == f"(!(PID != 0) && (HAVE_FD && !{equal}))"
    assert c("req->fd < *out") == "(HAVE_OUT && HAVE_FD && ((s64)FD < (s64)OUT))"


def test_names_are_told_once_in_their_order():
    assert [(name.value, name.at) for name in names(parse("b < -a || !(c->d == b) && a"))] == [
        ("b", 0),
        ("a", 5),
        ("c->d", 12),
    ]


def test_names_of_values_errors_and_signals_are_numbers():
    assert c("state == BUSY") == "((s64)STATE == (s64)7LL)"
    assert c("'IDLE' != state") == "((s64)0LL != (s64)STATE)"
    assert c("pid == -ENOENT") == "((s64)PID == (s64)(-(s64)2LL))"
    assert c("pid == SIGTERM") == "((s64)PID == (s64)15LL)"


def test_texts_are_compared_byte_by_byte_and_never_pasted():
    assert c("comm == 'ab'") == "(COMM[0] == 97 && COMM[1] == 98 && COMM[2] == 0)"
    assert c("comm != ''") == "!(COMM[0] == 0)"
    assert c("comm == path") == "bpfnb_same(COMM, PATH, 16)"
    assert c("comm == '\u00e9'") == "(COMM[0] == -61 && COMM[1] == -87 && COMM[2] == 0)"
    compiled = compile_filter('comm == "\\"); evil(" || path ~ "*/; */"', FIELDS, "x:y")
    assert "evil" not in compiled.condition + "".join(compiled.definitions)


def matches(pattern: str, text: str) -> bool:
    """What the automaton that is made of a pattern says of a text, as bpfnb/matching.h runs it."""
    compiled = compile_filter(f"path ~ {pattern!r}", FIELDS, "x:y")
    numbers = compiled.condition.split("bpfnb_step0, ")[1].rstrip(")").split(", ")
    stay, end = (int(number.removesuffix("ULL"), 0) for number in numbers)
    table = compiled.definitions[0].partition("{")[2].rstrip("};")
    steps = {}
    for entry in filter(None, table.split(", ")):
        byte, bits = entry.split(" = ")
        steps[int(byte.strip("[]"))] = int(bits.removesuffix("ULL"), 0)
    state = 1
    for byte in text.encode():
        state = ((state & steps.get(byte, 0)) << 1) | (state & stay)
    return bool(state & end)


def test_patterns_match_what_fnmatch_matches():
    chance = random.Random(7)
    seen = set()
    for _ in range(1000):
        pattern = "".join(chance.choice("ab*?") for _ in range(chance.randrange(7)))
        text = "".join(chance.choice("ab") for _ in range(chance.randrange(7)))
        expected = fnmatch.fnmatchcase(text, pattern)
        assert matches(pattern, text) == expected, (pattern, text)
        seen.add(expected)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("/etc/*", "/etc/passwd", True),
        ("/etc/*", "/usr/etc/x", False),
        ("*.so.[0-9]", "libc.so.6", True),
        ("*.so.[!0-9]", "libc.so.6", False),
        ("[a", "[a", True),
        ("*", "", True),
        ("?", "", False),
        ("caf\u00e9*", "caf\u00e9 noir", True),
    ],
)
def test_patterns(pattern, text, expected):
    assert matches(pattern, text) == expected


def test_whatever_is_written_is_read_or_refused():
    words = [
        "pid",
        "comm",
        "==",
        "~",
        "&&",
        "||",
        "!",
        "(",
        ")",
        "&",
        "-",
        "7",
        "'x*'",
        "IDLE",
        "<<",
        '"',
        "\\",
        "0x1",
        "and",
        "not",
        "->",
        "[",
        "]",
        "*",
    ]
    chance = random.Random(11)
    for _ in range(4000):
        text = " ".join(chance.choice(words) for _ in range(chance.randrange(9)))
        column, condition = refused_at(text)
        assert 1 <= column <= len(text) + 1 if column else condition.count("(") == condition.count(")")


def refused_at(text: str) -> tuple[int, str]:
    """The column of the mistake, or the condition."""
    try:
        return 0, c(text)
    except BpfnbError as error:
        return (error.where.column if error.where else -1), ""


def test_all_pairs_of_comparisons_keep_their_order():
    for one, two in itertools.product(["==", "<", ">="], ["&&", "||"]):
        assert str(parse(f"a {one} 1 {two} !b {one} 2")) == f"((a {one} 1) {two} (! (b {one} 2)))"
