"""The %bpf line, the %%bpf line's options and the bpfnb command, as far as no kernel is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bpfnb.magics.options import parse_cell
from IPython.core.error import UsageError

from bpfnb import cli, commandline
from bpfnb.commandline import HelpWanted, UsageProblem
from bpfnb.doctor import Report, Row
from bpfnb.errors import UnknownName


def test_a_cells_options_become_keywords_of_load():
    parsed = parse_cell(
        "io --no-attach --set min_us=0x32 --set 'name=a b' --set on=true --max-entries lat=4096 -DX=1 -D Y "
        "-I headers --cflags '-O3 -fno-builtin' --rows 5000 --watchdog 30% --interface lo --mode generic "
        "--option probe:pid=7 --option probe:binary=/bin/sh --offset 0x40 --netns 12 --pin lat=/sys/fs/bpf/lat"
    )
    assert parsed.name == "io"
    assert parsed.load == {
        "attach": False,
        "globals": {"min_us": 50, "name": "a b", "on": True},
        "max_entries": {"lat": 4096},
        "pins": {"lat": "/sys/fs/bpf/lat"},
        "defines": ("X=1", "Y"),
        "include_dirs": (Path("headers"),),
        "flags": ("-O3", "-fno-builtin"),
        "rows": 5000,
        "watchdog": pytest.approx(0.3),
        "interface": "lo",
        "mode": "generic",
        "offset": 64,
        "netns": 12,
        "options": {"probe": {"pid": 7, "binary": "/bin/sh"}},
    }


def test_options_that_are_not_given_are_left_to_load():
    assert parse_cell("io").load == {
        "attach": True,
        "globals": {},
        "max_entries": {},
        "pins": {},
        "defines": (),
        "include_dirs": (),
        "flags": (),
        "options": {},
    }
    assert parse_cell("io --watchdog off").load["watchdog"] is None


def test_places_of_functions_in_bccs_dialect():
    parsed = parse_cell(
        "io --engine bcc --attach count=uprobe/libc.so.6:strlen --attach count=tracepoint/a/b --attach s=perf_event"
    )
    assert parsed.load["engine"] == "bcc"
    assert parsed.load["sections"] == {
        "count": ["uprobe/libc.so.6:strlen", "tracepoint/a/b"],
        "s": ["perf_event"],
    }
    assert parsed.load["attach"] is True
    assert parse_cell("io --no-attach --attach s=xdp").load["attach"] is False


@pytest.mark.parametrize(
    ("attach", "said"),
    [
        ("cuont=perf_event", "no function 'cuont'; did you mean count?"),
        ("count=perf_evnt", "no section 'perf_evnt'; the nearest that exists: perf_event"),
    ],
)
def test_places_that_a_cell_cannot_have_are_usage_errors(shell, attach, said):
    text = "BPF_HASH(x, u32);\nint count(struct pt_regs *ctx) { return 0; }"
    with pytest.raises(UsageError) as caught:
        shell.run_cell_magic("bpf", f"io --attach {attach}", text)
    assert type(caught.value) is UsageError
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "required: NAME"),
        ("io --intreface lo", "no option --intreface; did you mean --interface?"),
        ("io --inter lo", "no option --inter; did you mean --interface?"),  # no abbreviations
        ("io more", "'more' is one word too many"),
        ("9io", "'9io' cannot be a Python name"),
        ("class", "'class' cannot be a Python name"),
        ("io --set x", "'x' must read NAME=VALUE"),
        ("io --max-entries lat=many", "must read MAP=N"),
        ("io --max-entries lat=0", "must read MAP=N"),
        ("io --rows none", "invalid int value: 'none'"),
        ("io --rows 0", "--rows must be at least 1"),
        ("io --mode fast", "invalid choice: 'fast'"),
        ("io --watchdog much", "--watchdog 'much' must be a share"),
        ("io --option frequency=99", "must read PROGRAM:KEY=VALUE"),
        ("io --attach count", "--attach 'count' must read FUNC=SECTION"),
        ("io --attach =xdp", "--attach '=xdp' must read FUNC=SECTION"),
        ("io --engine gcc", "invalid choice: 'gcc'"),
        ("io --offset start", "--offset must be a whole number"),
        ("io --set 'x=1", "no closing quotation"),
    ],
)
def test_mistakes_are_usage_errors_of_one_line(shell, line, said):
    with pytest.raises(UsageError) as caught:
        shell.run_cell_magic("bpf", line, "int x;")
    assert type(caught.value) is UsageError  # IPython shows a stack for subclasses
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_means_something_else_is_refused(shell):
    shell.user_ns["frame"] = [1]
    with pytest.raises(UsageError, match="'frame' is already a list here"):
        shell.run_cell_magic("bpf", "frame", "int x;")
    with pytest.raises(UsageError, match="'print' is already a builtin"):
        shell.run_cell_magic("bpf", "print", "int x;")
    assert shell.user_ns["frame"] == [1]


def test_unknown_verbs_and_objects_name_the_nearest(shell):
    with pytest.raises(UsageError, match="no verb 'lsit'; did you mean list"):
        shell.run_line_magic("bpf", "lsit")
    with pytest.raises(UnknownName, match="no live object 'io'"):
        shell.run_line_magic("bpf", "show io")
    with pytest.raises(UsageError, match="name an object, or --all"):
        shell.run_line_magic("bpf", "close")


def test_help_is_shown_by_question_mark_by_verb_and_by_option(shell):
    assert "--max-entries MAP=N" in shell.find_cell_magic("bpf").__doc__
    assert "examples:" in shell.find_cell_magic("bpf").__doc__
    assert "find " in shell.find_line_magic("bpf").__doc__
    assert "usage: %bpf VERB" in shell.run_line_magic("bpf", "").text()
    assert "usage: %bpf find" in shell.run_line_magic("bpf", "help find").text()
    assert "--limit N" in shell.run_line_magic("bpf", "find --help").text()
    assert "usage: %%bpf NAME" in shell.run_cell_magic("bpf", "--help", "x").text()
    with pytest.raises(HelpWanted):
        parse_cell("-h")


def test_pinfo_shows_the_help(shell, capsys):
    shell.run_cell("%%bpf?")
    shell.run_cell("%bpf?")
    shown = capsys.readouterr().out
    assert "--interface IF" in shown
    assert "usage: %bpf VERB" in shown


def test_struct_and_list(shell):
    assert "struct list_head *next;" in shell.run_line_magic("bpf", "struct list_head").text()
    assert shell.run_line_magic("bpf", "list").text() == "nothing is loaded"
    with pytest.raises(UnknownName, match="task_strct"):
        shell.run_line_magic("bpf", "struct task_strct")


def test_variables_are_expanded_in_the_line_as_ipython_does(shell):
    shell.user_ns["kind"] = "list_head"
    result = shell.run_cell("%bpf struct {kind}")
    assert "struct list_head" in result.result.text()


def test_loading_registers_and_unloading_removes_everything(shell):
    from bpfnb.magics.completion import matcher

    assert shell.Completer.custom_matchers.count(matcher) == 1
    shell.extension_manager.reload_extension("bpfnb")
    assert shell.Completer.custom_matchers.count(matcher) == 1
    assert any(type(c).__name__ == "BpfMagics" for c in shell.configurables)
    shell.extension_manager.unload_extension("bpfnb")
    assert shell.find_line_magic("bpf") is None
    assert shell.find_cell_magic("bpf") is None
    assert matcher not in shell.Completer.custom_matchers
    assert not any(type(c).__name__ == "BpfMagics" for c in shell.configurables)
    shell.extension_manager.load_extension("bpfnb")


def test_importing_the_package_imports_no_ipython():
    code = "import sys, bpfnb; sys.exit(any(m.split('.')[0] in ('IPython', 'plotly', 'pandas') for m in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_answers_and_exits_by_what_it_found(capsys):
    assert cli.main(["struct", "list_head"]) == 0
    assert "/* 16 bytes */" in capsys.readouterr().out
    assert cli.main(["struct", "no_such_type_at_all"]) == 1
    assert "UnknownName" in capsys.readouterr().err
    assert cli.main(["strct"]) == 2
    assert "did you mean struct?" in capsys.readouterr().err
    assert cli.main(["list"]) == 2
    assert "use %bpf list" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert cli.main(["help", "find"]) == 0
    assert "usage: bpfnb find" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0


def test_a_search_that_finds_nothing_and_a_report_with_something_missing_exit_1(capsys, monkeypatch):
    assert cli.main(["find", "no_such_hook_anywhere"]) == 1
    assert "nothing in this kernel matches 'no_such_hook_anywhere'" in capsys.readouterr().out
    found = Report([Row("clang", "16.0.6", "ok"), Row("bcc", "absent", "warn", "apt install python3-bpfcc")])
    monkeypatch.setattr("bpfnb.doctor.report", lambda: found)
    assert cli.main(["doctor"]) == 0
    found.rows.append(Row("clang", "none", "missing", "pip install ziglang"))
    assert cli.main(["doctor"]) == 1


def test_the_module_is_the_command_and_survives_a_closed_pipe():
    command = [sys.executable, "-m", "bpfnb", "struct", "task_struct"]
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert process.returncode == 1
    assert process.stderr == ""


def test_every_verb_has_help():
    for verbs, prog in ((cli.NOTEBOOK, "%bpf"), (cli.TERMINAL, "bpfnb")):
        for name, verb in verbs.items():
            text = commandline.help_text([name], verbs, prog)
            assert text.startswith(f"usage: {prog} {name}")
            assert verb.summary in " ".join(text.split())
    with pytest.raises(UsageProblem):
        commandline.help_text(["nothing"], cli.NOTEBOOK, "%bpf")
