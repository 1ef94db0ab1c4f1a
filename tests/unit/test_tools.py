"""What tools are without a kernel: their list, options, filters, command lines, and what cgroup paths tell."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from bpfnb.bpf import TOOLS
from bpfnb.magics.completion import complete
from IPython.core.interactiveshell import InteractiveShell

from bpfnb import cli, commandline, processes, tools
from bpfnb.errors import BadValue, UnknownName
from bpfnb.processes import Process, Processes, container_of, unit_of
from bpfnb.tools.filters import globals_of, resolved
from bpfnb.tools.options import share
from bpfnb.tools.verb import FAMILIES, list_of_tools, source_cell

ID = "0123456789abcdef" * 4
INNER = "f" * 64


@pytest.mark.parametrize(
    ("path", "container", "unit"),
    [
        ("/", "", ""),
        ("/user.slice/user-1000.slice/session-3.scope", "", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/gnome.service", "", "gnome.service"),
        ("/system.slice/ssh.service", "", "ssh.service"),
        ("/system.slice/nginx.service/worker", "", "nginx.service"),
        (f"/docker/{ID}", ID, ""),
        (f"/docker/{ID}/init.scope", ID, "init.scope"),
        (f"/system.slice/docker-{ID}.scope", ID, f"docker-{ID}.scope"),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope",
            ID,
            f"cri-containerd-{ID}.scope",
        ),
        (f"/kubepods/burstable/pod7f3a-11/{ID}", ID, ""),
        (
            f"/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}",
            ID,
            "containerd.service",
        ),
        (f"/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", ID, f"crio-{ID}.scope"),
        (f"/machine.slice/libpod-{ID}.scope/container", ID, f"libpod-{ID}.scope"),
        (f"/user.slice/user-1.slice/user@1.service/user.slice/libpod-{ID}.scope", ID, f"libpod-{ID}.scope"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", "", f"libpod-conmon-{ID}.scope"),
        (f"/docker/{ID}/kubelet/kubepods/pod1/{INNER}", INNER, ""),
        (f"/build/{ID[:-1]}", "", ""),
        (f"/build/{ID}0", "", ""),
    ],
)
def test_containers_and_units_by_cgroup_path(path, container, unit):
    assert (container_of(path), unit_of(path)) == (container, unit)


def test_columns_of_processes_are_categories_missing_where_nothing_is_known():
    known = Processes()
    known._known = {
        7: [Process(7, 10.0, 1, "old", "init", "old -x", 0, "/system.slice/a.service"),
            Process(7, 99.0, 2, "new", "sh", "new", 54321, f"/docker/{ID}")],
    }  # fmt: skip
    found = known.columns([7, 7, 8, 7], list(processes.COLUMNS), times=[50.0, 100.0, 100.0, 20.0])
    frame = pd.DataFrame(found)
    assert all(dtype == "category" for dtype in frame.dtypes)
    assert frame["parent"].tolist()[:2] == ["init", "sh"]
    assert frame["cmdline"].tolist()[:2] == ["old -x", "new"]
    assert frame["user"].tolist()[:2] == ["root", "54321"]
    assert frame["unit"].tolist()[::3] == ["a.service", "a.service"]
    assert frame["container"].tolist()[1] == ID
    assert frame.isna().sum().to_dict() == {
        "parent": 1, "cmdline": 1, "user": 1, "cgroup": 1, "unit": 2, "container": 3
    }  # fmt: skip


def test_what_a_row_says_itself_goes_before_proc():
    known = Processes()
    known._cgroups = {5: processes.Cgroup(5, "/system.slice/b.service")}
    known._known = {3: [Process(3, 1.0, comm="make")]}
    found = known.columns([9], ["user", "unit", "parent"], uids=[0], cgroup_ids=[5], ppids=[3])
    assert {name: column.tolist() for name, column in found.items()} == {
        "user": ["root"], "unit": ["b.service"], "parent": ["make"]
    }  # fmt: skip


def test_real_processes():
    with subprocess.Popen(
        ["/bin/cat", "-", "a b"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        arguments = Path(f"/proc/{child.pid}/cmdline")
        while not arguments.read_bytes():  # a process that has just begun has none yet
            assert child.poll() is None
        known = Processes()
        known.look([child.pid, os.getpid()])
        found = known.get(child.pid)
        child.stdin.close()
    assert found is not None
    assert (found.ppid, found.comm, found.cmdline, found.uid) == (
        os.getpid(),
        "cat",
        "/bin/cat - a b",
        os.getuid(),
    )
    assert known.get(os.getpid()).comm == found.parent
    again = Processes(again=0)
    again.look([child.pid])
    assert again.get(child.pid) is None
    known.look([child.pid])
    assert known.get(child.pid) == found  # kept after its end


def test_no_more_processes_are_kept_than_asked():
    known = Processes(most=2)
    known.look([1, os.getpid(), os.getppid()])
    assert sorted(known._looked) == sorted({os.getpid(), os.getppid()})
    with pytest.raises(UnknownName, match="container"):
        known.columns([1], ["contaner"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pid": 42}, {"filter_pid": [42]}),
        ({"pid": ["42", 43, 42], "comm": None}, {"filter_pid": [42, 43]}),
        ({"comm": "redis-server"}, {"filter_comm": ["redis-server"]}),
        ({"uid": "root"}, {"filter_uid": [0] + [-1] * 15}),
        ({"uid": [0, "7"]}, {"filter_uid": [0, 7] + [-1] * 14}),
        ({"netns": "net:[4026531833]"}, {"filter_netns": [4026531833]}),
        ({"netns": f"/proc/{os.getpid()}/ns/net"}, {"filter_netns": [os.stat("/proc/self/ns/net").st_ino]}),
        ({"cgroup": 17}, {"filter_cgroup": [17]}),
    ],
)
def test_filters_become_variables(given, expected):
    assert globals_of(resolved(given)) == expected


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"pid": 0}, BadValue, "from 1 on"),
        ({"pid": "x"}, BadValue, "from 1 on"),
        ({"pid": []}, BadValue, "nothing"),
        ({"pid": range(1, 100)}, BadValue, "at most 64"),
        ({"comm": "a-name-of-16-byte"}, BadValue, "the kernel knows it as 'a-name-of-16-by'"),
        ({"uid": "rooot"}, UnknownName, "root"),
        ({"cgroup": "/nosuch"}, UnknownName, "/nosuch"),
        ({"container": "zz"}, UnknownName, "zz"),
        ({"netns": "nosuch"}, UnknownName, "nosuch"),
    ],
)
def test_filters_that_make_no_sense(given, kind, said):
    with pytest.raises(kind) as caught:
        globals_of(resolved(given))
    assert said in str(caught.value)


def test_a_user_whom_the_name_service_does_not_list_is_asked_for(monkeypatch):
    monkeypatch.setattr("pwd.getpwall", list)  # as of a directory without enumeration
    assert globals_of(resolved({"uid": "root"})) == {"filter_uid": [0] + [-1] * 15}
    with pytest.raises(UnknownName, match="no user 'nobody-at-all'"):
        globals_of(resolved({"uid": "nobody-at-all"}))


def test_a_container_is_found_by_the_start_of_its_id(monkeypatch):
    paths = {1: "/", 5: f"/docker/{ID}", 6: f"/docker/{ID}/init.scope", 7: f"/docker/{INNER}"}
    found = {number: processes.Cgroup(number, path) for number, path in paths.items()}
    monkeypatch.setattr("bpfnb.tools.filters.cgroups", lambda: found)
    assert globals_of(resolved({"container": ["0123", "ff"]})) == {"filter_cgroup": [5, 7]}


def test_every_tool_has_a_program_a_line_and_a_class():
    assert "execsnoop" in tools.names()
    for name in tools.names():
        tool = getattr(tools, name)
        assert tool.name == name
        assert tool.summary.endswith(".")
        assert tool.summary in tool.__doc__
        assert [*tool.__signature__.parameters][-5:] == ["duration", "rows", "add", "watchdog", "on"]
        assert tool.family in FAMILIES
        assert not isinstance(vars(tools).get(name), ModuleType)
    assert set(tools.names()) <= set(dir(tools))


def test_tools_are_there_as_soon_as_bpfnb_is():
    code = "import sys, bpfnb; assert 'bpfnb.tools' not in sys.modules; print(bpfnb.tools.execsnoop.name)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "execsnoop\n", done.stderr


def test_importing_the_package_imports_no_tool():
    code = "import sys, bpfnb.tools; sys.exit(any(m.startswith('bpfnb.tools.') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_tools_and_options_name_the_nearest():
    with pytest.raises(UnknownName, match="execsnoop"):
        tools.find("exesnoop")
    with pytest.raises(UnknownName, match="max_bytes"):
        tools.execsnoop(max_byte=3)
    with pytest.raises(UnknownName, match="container"):
        tools.execsnoop(add="contaner")
    with pytest.raises(BadValue, match="duration"):
        tools.execsnoop(duration=0)
    with pytest.raises(BadValue, match="max_bytes"):
        tools.execsnoop(max_bytes="many")
    with pytest.raises(BadValue, match="failed"):
        tools.execsnoop(failed=1)


def test_tools_of_the_kernels_stacks_alone_have_no_inlined_functions():
    assert "inlined" in [option.name for option in tools.find("profile").options]
    with pytest.raises(UnknownName, match="inlined"):
        tools.klocks(inlined=True)


def test_the_list_can_be_searched():
    listed = list_of_tools().rows
    assert sorted(name for _, name, _ in listed) == tools.names()
    assert [family for family, _, _ in listed if family] == list(FAMILIES)
    assert not [text for _, _, text in listed if "``" in text]
    assert "execsnoop" in [name for _, name, _ in list_of_tools("ARGUMENTS").rows]
    locks = [("locks", "futex"), ("", "klocks"), ("", "mutexes")]
    assert [row[:2] for row in commandline.run(["tool", "locks"], cli.NOTEBOOK, "%bpf").rows] == locks
    assert len(list_of_tools("no tool has these words")) == 0
    assert (
        commandline.run(["tool", "--find", "full", "arguments"], cli.NOTEBOOK, "%bpf").rows
        == list_of_tools("full arguments").rows
    )


def test_a_cell_to_edit_has_what_the_options_made_of_the_program():
    """Values of variables, macros, sizes of maps, and where programs are attached."""
    line, _, text = source_cell(tools.runqlen, {"frequency": 49}).partition("\n")
    assert line == "%%bpf runqlen --frequency 49"
    assert 'SEC("perf_event")' in text
    line = source_cell(tools.tcplife, {"raddr": "10.0.0.0/8"}).partition("\n")[0]
    assert "--set rnet=0,0,4294901760,10" in line
    line = source_cell(tools.faults, {}).partition("\n")[0]
    assert "--option major:event=major-faults --option major:period=1" in line
    assert "--max-entries flows=65536" in source_cell(tools.flows, {}).partition("\n")[0]


def test_the_watchdog_has_a_limit_or_none():
    assert [share(text) for text in ("0.5", "50%", 2, "off")] == [0.5, 0.5, 2.0, math.inf]
    for wrong in ("0", "-1", "much"):
        with pytest.raises((BadValue, ValueError)):
            share(wrong)
    with pytest.raises(BadValue, match="share"):
        tools.execsnoop(watchdog=0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tool execsnop", "there is no tool 'execsnop'; did you mean execsnoop"),
        ("tool execsnoop --com x", "there is no option --com; did you mean --comm?"),
        ("tool execsnoop --pid x", "a pid is a whole number"),
        ("tool execsnoop --max-bytes x", "max-bytes"),
        ("tool execsnoop --add usr", "user"),
    ],
)
def test_mistakes_of_a_line(words, said):
    InteractiveShell.instance()
    with pytest.raises(commandline.UsageProblem) as caught:
        commandline.run(words.split(), cli.NOTEBOOK, "%bpf")
    assert said in str(caught.value)


def test_help_lists_options_and_filters():
    with pytest.raises(commandline.HelpWanted) as wanted:
        commandline.run(["tool", "execsnoop", "--help"], cli.NOTEBOOK, "%bpf")
    for word in (
        "--failed",
        "--comm NAME",
        "--container ID",
        "--duration SECONDS",
        "--source",
        tools.execsnoop.summary,
    ):
        assert word in str(wanted.value)


def test_the_source_is_a_cell_with_the_options_as_variables():
    cell = source_cell(tools.execsnoop, {"pid": ["1", "2"], "comm": ["a b"], "failed": True, "duration": 3.0})
    line, text = cell.split("\n", 1)
    assert line == "%%bpf execsnoop --set failed=true --set filter_pid=1,2 --set 'filter_comm=a b'"
    assert text == (tools.tool.TOOLS / "execsnoop.bpf.c").read_text()


def test_completion_of_names_and_options():
    def texts(line: str) -> list[str]:
        return [candidate.text for candidate in complete(line, 0, len(line)).candidates]

    assert texts("%bpf tool exec") == ["execsnoop"]
    assert texts("%bpf tool execsnoop --max") == ["--max-bytes"]
    assert "--container" in texts("%bpf tool execsnoop --co")
    assert texts("%bpf tool nosuch --co") == []
    assert "tool" in texts("%bpf to")


def test_a_name_that_is_taken_is_not_overwritten():
    shell = InteractiveShell.instance()
    shell.user_ns["execsnoop"] = 3
    try:
        with pytest.raises(commandline.UsageProblem, match="already a int"):
            commandline.run(["tool", "execsnoop"], cli.NOTEBOOK, "%bpf")
        assert shell.user_ns["execsnoop"] == 3
    finally:
        del shell.user_ns["execsnoop"]


def test_no_type_of_a_tool_can_have_the_name_of_one_of_some_kernels() -> None:
    """Kernels differ in the types they have, `struct round` among them: a tool has to compile on all."""
    defined = re.compile(r"^[ \t]*(?:struct|enum|union)\s+(\w+)[^;{}()=*]*\{", re.M)
    checked = 0
    for path in [*TOOLS.glob("*.bpf.c"), *(TOOLS.parent / "include" / "bpfnb").glob("*.h")]:
        name = path.name.removesuffix(".bpf.c")
        for type_name in defined.findall(path.read_text()):
            flavour = "___" in type_name  # of the kernel's own type, for CO-RE
            assert flavour or type_name.startswith((name, "bpfnb_")), f"{path.name}: {type_name}"
            checked += 1
    assert checked > 100
