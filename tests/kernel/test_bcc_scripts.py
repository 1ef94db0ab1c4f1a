"""Foreign scripts in a child: unmodified, output as it comes, stoppable, and nothing left attached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfnb.bcc import run_script
from bpfnb.bcc.reasons import probes, reason
from bpfnb.errors import BadValue, UnknownName
from bpfnb.kernel.features import features

pytestmark = pytest.mark.usefixtures("bcc_installed")

COUNTER = r'''#!/usr/bin/env python3
import ctypes, os, sys
from bcc import BPF
b = BPF(text="""
#include <linux/sched.h>
BPF_HASH(bpfnb_counts, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 key = task->tgid;
    bpfnb_counts.increment(key);
    return 0;
}
""")
print("arguments", sys.argv[1:])
for _ in range(7):
    ctypes.CDLL(None).getppid()
print("counted", b["bpfnb_counts"][ctypes.c_uint32(os.getpid())].value)
'''
FOREVER = (
    COUNTER
    + r"""
print("waiting")
import time
try:
    while True:
        time.sleep(1)
except KeyboardInterrupt:
    print("interrupted")
"""
)


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "tool.py"
        path.write_text(text)
        return path

    return write


def maps_of(pid: int) -> bool:
    """Whether a process holds BPF maps or programs."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any("bpf" in link for link in links)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def read_until(script: object, word: str) -> str:
    text = ""
    for piece in script:  # type: ignore[attr-defined]
        text += piece
        if word in text:
            break
    return text


def test_a_script_runs_unmodified_and_measures_right(tool: Callable[[str], Path]) -> None:
    script = run_script(tool(COUNTER), ["-x", "two words"])
    assert script.read().splitlines() == ["arguments ['-x', 'two words']", "counted 7"]
    assert script.returncode == 0


def test_output_comes_while_the_script_runs_and_stop_ends_it(tool: Callable[[str], Path]) -> None:
    with run_script(tool(FOREVER)) as script:
        assert "counted 7" in read_until(script, "waiting")
        assert script.returncode is None
        assert maps_of(script.pid)
        script.interrupt()
        assert script.read().split() == ["interrupted"]
        assert script.stop() == 0
    assert not maps_of(script.pid)


def test_an_interrupt_at_once_ends_a_script_without_a_word(tool: Callable[[str], Path]) -> None:
    with run_script(tool(FOREVER)) as script:
        script.interrupt()
        assert script.read() == ""
        assert script.returncode == 130


def test_a_script_that_ignores_interrupts_is_ended_all_the_same(tool: Callable[[str], Path]) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + FOREVER.split("\n", 1)[1]
    script = run_script(tool(stubborn))
    read_until(script, "waiting")
    assert script.stop() == -signal.SIGTERM
    assert not maps_of(script.pid)


def test_nothing_is_left_where_the_parent_is_killed(tool: Callable[[str], Path]) -> None:
    code = f"""
import os
from bpfnb.bcc import run_script
script = run_script({str(tool(FOREVER))!r})
text = ""
for piece in script:
    text += piece
    if "waiting" in text:
        break
print(script.pid, flush=True)
input()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert maps_of(pid)
    parent.kill()
    parent.communicate()
    assert wait_until(lambda: not maps_of(pid))


def test_errors_of_a_script_are_told_at_its_lines(tool: Callable[[str], Path]) -> None:
    script = run_script(tool(COUNTER.replace("task->tgid", "task->tgidd")))
    text = script.read()
    assert script.returncode == 1
    assert "no member named 'tgidd' in 'struct task_struct'" in text
    assert "line 6" in text
    assert "Traceback" not in text


def test_missing_kprobes_are_named(tool: Callable[[str], Path]) -> None:
    if features().attach["kprobe"].ok is not False:
        pytest.skip("this kernel has kprobes")
    text = 'from bcc import BPF\nb = BPF(text="int f(void *ctx) { return 0; }")\n'
    text += (
        'b.attach_kprobe(event="vfs_read", fn_name="f")\nb.attach_kretprobe(event="vfs_write", fn_name="f")\n'
    )
    script = run_script(tool("#!/usr/bin/python3\n" + text))
    said = script.read()
    assert script.returncode == 1
    assert "needs probes on kernel functions, and this kernel has no kprobes" in said
    assert "its probes: kprobe:vfs_read, kretprobe:vfs_write" in said
    assert "TRACEPOINT_PROBE(syscalls, sys_exit_read)" in said


def test_probes_are_found_in_all_ways_of_writing_them() -> None:
    text = """b.attach_kprobe(event="a1", fn_name="x"); attach_kretprobe(event_re='^b2$', ...)
    int kprobe__c3(struct pt_regs *ctx) KFUNC_PROBE(d4, int x) KRETFUNC_PROBE(e5) kretprobe__c3(x)
    KFUNC_PROBE(FNNAME) f = b.get_syscall_fnname("kill")"""
    assert probes(text) == [
        "kprobe:a1",
        "kretprobe:^b2$",
        "kprobe:c3",
        "fentry:d4",
        "fexit:e5",
        "kretprobe:c3",
        "ksyscall:kill",
    ]


def test_the_verb_stands_in_the_place_of_the_command(tool: Callable[[str], Path]) -> None:
    """Its input is the tool's, and what it returns is the tool's too; a path may be relative, an argument quoted."""
    path = tool(COUNTER + "print('read', input())\nsys.exit(7)\n")
    done = subprocess.run(
        [sys.executable, "-m", "bpfnb", "script", path.name, "--", "-d", "1", "two words", "--", "-x"],
        input="a line\n",
        capture_output=True,
        text=True,
        cwd=path.parent,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "arguments ['-d', '1', 'two words', '--', '-x']",
        "counted 7",
        "read a line",
    ]
    assert done.returncode == 7


def test_a_reader_that_has_enough_is_no_error(tool: Callable[[str], Path]) -> None:
    command = [sys.executable, "-m", "bpfnb", "script", str(tool("while True:\n    print('more')\n"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "more\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_a_tool_in_a_notebook_reads_no_input(tool: Callable[[str], Path]) -> None:
    script = run_script(tool("import bcc, sys\nprint(repr(sys.stdin.read()))\nsys.exit('it says why')\n"))
    assert script.read().splitlines() == ["''", "it says why"]
    assert script.returncode == 1


def test_errors_of_a_script_of_its_own_are_told_without_the_machinery(tool: Callable[[str], Path]) -> None:
    path = tool("import bcc\ndef deep():\n    raise ValueError('no such thing')\ndeep()\n")
    script = run_script(path)
    assert script.read().splitlines() == [
        "tool.py ended with an error of its own: ValueError: no such thing",
        f"  {path.parent.name}/tool.py, line 4: deep()",
        f"  {path.parent.name}/tool.py, line 3: raise ValueError('no such thing')",
    ]
    assert script.returncode == 1


def test_a_tool_for_a_terminal_says_so(tool: Callable[[str], Path]) -> None:
    said = run_script(tool("import curses\ncurses.wrapper(print)\n")).read()
    assert "tool.py draws on a terminal, and its output does not go to one." in said
    assert "Traceback" not in said


EVENTS = r'''
import ctypes, os, sys, time
from bcc import BPF
b = BPF(text="""
BPF_PERF_OUTPUT(events);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (pid == PID)
        events.perf_submit(args, &pid, sizeof(pid));
    return 0;
}
""".replace("PID", str(os.getpid())))
b["events"].open_perf_buffer(seen)
for _ in range(9):
    ctypes.CDLL(None).getppid()
try:
    while True:
        b.perf_buffer_poll(100)
except KeyboardInterrupt:
    print("the last words")
'''


def test_a_tool_that_exits_while_it_is_handed_an_event_does(tool: Callable[[str], Path]) -> None:
    """As trace -M does. ctypes prints exceptions of callbacks and goes on."""
    script = run_script(tool("def seen(*_):\n    print('seen')\n    sys.exit(3)\n" + EVENTS))
    assert script.read().splitlines() == ["seen"]
    assert script.returncode == 3


def test_an_interrupt_while_a_tool_is_handed_an_event_reaches_it(tool: Callable[[str], Path]) -> None:
    busy = "def seen(*_):\n    print('seen')\n    if not said:\n        said.append(1)\n        os.kill(os.getpid(), 2)\n"
    busy = f"said = []\n{busy}    time.sleep(0.02)\n"  # what is sent once more comes while the next one is handed over
    script = run_script(tool(busy + EVENTS))
    said = script.read().splitlines()
    assert said[-1] == "the last words"
    assert set(said[:-1]) == {"seen"}
    assert script.returncode == 0


def test_a_process_of_a_tool_has_one_thread(tool: Callable[[str], Path]) -> None:
    """With more, libbcc could not enter the mount namespace of a container."""
    script = run_script(tool("import bcc, os\nprint(len(os.listdir('/proc/self/task')))\n"))
    assert script.read() == "1\n"


def test_debugfs_is_there_for_a_tool_that_asks_for_it_and_for_nobody_else(
    tool: Callable[[str], Path],
) -> None:
    before = Path("/proc/self/mounts").read_text()
    text = "import os\nprint('getppid' in str(os.listdir('/sys/kernel/debug/tracing/events/syscalls')))\n"
    assert run_script(tool(text)).read() == "True\n"
    assert Path("/proc/self/mounts").read_text() == before


def test_a_shell_script_finds_headers_for_the_tools_that_it_starts(
    tool: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tool(COUNTER)
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\n/usr/bin/python3 {path} "$@"\nexit 5\n')
    shell.chmod(0o755)
    script = run_script(shell, ["-x"])
    assert script.read().splitlines() == ["arguments ['-x']", "counted 7"]
    assert script.returncode == 5


def test_a_shell_script_around_a_packaged_tool_is_that_tool(tmp_path: Path) -> None:
    (tmp_path / "ucounter").write_text("#!/usr/bin/python3\nimport sys\nprint(sys.argv[1:])\n")
    wrapper = tmp_path / "javacounter"
    wrapper.write_text('#!/bin/bash\nlib=$(dirname $0)\n$lib/ucounter -l java "$@"\n')
    assert run_script(wrapper, ["-p", "1"]).read() == "['-l', 'java', '-p', '1']\n"


def test_a_tool_of_bpfnb_with_the_name_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if features().attach["kprobe"].ok is not False:
        pytest.skip("this kernel has kprobes")
    import bpfnb.tools

    (tmp_path / "opendrop.py").write_text("")
    monkeypatch.setattr(bpfnb.tools, "__path__", [*bpfnb.tools.__path__, str(tmp_path)])
    tool = tmp_path / "opendrop-bpfcc"
    tool.write_text("b.attach_kprobe(event='vfs_read', fn_name='f')")
    error = Exception("cannot attach kprobe, probe entry may not exist")
    assert "bpfnb has a opendrop of its own that needs no kprobes: %bpf tool opendrop" in reason(tool, error)
    other = tool.rename(tmp_path / "closedrop-bpfcc")
    assert "%bpf tool" not in reason(other, error)


def test_what_is_no_script_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no script 'nonesuch'"):
        run_script("nonesuch")
    shell = tmp_path / "shell"
    shell.write_text("not to be executed\n")
    with pytest.raises(BadValue, match="no script"):
        run_script(shell)


def test_a_packaged_tool_counts_what_is_known() -> None:
    """syscount of one process that makes getppid calls, and nothing else of that name."""
    try:
        from bpfnb.bcc.scripts import _locate

        path = _locate("syscount")
    except UnknownName:
        pytest.skip("bpfcc-tools is not installed")
    code = "import os, sys\nsys.stdin.readline()\nfor _ in range(12345): os.getppid()\nprint(flush=True)\ninput()"
    load = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert load.stdin is not None
    assert load.stdout is not None
    with run_script(path, ["-p", str(load.pid)]) as script:
        said = read_until(script, "Tracing")
        load.stdin.write("go\n")
        load.stdin.flush()
        load.stdout.readline()
        script.interrupt()
        said += script.read()
    load.communicate("\n")
    rows = [line.split() for line in said.splitlines()]
    assert ["getppid", "12345"] in rows
