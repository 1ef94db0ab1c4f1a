"""A tool whose filters can match nothing says so, in terminals and below its views; one that is told the pid of a
wrapper, which processes that has started; one whose filters mean something else by now, that it is to start again.
"""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from html import escape
from pathlib import Path

import nobody
import pytest
from workloads import new_cgroup

import bpfnb
from bpfnb import cli
from bpfnb.errors import BadValue
from bpfnb.processes import Cgroup
from bpfnb.tools import silence
from bpfnb.tools.filters import resolved
from bpfnb.tools.silence import why_silent

NOBODY_THERE = "qzjx nobody"


@pytest.fixture
def patient(monkeypatch):
    """Silence is told of at once, and a tool's end waits for its last look on a busy machine, too."""
    monkeypatch.setattr(silence, "PATIENCE", 0.0)
    monkeypatch.setattr(silence, "LONGEST", 60.0)


def odd(**filters):
    return why_silent(resolved(filters))


def looked(tool):
    """What it says once the look is over that asking begins."""
    tool.remark()
    tool._silence._look.join(60)
    return tool.remark()


@contextmanager
def running(*words):
    """A shell's pid, while it waits; *words* come before it."""
    with subprocess.Popen(
        [*words, "sh", "-c", "echo up; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        yield process.pid


@pytest.fixture
def wrapper():
    """A shell that waits for a program, as timeout and sudo do."""
    inner = "import os; print(os.getpid(), flush=True); os.read(0, 1)"
    command = f"{sys.executable} -c '{inner}'; true"
    process = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.communicate("x")


def test_a_wrapper_is_told_from_the_program_in_it(wrapper):
    outer, inner = wrapper
    said = odd(pid=outer)
    assert said.startswith(f"process {outer} (sh) has started others: --pid {inner} (")
    assert odd(pid=inner) == ""
    assert odd(comm="sh") == ""
    assert odd(pid=inner, comm=NOBODY_THERE) == f"no process is called '{NOBODY_THERE}' now"


def test_the_terminal_says_why_it_shows_no_rows(wrapper, capsys, patient):
    outer, inner = wrapper
    assert cli.main(["tool", "faults", "--pid", str(outer), "--duration", "0.1"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert f"nothing was seen: process {outer} (sh) has started others: --pid {inner} (" in printed.err


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"comm": ["qzjx a", "qzjx b"]}, "no process is called 'qzjx a' or 'qzjx b' now"),
        ({"comm": ["qzjx a", "swapper/0"]}, ""),
        ({"uid": 4_000_000_001}, "no process is of the user '4000000001' now"),
        ({"uid": [4_000_000_001, "root"]}, ""),
        ({"netns": "/proc/self/ns/net"}, ""),
        ({"cgroup": 1 << 40}, "no process is in the cgroup '1099511627776' now"),
        ({"cgroup": "/"}, ""),
    ],
)
def test_a_filter_that_matches_nobody_now_is_told(filters, says):
    assert odd(**filters) == says


def test_a_container_that_has_gone_is_told():
    assert why_silent({"container": [("c0ffee", 1 << 40)]}) == "no process is in the container 'c0ffee' now"


def test_a_cgroup_that_was_made_anew_is_another(patient):
    """As of a service that was restarted: the kernel filters for the id of the old one."""
    with new_cgroup() as place:
        said = f"the cgroup '{place}' is another now: start the tool again"
        with bpfnb.tools.execsnoop(cgroup=str(place)) as tool:
            before = resolved({"cgroup": str(place)})
            assert why_silent(before) == f"no process is in the cgroup '/{place.name}' now"
            place.rmdir()
            place.mkdir()
            with running("sh", "-c", f'echo $$ > {place}/cgroup.procs; exec "$@"', "sh"):
                assert why_silent(before) == said
                assert odd(cgroup=str(place)) == ""
                assert looked(tool) == f"nothing seen yet: {said}"
        assert tool.remark() == f"nothing was seen: {said}"


NETWORKS = """
import subprocess
from bpfnb.tools.filters import resolved
from bpfnb.tools.silence import why_silent

def running(*words):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*words, "sh", "-c", "echo up; read x"], **pipes)
    assert process.stdout.readline() == "up\\n"
    return process

first = running("unshare", "--net")
name = f"/proc/{first.pid}/ns/net"
passing = resolved({"netns": name})
second = running("nsenter", f"--net={name}")
first.communicate()
print(why_silent(passing))
second.communicate()
print(why_silent(passing).replace(name, "NAME"))
print(why_silent({"netns": [("/proc/self/ns/net", 1)]}))
print(why_silent(resolved({"netns": 1})))
"""


def test_a_network_namespace_is_the_one_of_the_start_though_the_process_that_named_it_has_ended():
    """Among processes that all can be looked at: no other may be in it unseen."""
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", NETWORKS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "",
        "no process is in the network namespace 'NAME' now",
        "the network namespace '/proc/self/ns/net' is another now: start the tool again",
        "no process is in the network namespace '1' now",
    ]


def test_a_container_whose_name_is_not_unique_any_more_is_the_one_of_the_start(monkeypatch, capsys):
    ids = ("ab" + "0" * 62, "ab" + "1" * 62)
    there = {5 << 40: Cgroup(5 << 40, f"/docker/{ids[0]}")}
    for place in ("filters", "silence"):
        monkeypatch.setattr(f"bpfnb.tools.{place}.cgroups", lambda: there)
    passing = resolved({"container": "ab"})
    said = f"no process is in the container '/docker/{ids[0]}' now"
    assert why_silent(passing) == said
    there[6 << 40] = Cgroup(6 << 40, f"/docker/{ids[1]}")
    with pytest.raises(BadValue, match="2 containers' ids begin with 'ab'"):
        resolved({"container": "ab"})
    assert why_silent(passing) == said
    del there[5 << 40]
    assert why_silent(passing) == "the container 'ab' is another now: start the tool again"


HIDDEN = """
import sys
from bpfnb.tools.filters import resolved
from bpfnb.tools.silence import why_silent
for filters in ({"pid": int(sys.argv[1])}, {"comm": "qzjx nobody"}, {"uid": 4_000_000_001}, {"netns": 1}):
    print(why_silent(resolved(filters)))
"""


@pytest.mark.parametrize("hidden", [False, True])
def test_who_may_not_see_all_processes_is_not_told_that_there_are_none(hidden):
    """Root's processes are hidden from nobody; the pid is of one that has ended."""
    mount = "mount -t proc -o hidepid=invisible proc /proc && " if hidden else ""
    with nobody.folder() as home, subprocess.Popen(["true"]) as ended:
        ended.wait()
        words = nobody.command(sys.executable, "-c", nobody.ALONE + HIDDEN, str(ended.pid))
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f'{mount}exec "$@"', "sh", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=100,
        )
    if "hidepid" in done.stderr or "wrong fs type" in done.stderr:
        pytest.skip("this kernel knows no hidepid=invisible (Linux 5.8)")
    assert done.returncode == 0, done.stderr
    network = ""  # whose namespace is whose is said to none but root
    assert done.stdout.splitlines() == (
        ["", "", "", network]
        if hidden
        else [
            f"there is no process {ended.pid} now",
            "no process is called 'qzjx nobody' now",
            "no process is of the user '4000000001' now",
            network,
        ]
    )


def test_views_take_their_turns_while_it_is_looked_at_processes(monkeypatch, patient):
    begun, goes_on = threading.Event(), threading.Event()

    def slow(passing):
        begun.set()
        assert goes_on.wait(60)
        return "it took long"

    monkeypatch.setattr(silence, "why_silent", slow)
    with bpfnb.tools.execsnoop(comm=NOBODY_THERE) as tool:
        view, other = tool.view(), tool.view()
        try:
            assert view._turn() > 0
            assert begun.wait(60)
            assert (view._turn() > 0, other._turn() > 0, view.note, other.note) == (True, True, "", "")
            assert '<p class="b-note"' not in view.html()
            assert not goes_on.is_set()
        finally:
            goes_on.set()
        look = tool._silence._look
        look.join(60)
        view._turn()
        assert view.note == "nothing seen yet: it took long"
    assert (view.note, other.note) == ("nothing was seen: it took long",) * 2
    assert not tool._silence._look.is_alive()


def test_an_end_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(silence, "LONGEST", 0.0)
    goes_on = threading.Event()
    monkeypatch.setattr(silence, "why_silent", lambda passing: "it took long" if goes_on.wait(60) else "")
    tool = bpfnb.tools.execsnoop(comm=NOBODY_THERE)
    try:
        tool.close()
        assert (tool.closed, goes_on.is_set(), tool.remark()) == (True, False, "")
    finally:
        tool.close()
        goes_on.set()
    tool._silence._look.join(60)
    assert tool.remark() == "nothing was seen: it took long"


def test_what_a_look_runs_into_is_among_the_errors_of_a_view_that_ends_all_the_same(monkeypatch, patient):
    def broken(passing):
        raise ValueError("Uid: -")

    monkeypatch.setattr(silence, "why_silent", broken)
    monkeypatch.setattr(silence, "_AGAIN", float("inf"))
    with bpfnb.tools.execsnoop(comm=NOBODY_THERE) as tool:
        view = tool.view()
        view._turn()
        tool._silence._look.join(60)
        view._turn()
        view._turn()
        assert [str(error) for error in view.errors] == ["Uid: -"]
    assert (view.state, view.note) == ("done", "")


def test_the_terminal_ends_in_order_whatever_the_last_look_runs_into(monkeypatch, capsys, patient):
    def broken(passing):
        raise BadValue("2 containers' ids begin with 'ab'")

    monkeypatch.setattr(silence, "why_silent", broken)
    assert cli.main(["tool", "faults", "--comm", NOBODY_THERE, "--duration", "0.1"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert printed.err == ""


def test_a_name_that_only_a_thread_has_is_there_and_one_that_is_spelled_alike_is_offered():
    named, over = threading.Event(), threading.Event()

    def work():
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("qzjx-threads")
        named.set()
        over.wait()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert named.wait(10)
        assert odd(comm="qzjx-threads") == ""
        said = odd(comm="qzjx-thread")
        assert said == "no process is called 'qzjx-thread' now, but 'qzjx-threads' is there"
    finally:
        over.set()
        worker.join()


def test_views_say_it_after_a_while_of_silence_until_a_row_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(silence, "PATIENCE", float("inf"))
    program = tmp_path / "qzjx-silent"
    program.symlink_to("/bin/true")
    with bpfnb.tools.execsnoop(comm=program.name) as tool:
        view = tool.view()
        assert '<p class="b-note"' not in view.html()
        monkeypatch.setattr(silence, "PATIENCE", 0.0)
        said = "nothing seen yet: no process is called 'qzjx-silent' now"
        assert looked(tool) == said
        assert f'<p class="b-note" role="status">{escape(said)}</p>' in view.html()
        assert view.note == said
        subprocess.run([program], check=True)
        assert tool.wait(1, timeout=30)
        assert tool.remark() == ""
        assert '<p class="b-note"' not in view.html()
        assert view.note == ""


def test_what_is_said_at_the_end_stays(monkeypatch, patient):
    """Also of a map, whose rows are looked for now and then; without a filter nothing is said."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    with bpfnb.tools.runqlat(pid=ended.pid) as tool, bpfnb.tools.oomkill() as other:
        assert looked(tool) == f"nothing seen yet: there is no process {ended.pid} now"
        tool.stop()
        assert tool.remark() == f"nothing was seen: there is no process {ended.pid} now"
        monkeypatch.setattr(silence, "why_silent", lambda passing: "it is asked again")
        assert tool.remark() == f"nothing was seen: there is no process {ended.pid} now"
        assert other.remark() == ""


def test_a_view_that_is_made_after_the_end_says_why_there_was_nothing(patient):
    """As things stood at the end: the process may have ended since."""
    with running() as pid, bpfnb.tools.runqlat(pid=pid, comm=NOBODY_THERE) as tool:
        pass
    assert tool.remark() == f"nothing was seen: no process is called '{NOBODY_THERE}' now"
    assert tool.view().html().count("there is no process") == 0


def test_an_ended_process_is_named():
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert odd(pid=[os.getpid(), ended.pid]) == f"there is no process {ended.pid} now"
    with pytest.raises(BadValue, match=f"there is no process {ended.pid}"):
        bpfnb.tools.memleak(pid=ended.pid)
    with pytest.raises(BadValue, match="a pid is a whole number"):
        bpfnb.tools.mutexes(pid="x")
