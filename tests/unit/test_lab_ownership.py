"""In replay an answer counts only where the cells that it was made from have the recorded program's text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from bpfnb.lab import ownership
from bpfnb.lab.grading import grade, table
from bpfnb.recording.session import _tokens

LABS = Path(__file__).parents[2] / "notebooks/labs"
SOLUTION = LABS / "solutions/01-hello-kernel.ipynb"


def traced(cells: list[str], bound: dict[int, dict[str, bool]]) -> set[str]:
    return ownership.traced(cells, bound, TransformerManager().transform_cell)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["x = 1", "", "check(x)"], set()),
        (["x = 1", "", "check(hello)"], {"hello"}),
        (["x = 1", "", "answer = hello.df", "check(answer)"], {"hello"}),
        (["x = 1", "", "answer = hello.df", "answer = 5", "check(answer)"], set()),
        (["x = 1", "", "def look(): return hello.df", "check(look())"], {"hello"}),
        (["x = 1", "", "class Look: x = hello", "y = Look", "check(y, other)"], {"hello"}),
        (["x = 1", "", "a = hello.df", "other = 1", "this is no Python", "check(other)"], set()),
        (
            ["x = 1", "", "a = hello.df", "", "check(a)"],
            {"hello"},
        ),  # bound again, rightly, but a is of before
        (["x = 1", "", "a = hello.df", "", "check(hello)"], set()),
    ],
)
def test_what_an_answer_is_made_from_is_followed_by_names(cells: list[str], found: set[str]) -> None:
    assert (
        traced(cells, {1: {"hello": True}, 3: {"hello": False}} if len(cells) == 5 else {1: {"hello": True}})
        == found
    )


SPY, OWN = {"spy": True}, {"own": False}


@pytest.mark.parametrize(
    "cells",
    [
        ["answer = own.df\nanswer", "check(answer)"],
        ["answer = own.df; check(answer)"],
        ["rows = own.df\nrows = rows[rows.value > 0]\nif len(rows): print(rows)", "check(rows)"],
        ["message = ''.join(chr(n) for n in own.df.n)\nmessage", "check(message)"],
        ["total = 0\nfor n in own.df.n:\n    total += n", "check(total)"],
        ["def look(rows):\n    answer = rows.n\n    return answer", "check(look(own.df))"],
        ["check(answer)", "check(own)"],
        ["work.run()\nlab = bpfnb.lab\nlab.check(answer)", "bpfnb.lab.check(own)", "lab.check(own)"],
        ["both = own.df.merge(rows)", "check(own)"],
        ["for one in (spy, own): one.stop()", "work.run()\ncheck(own, work)"],
    ],
)
def test_a_name_that_was_of_another_program_is_the_student_s_when_it_is_set_anew(cells: list[str]) -> None:
    """All of these names were made from the other program before."""
    before = [
        "import bpfnb\nwork = bpfnb.lab.workload()",
        "",
        "answer = spy.df; rows = spy.df; total = spy.n\nfor n in rows.n: message = n",
        "",
    ]
    assert traced([*before, *cells], {1: SPY, 3: OWN}) == set()
    assert traced([*before, "check(answer, rows, total, message)"], {1: SPY, 3: OWN}) == {"spy"}


@pytest.mark.parametrize(
    "cells",
    [
        ["xs = []", "xs.append(spy.n)", "check(xs)"],
        ["xs = []", "for n in spy.df.n:\n    xs.append(n)", "check(xs)"],
        ["xs = []", "[xs.append(n) for n in spy.df.n]", "check(xs)"],
        ["d = {}", "d['k'] = spy.n", "check(d)"],
        ["d = {}", "d.setdefault('k', []).append(spy.n)", "check(d)"],
        ["d = {'k': 0}", "d['k'] += spy.n", "check(d)"],
        ["class A: pass\na = A()", "a.n = spy.n", "check(a)"],
        ["n = spy.n", "n += 0", "check(n)"],
        ["n = spy.n", "if False:\n    n = 5", "check(n)"],
        ["n = spy.n", "try:\n    1 / 0\n    n = 5\nexcept ZeroDivisionError:\n    pass", "check(n)"],
        ["n = spy.n", "def look():\n    n = 5", "check(n)"],
        ["n = 0\nwhile n < spy.n:\n    n += 1", "check(n)"],
        ["a = b = 0\nfor _ in range(2):\n    a = b\n    b = spy.n", "check(a)"],
        ["with open('x') as file, spy as other:\n    n = other.n", "check(n)"],
        ["match spy.n:\n    case n:\n        pass", "check(n)"],
        ["async def look(): return spy.df", "check(look())"],
        ["def keep():\n    global kept\n    kept = spy.n", "keep()", "check(kept)"],
        ["if (n := spy.n): pass", "check(n)"],
    ],
)
def test_whatever_keeps_what_another_program_saw_is_made_from_it(cells: list[str]) -> None:
    assert traced(["", "", *cells], {1: SPY}) == {"spy"}


def test_an_object_of_another_program_is_known_by_whatever_name_the_cell_gives_it() -> None:
    load = 'seen = bpfnb.load(SOURCE, name="spy")'
    assert traced(["", f"{load}; check(seen)"], {1: SPY}) == {"spy"}
    assert traced(["", load, "check(seen)"], {1: SPY}) == {"spy"}
    assert traced(["", "n = 5", load, "check(n)"], {2: SPY}) == set()
    assert traced(["", load, "check(seen)"], {1: {"spy": False}}) == set()


@pytest.mark.parametrize(
    "magic",
    [
        "%time {}",
        "%time --no-raise-error {}",
        "%prun -q -s cumulative {}",
        "if own:\n    %time {}",
        "%%time\n{}",
        "%%time --no-raise-error\n{}",
        "%%prun -r\n{}",
        "%%prun {}\n1 + 1",
        "%%capture\n{}",
        "%%capture out --no-stderr\n%%time\n{}",
        "%%time\n%time {}",
        "%%capture --no-stdout out\nfor _ in range(3):\n    %time {}",
    ],
)
def test_what_a_magic_runs_in_the_notebook_is_followed(magic: str) -> None:
    own, spy = magic.format("answer = own.n"), magic.format("answer = spy.n")
    bound = {1: SPY, 3: OWN}
    surely = not magic.startswith("if") and "for _" not in magic
    assert traced(["", "", "answer = spy.n", "", own, "check(answer)"], bound) == (
        set() if surely else {"spy"}
    )
    assert traced(["", "", "", "", own, "check(answer)"], bound) == set()
    assert traced(["", "", "answer = 0", "", spy, "check(answer)"], bound) == {"spy"}
    assert traced(["", "", "answer = own.n", "", f"{spy}\n"], bound) == {"spy"}
    assert traced(["", "", "", "", magic.format("check(spy)")], bound) == {"spy"}
    assert traced(["", "", "answer = spy.n", "", magic.format("check(own)")], bound) == set()


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["n = %time spy.n", "check(n)"], {"spy"}),
        (["n = spy.n", "n = %time own.n", "check(n)"], set()),
        (["n = %time total = spy.n", "check(n)"], set()),  # a statement has no value
        (["n = %time total = spy.n", "check(total)"], {"spy"}),
        (["n = %time total = spy.n; total", "check(n)"], {"spy"}),
        (["xs = []", "%time xs.append(spy.n)", "check(xs)"], {"spy"}),
        (["%%capture out\nprint(spy.n)", "check(int(out.stdout))"], {"spy"}),
        (["%%capture out\nn = spy.n\nprint(n)\nn = 0", "check(int(out.stdout))"], {"spy"}),
        (["out = spy.n", "%%capture out\nprint(own.n)", "check(int(out.stdout))"], set()),
        (["%%capture out\n%%time\nprint(spy.n)", "check(out)"], {"spy"}),
        (["n = own.n", "%%time n = spy.n\nn = spy.n", "check(n)"], set()),  # which IPython refuses
        (["n = spy.n", "%bpf list", "%time", "%%time", "!true", "check(own)"], set()),
        (["n = own.n", "%time n = (spy.n,", "check(n)"], set()),
        (["n = 0", "n = spy.n\n%time own.n +", "check(n)"], {"spy"}),
        (["n = spy.n", "%%bpf timed\n%%time\nn = own.n", "check(n)"], {"spy"}),
    ],
)
def test_a_magic_gives_what_it_gives_in_the_notebook(cells: list[str], found: set[str]) -> None:
    assert traced(["", "", "", "", *cells], {1: SPY, 3: OWN}) == found


def test_comments_and_spacing_are_no_other_program() -> None:
    text = 'int a(void) { return printk("// no comment"); } // one\n'
    assert _tokens(text) == _tokens('/* two\n */ int a ( void )\n{\n  return printk("// no comment"); }')
    assert _tokens(text) != _tokens('int a(void) { return printk("//  no comment"); }')
    assert _tokens(text) != _tokens(text.replace("int a", "int b"))
    quoted = "if (c == '\"' || c == '\\'') n++; // mine\nchar d = ' ';"
    assert _tokens(quoted) == _tokens(quoted.replace("// mine", "/* and 'its */").replace("n++", "n ++"))
    assert _tokens(quoted) != _tokens(quoted.replace("' '", "'  '"))


def test_a_task_is_solved_by_the_notebook_s_own_program_alone(tmp_path: Path) -> None:
    notebook = json.loads(SOLUTION.read_text())
    cells = {"".join(cell["source"]).split()[1]: cell for cell in notebook["cells"]
             if cell["cell_type"] == "code" and "".join(cell["source"]).startswith("%%bpf")}  # fmt: skip
    commented = "".join(cells["hello"]["source"]) + "\n/* mine */\n"
    cells["hello"]["source"] = commented.replace("u64 one = 1, *n;", "u64 one = 1,\n    *n;")
    cells["users"]["source"] = "%%bpf users\n"
    cells["spy"]["source"] = '%%bpf spy -D TARGET={work.pid}\nint nothing SEC(".data");'
    path = tmp_path / "01-hello-kernel.ipynb"
    path.write_text(json.dumps(notebook))
    grades = {one.task: one for one in grade([path], replay=True, recordings=LABS / "recordings")}
    assert {name: one.passed for name, one in grades.items()} == {
        "task1": True,
        "task2": False,
        "task3": False,
        "task4": True,
    }
    assert grades["task3"].recorded
    assert "the text of `spy` is another" in grades["task3"].note
    shown = str(table(list(grades.values())))
    assert shown.count("recorded, not yours") == 1
    assert "2 of 4 tasks solved" in shown
