"""uprobe on the live kernel: every call with its exact arguments, members, texts, results; and what cannot be read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tooling import Doer
from workloads import await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import BadValue, UnknownName

SOURCE = r"""
#include <stdio.h>
#include <string.h>
enum method { GET, POST = 5, PUT };
struct conn { int fd; unsigned flags : 3, state : 5; int depth : 6; char peer[16]; };
struct req {
    enum method method; struct conn *conn; const char *path; double cost; union { int code; long whole; };
    short sizes[3];
};
struct pair { int x, y; };
struct large { long a, b, c; };
#define KEPT __attribute__((noinline, noclone))

KEPT int visit(int value, const char *name, short delta, _Bool yes, enum method method, unsigned char byte)
{ __asm__ volatile("" : : "r"(name), "r"(delta), "r"(yes), "r"(method), "r"(byte) : "memory"); return value * 2 + delta; }
KEPT struct req *handle(struct req *req, unsigned long size, double weight, char letter)
{ __asm__ volatile("" : : "r"(req), "r"(size), "x"(weight), "r"(letter) : "memory"); return req; }
KEPT long sum(struct pair p, struct large l, int a, int b, int c, int d, int e, int g, int h)
{ __asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(g) : "memory"); return p.x + p.y + l.a + l.c + h; }
KEPT int factorial(int n) { __asm__ volatile("" ::: "memory"); return n < 2 ? 1 : n * factorial(n - 1) + 0 * printf(""); }
__attribute__((noinline, cold)) void never(int n) { printf("never %d", n); }
KEPT int halves(int n)  /* what never comes is put elsewhere: the function is in two pieces */
{ if (__builtin_expect(n > 1000, 0)) { never(n); puts("at all"); } __asm__ volatile("" ::: "memory"); return n + 1; }
__attribute__((noinline)) static int part(int used, int constant)
{ __asm__ volatile("" ::: "memory"); return used + constant; }

int main(void)
{
    struct conn conn = {7, 5, 17, -3, "10.0.0.9"};
    struct req req = {POST, &conn, "/index", 1.5, {404}, {1, -2, 3}}, lost = {GET, NULL, NULL, 0, {0}, {0}};
    char line[64], word[16];
    long n;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%15s %ld", word, &n) == 2) {
        for (long i = 0; i < n; i++) {
            if (!strcmp(word, "visit")) visit(i, i % 2 ? "odd" : "even", -3, i == 2, i % 2 ? POST : PUT, 200 + i);
            if (!strcmp(word, "handle")) handle(i == 1 ? &lost : &req, i << 40, 2.5, 'x');
            if (!strcmp(word, "sum")) sum((struct pair){1, -2}, (struct large){3, 4, 5}, 1, 2, 3, 4, 5, 6, 7);
            if (!strcmp(word, "part")) part(i, 9);
            if (!strcmp(word, "halves")) halves(i);
        }
        if (!strcmp(word, "factorial")) factorial(n);
        puts("done");
        fflush(stdout);
    }
    return 0;
}
"""

CPLUS = r"""
#include <cstdio>
#include <cstring>
#include <string>
namespace shop {
struct Base { int id; virtual ~Base() {} };
enum class Kind : unsigned char { Small = 1, Big = 2 };
struct Item : Base { std::string name; Kind kind; };
struct Cart {
  int total = 0;
  __attribute__((noinline)) int add(const Item &item, int count, std::string note);
  __attribute__((noinline)) std::string label(int n);
};
int Cart::add(const Item &item, int count, std::string note)
{ __asm__ volatile("" ::: "memory"); total += count; return total + (int)note.size() + item.id; }
std::string Cart::label(int n) { __asm__ volatile("" ::: "memory"); return std::string(n, 'x'); }
template <class T> __attribute__((noinline)) T twice(T x) { __asm__ volatile("" ::: "memory"); return x * 2; }
}
int main() {
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    shop::Cart cart; shop::Item item;
    item.id = 42; item.name = "pear"; item.kind = shop::Kind::Big;
    for (int n = 1; n < 4; n++) {
      cart.add(item, n, "a note that is too long for the string itself");
      cart.label(n); shop::twice(n); shop::twice(-(long)n);
    }
    puts("done"); fflush(stdout);
  }
}
"""


def built(folder: Path, name: str, source: str, *flags: str) -> Path:
    compiler = shutil.which("g++" if name.endswith("cpp") else "gcc") or pytest.skip("no compiler")
    text, program = folder / name, folder / (name.replace(".", "_") + "".join(flags).replace("-", "_"))
    text.write_text(source)
    subprocess.run([compiler, *flags, "-o", program, text], check=True, capture_output=True)
    return program


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("uprobe")


@pytest.fixture(scope="module", params=["-O0", "-O2", "clang"])
def program(request, folder) -> Path:
    if request.param != "clang":
        return built(folder, "shop.c", SOURCE, "-g", request.param)
    text, made = folder / "clang.c", folder / "clang"
    text.write_text(SOURCE)
    command = [sys.executable, "-m", "ziglang", "cc", "-g", "-O2", "-o", made, text]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def plain(folder) -> Path:
    return built(folder, "shop.c", SOURCE, "-g", "-O0")


@pytest.fixture
def doer(program) -> Iterator[Doer]:
    with Doer(program) as made:
        yield made


def rows(tool, count: int) -> pd.DataFrame:
    assert tool.wait(count, 30)
    await_true(lambda: tool.frames.fill == 0)
    frame = tool.df
    assert len(frame) == count
    assert frame.attrs["bpfnb"]["complete"]
    return frame


def test_arguments_and_results_of_every_type(program, doer):
    with tools.uprobe(f"{program}:visit", pid=doer.pid) as calls, Doer(program) as other:
        held = object_ids(calls.object.loaded)
        doer.do("visit", 4)
        other.do("visit", 3)
        frame = rows(calls, 4)
    arguments = ["value", "name", "delta", "yes", "method", "byte"]
    assert list(frame.columns) == ["time", "comm", "pid", "tid", *arguments, "ret", "duration"]
    assert frame["value"].tolist() == [0, 1, 2, 3]
    assert frame["name"].tolist() == ["even", "odd", "even", "odd"]
    assert frame["delta"].tolist() == [-3] * 4
    assert frame["yes"].tolist() == [False, False, True, False]
    assert frame["method"].tolist() == ["PUT", "POST", "PUT", "POST"]
    assert list(frame["method"].cat.categories) == ["GET", "POST", "PUT"]
    assert frame["byte"].tolist() == [200, 201, 202, 203]
    assert frame["ret"].tolist() == [-3, -1, 1, 3]
    assert [str(frame[name].dtype) for name in ("value", "delta", "yes", "byte", "ret")] == [
        *("int32", "int16", "bool", "uint8", "int32")
    ]
    assert (frame["duration"] > 0).all()
    assert set(frame["pid"]) == {doer.pid}
    assert calls.left_out == {}
    assert left_over(held) == {}


MEMBERS = "req->method, req->conn->fd, req->conn->flags, req->conn->state, req->conn->depth, req->conn->peer, req->path"


def test_members_by_path_and_what_leads_nowhere(program, doer):
    columns = f"{MEMBERS}, req->cost, req->code, req->sizes[1], letter, ret->method"
    with tools.uprobe(f"{program}:handle", pid=doer.pid, columns=columns) as calls:
        doer.do("handle", 2)
        frame = rows(calls, 2).drop(columns=["time", "comm", "pid", "tid"])
    assert list(frame.columns) == columns.split(", ")
    first, second = (frame.iloc[number].tolist() for number in (0, 1))
    assert first == ["POST", 7, 5, 17, -3, "10.0.0.9", "/index", 1.5, 404, -2, ord("x"), "POST"]
    assert second[0] == second[-1] == "GET"
    assert frame.iloc[1, 1:7].isna().all()
    assert second[7:10] == [0.0, 0, 0]


def test_structs_by_value_and_arguments_on_the_stack(program, doer):
    with tools.uprobe(f"{program}:sum", pid=doer.pid) as calls:
        doer.do("sum", 1)
        row = rows(calls, 1).iloc[0]
    expected = {"p.x": 1, "p.y": -2, "l.a": 3, "l.b": 4, "l.c": 5, "h": 7, "ret": 14}
    expected |= {name: value for value, name in enumerate("abcdeg", 1) if name in row}
    assert {name: row[name] for name in expected} == expected


def test_floating_point_arguments_are_said_to_be_left_out(program, doer):
    with tools.uprobe(f"{program}:handle", pid=doer.pid) as calls:
        doer.do("handle", 1)
        frame = rows(calls, 1)
    assert "floating-point register" in calls.left_out["weight"]
    assert "weight" not in frame
    with pytest.raises(BadValue, match="floating-point register"):
        tools.uprobe(f"{program}:handle", columns="weight")


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("value >= 2", [2, 3]),
        ("name == 'odd' and value != 1", [3]),
        ("name ~ 'e*' || value == 3", [0, 2, 3]),
        ("!(method == POST) && ret < 1", [0]),
        ("ret == 3 || value == 0", [0, 3]),
        ("name !~ '*d' && ret > 0", [2]),
        ("byte & 1 and duration > 0", [1, 3]),
        ("delta < byte && comm == 'shop_c_g_O0' && not 2 * value == 4", [0, 1, 3]),
        ("yes", [2]),
    ],
)
def test_filters_are_decided_in_the_kernel(plain, expression, values):
    with Doer(plain) as doer, tools.uprobe(f"{plain}:visit", pid=doer.pid, filter=expression) as calls:
        doer.do("visit", 4)
        assert rows(calls, len(values))["value"].tolist() == values
        assert calls.frames.total == len(values)


@pytest.mark.parametrize("expression", ["req->conn->fd != 9", "!(req->conn.fd == 9)"])
def test_what_is_absent_meets_no_condition(plain, expression):
    with (
        Doer(plain) as doer,
        tools.uprobe(f"{plain}:handle", pid=doer.pid, columns="size", filter=expression) as calls,
    ):
        doer.do("handle", 3)
        assert rows(calls, 2)["size"].tolist() == [0, 2 << 40]
        assert calls.used == (f"uprobe.s/{plain}:handle",) or calls.used == (f"uprobe/{plain}:handle",)


def test_a_function_that_calls_itself_returns_each_time(plain):
    with Doer(plain) as doer, tools.uprobe(f"{plain}:factorial", pid=doer.pid) as calls:
        doer.do("factorial", 5)
        frame = rows(calls, 5)
    assert dict(zip(frame["n"], frame["ret"], strict=True)) == {1: 1, 2: 2, 3: 6, 4: 24, 5: 120}
    assert frame["n"].tolist() == [1, 2, 3, 4, 5]
    assert frame["duration"].is_monotonic_increasing


def test_several_functions_have_one_frame(plain):
    with Doer(plain) as doer, tools.uprobe("visit,h*le", binary=plain, pid=doer.pid, entry=True) as calls:
        doer.do("visit", 1)
        doer.do("handle", 1)
        frame = rows(calls, 2)
    assert frame["function"].tolist() == ["visit", "handle"]
    assert frame["name"].tolist()[0] == "even"
    assert frame["name"].isna().tolist() == frame["value"].isna().tolist() == [False, True]
    assert frame["req"].isna().tolist() == frame["size"].isna().tolist() == [True, False]
    assert "ret" not in frame


def test_what_several_functions_have_of_different_width_is_wide_enough(plain):
    with Doer(plain) as doer, tools.uprobe(f"{plain}:visit,handle,sum", pid=doer.pid) as calls:
        doer.do("visit", 2)
        doer.do("handle", 1)
        doer.do("sum", 1)
        frame = rows(calls, 4)
    assert frame["ret"].tolist() == [-3, -1, frame["req"].iloc[2], 14]
    assert list(frame.columns)[-2:] == ["ret", "duration"]


def test_clones_of_the_compiler_have_what_is_left_of_the_parameters(folder):
    program = built(folder, "shop.c", SOURCE, "-g", "-O2")
    with Doer(program) as doer, tools.uprobe(f"{program}:part", pid=doer.pid) as calls:
        doer.do("part", 3)
        frame = rows(calls, 3)
    if any(".constprop" in section for section in calls.used):
        assert set(calls.left_out) == {"constant", "ret"}
    assert frame["used"].tolist() == [0, 1, 2]


def test_functions_in_two_pieces(program, doer):
    with tools.uprobe(f"{program}:halves", pid=doer.pid) as calls:
        doer.do("halves", 3)
        frame = rows(calls, 3)
    assert frame[["n", "ret"]].to_numpy().tolist() == [[0, 1], [1, 2], [2, 3]]


def test_cplusplus(folder):
    program = built(folder, "shop.cpp", CPLUS, "-g", "-O0")
    columns = "this->total, item.id, item.name, item.kind, count, note, ret"
    with (
        Doer(program) as doer,
        tools.uprobe(f"{program}:shop::Cart::add", pid=doer.pid, columns=columns) as calls,
        tools.uprobe("label", pid=doer.pid) as labels,
        tools.uprobe("shop::twice<*>", pid=doer.pid) as twice,
    ):
        doer.do("go")
        frame = rows(calls, 3)
        made, doubled = rows(labels, 3), rows(twice, 6)
    assert frame["this->total"].tolist() == [0, 1, 3]
    assert frame["item.id"].tolist() == [42] * 3
    assert frame["item.name"].tolist() == ["pear"] * 3
    assert frame["item.kind"].tolist() == ["Big"] * 3
    assert frame["note"].tolist() == ["a note that is too long for the string itself"] * 3
    assert frame["ret"].tolist() == [1 + 45 + 42, 3 + 45 + 42, 6 + 45 + 42]
    assert made["ret"].tolist() == ["x", "xx", "xxx"]
    assert doubled["function"].tolist() == ["shop::twice<int>", "shop::twice<long>"] * 3
    assert doubled["ret"].tolist() == [2, -2, 4, -4, 6, -6]


RUST = r"""
use std::io::BufRead;
#[derive(Clone, Copy)]
pub enum Kind { Small = 1, Big = 2 }
pub struct Item { pub id: u32, pub kind: Kind }
mod shop {
    #[inline(never)]
    pub fn add(item: &super::Item, count: i64, note: &str) -> i64 { count * item.id as i64 + note.len() as i64 }
}
fn main() {
    for _ in std::io::stdin().lock().lines() {
        for n in 1..4 {
            let item = Item { id: 42, kind: if n == 2 { Kind::Small } else { Kind::Big } };
            std::hint::black_box(shop::add(&item, n, &"a note"[..n as usize]));
        }
        println!("done");
    }
}
"""


def test_rust(folder):
    compiler = shutil.which("rustc") or pytest.skip("no Rust here")
    text, program = folder / "shop.rs", folder / "rust"
    text.write_text(RUST)
    if subprocess.run([compiler, "-g", "-o", program, text], capture_output=True).returncode:
        pytest.skip("this Rust does not compile")
    columns = "item->id, item->kind, count, note, ret"
    with Doer(program) as doer, tools.uprobe("shop::add", pid=doer.pid, columns=columns) as calls:
        doer.do("go")
        frame = rows(calls, 3).drop(columns=["time", "comm", "pid", "tid"])
    assert frame.astype(object).values.tolist() == [
        [42, "Big", 1, "a", 43],
        [42, "Small", 2, "a ", 86],
        [42, "Big", 3, "a n", 129],
    ]


def test_without_debug_information_there_are_registers(folder, plain):
    stripped = folder / "stripped"
    subprocess.run(["strip", "--strip-debug", "-o", stripped, plain], check=True)
    with Doer(stripped) as doer:
        with tools.uprobe(f"{stripped}:visit", pid=doer.pid, args=True) as calls:
            doer.do("visit", 2)
            frame = rows(calls, 2)
        assert [f"arg{number}" in frame for number in (1, 6, 7)] == [True, True, False]
        assert frame["arg1"].tolist() == [0, 1]
        assert (frame["arg3"] & 0xFFFF).tolist() == [0xFFFD] * 2
        only = "arg1 != 3 && arg2 == 'odd'"
        with tools.uprobe(f"{stripped}:visit", pid=doer.pid, columns="arg2:str", filter=only) as calls:
            doer.do("visit", 3)
            assert rows(calls, 1)["arg2"].tolist() == ["odd"]
            assert "get_text(e->arg2, sizeof(e->arg2), ctx->" in calls.source or "regs[1]" in calls.source


def test_debug_information_beside_the_program(folder, plain):
    """As distributions have it: found by build id or by its name, with the names that the program lost."""
    program, debug = folder / "split", folder / "split.debug"
    shutil.copy(plain, program)
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["strip", program], check=True)
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", program], check=True)
    with Doer(program) as doer, tools.uprobe("visit", pid=doer.pid, columns="name, method, ret") as calls:
        doer.do("visit", 2)
        frame = rows(calls, 2)
    assert frame["name"].tolist() == ["even", "odd"]
    assert frame["ret"].tolist() == [-3, -1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"function": "vist"}, UnknownName, "did you mean visit"),
        ({"function": "visit", "columns": "valu"}, UnknownName, "did you mean value"),
        ({"function": "handle", "columns": "req->metod"}, UnknownName, "did you mean method"),
        ({"function": "handle", "columns": "req->conn[0]->fd->x"}, BadValue, "has no members"),
        ({"function": "handle", "columns": "*req"}, BadValue, "not one value"),
        (
            {"function": "visit", "filter": "value >"},
            BadValue,
            r"value is missing \(filter, line 1, column 8\)",
        ),
        ({"function": "visit", "filter": "name > 'x'"}, BadValue, "texts have no '>'"),
        ({"function": "visit", "filter": "valu == 1"}, UnknownName, r"column 1\)\n.*did you mean value"),
        ({"function": "visit", "filter": "yes && method == PUTT"}, UnknownName, "did you mean PUT"),
        ({"function": "handle", "filter": "size || req->metod == 1"}, UnknownName, "column 9"),
        ({"function": "handle", "filter": "req->cost > 1"}, BadValue, "floating-point number"),
        ({"function": "visit", "entry": True, "filter": "ret == 1"}, BadValue, "only when it returns"),
        ({"function": "visit", "entry": True, "columns": "ret"}, BadValue, "only when it returns"),
        ({"function": "visit", "max_string": 1}, BadValue, "2 to 4096"),
        ({}, BadValue, "which function"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(plain, options, error, message):
    with pytest.raises(error, match=message):
        tools.uprobe(binary=str(plain), **options)


def test_in_a_terminal_and_as_a_cell(plain, capsys):
    with Doer(plain) as doer:
        line = ["tool", "uprobe", f"{plain}:visit", "--pid", str(doer.pid), "--columns", "value, name"]
        assert main([*line, "--duration", "0.2"]) == 0
    assert capsys.readouterr().out.split() == ["TIME", "COMM", "PID", "TID", "VALUE", "NAME"]
    source, _ = tools.uprobe.planned(function=f"{plain}:visit", columns="name")
    assert f'SEC("uprobe.s/{plain}:visit")' in source or f'SEC("uprobe/{plain}:visit")' in source
    assert "/* int visit(int value, char * name, short int delta, _Bool yes, enum method method, " in source
