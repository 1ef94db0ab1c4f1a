"""Commands in a guest: shown as they run, interrupted, from a cell, from a terminal; and what a line is told and offers."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator

import pytest
from bpfnb.magics.completion import complete
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import bpfnb
import bpfnb.vm
from bpfnb.errors import BadValue, MissingDependency, UnknownName
from bpfnb.vm import kernels
from bpfnb.vm.command import NO_INPUT, TERMINAL, Command, CommandError
from bpfnb.vm.remote import Buffer

RING = 'struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, u64); } events SEC(".maps");'
BPFNB = [sys.executable, "-m", "bpfnb"]


@pytest.fixture(scope="module")
def vm() -> Iterator[bpfnb.vm.Vm]:
    try:
        machine = bpfnb.vm.start("6.12", name="commands")
    except MissingDependency as error:
        pytest.skip(str(error))
    with machine:
        yield machine


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell.instance(config=config)
    made.extension_manager.load_extension("bpfnb")
    yield made
    made.extension_manager.unload_extension("bpfnb")
    InteractiveShell.clear_instance()


def offered(text: str) -> list[str]:
    found = complete(text, 0, len(text))
    return [] if found is None else [candidate.text for candidate in found.candidates]


def agent_files(vm) -> int:
    return len(list(vm.system.path("/proc/1/fd").iterdir()))


@pytest.mark.parametrize("kind", [NO_INPUT, TERMINAL])
def test_a_command_that_has_no_room_is_refused_and_the_guest_goes_on(vm, kind):
    """No process is left (fork), then no descriptor (a pipe or terminal of its own): whichever of them is missing."""
    most, before = vm.read("/proc/sys/kernel/threads-max"), agent_files(vm)
    vm._remote.write_file("/proc/sys/kernel/threads-max", b"20")
    try:
        with pytest.raises(CommandError, match="the guest 'commands' cannot begin true") as caught:
            Command(vm._channel, "true", input_kind=kind)
        assert caught.value.errno == errno.EAGAIN
    finally:
        vm._remote.write_file("/proc/sys/kernel/threads-max", most)
    files = 7  # RLIMIT_NOFILE
    limit = vm._remote.call("getrlimit", files, Buffer(size=16, back=True)).buffers[0]
    codes = []
    for room in range(before, before + 6):
        vm._remote.libc("setrlimit", files, Buffer(struct.pack("<Q", room) + limit[8:]))
        try:
            codes.append(Command(vm._channel, "true", input_kind=kind).wait(60).returncode)
        except CommandError as error:
            codes.append(error.errno)
        finally:
            vm._remote.libc("setrlimit", files, Buffer(limit))
    assert codes.index(0) >= 2
    assert set(codes) == {errno.EMFILE, 0}
    assert agent_files(vm) == before
    assert vm.run("echo fine").stdout == "fine\n"


def test_a_terminal_that_its_command_has_closed_is_not_looked_at_all_the_time(vm):
    """While a command runs the agent sleeps, as it does not while there is always something to read."""
    closes = "exec </dev/null >/dev/null 2>&1; echo closed >/tmp/closed; exec sleep 1000"
    process = Command(vm._channel, ["sh", "-c", closes], input_kind=TERMINAL)
    try:
        deadline = time.monotonic() + 60
        state = ""
        while state != "S" and time.monotonic() < deadline:
            state = vm.run("[ ! -e /tmp/closed ] || cut -d ' ' -f 3 /proc/1/stat").stdout.strip()
        assert state == "S"
    finally:
        process.kill()
        assert process.wait(60).returncode == -signal.SIGKILL
        vm.run("rm /tmp/closed", check=True)


def test_descriptors_of_the_agent_are_not_those_of_commands(vm):
    """Those that it duplicates, neither."""
    own = vm._remote.dup(1)
    try:
        with bpfnb.load(RING, name="ring", on=vm) as obj:
            assert not len(obj.events.frame())  # its buffer is being read
            held = vm.run("ls /proc/self/fd", check=True).stdout.split()
    finally:
        vm._remote.close(own)
    assert held == ["0", "1", "2", "3"]  # 3: the folder that it lists


def test_output_is_shown_while_the_command_runs(vm, monkeypatch):
    """The command waits for a file that is made when its first line has been seen."""
    seen = []

    class Screen:
        def write(self, text: str) -> None:
            seen.append(text)
            if "first" in text:
                vm._remote.write_file("/tmp/go-on", b"")

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stdout", Screen())
    code = vm.sh(
        "echo first; until [ -e /tmp/go-on ]; do sleep 0.05; done; rm /tmp/go-on; printf 'größer'; exit 3"
    )
    assert code == 3
    assert "".join(seen) == "first\ngrößer"


def test_an_interrupt_goes_to_the_command(vm, capsys):
    def interrupt() -> None:
        while "waiting" not in vm.run("cat /tmp/state 2>/dev/null").stdout:
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        vm.sh("trap 'echo interrupted; exit' INT; echo waiting > /tmp/state; while :; do :; done")
    thread.join()
    assert capsys.readouterr().out == "interrupted\n"
    assert vm.run("rm /tmp/state; pidof sh").stdout.split() == []


@pytest.mark.parametrize("kind", [NO_INPUT, TERMINAL])
def test_a_command_that_never_stops_writing_hears_signals(vm, kind):
    """It writes faster than it is listened to: whenever the guest waits for the host its pipe is full again."""
    listened, go_on = threading.Event(), threading.Event()

    def sink(kind: int, part: bytes) -> bool:
        listened.set()
        go_on.wait(60)
        return False

    process = Command(vm._channel, ["yes"], input_kind=kind, sink=sink)
    try:
        assert listened.wait(60)
        process.kill(signal.SIGTERM)  # while the guest can send nothing
    finally:
        go_on.set()
    assert process.wait(60).returncode == -signal.SIGTERM


def test_commands_are_answered_and_streams_come_while_one_never_stops_writing(vm):
    source = RING + (
        'SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx)'
        "{ u64 *e = bpf_ringbuf_reserve(&events, 8, 0); if (e) { *e = 7; bpf_ringbuf_submit(e, 0); } return 0; }"
    )
    with bpfnb.load(source, name="beside", on=vm) as obj:
        process = vm.popen("yes", on_output=lambda part: None)
        try:
            assert vm.run("echo alive").stdout == "alive\n"
            vm._remote.call("getpgid", 0)
            assert len(obj.events.frame()) == 1
            half = vm.run("head -c 3000000 /dev/zero | tr '\\0' x; printf end").stdout
        finally:
            process.kill()
    assert half == "x" * 3_000_000 + "end"
    assert process.wait(60).returncode == -signal.SIGKILL


def test_an_interrupt_of_a_command_that_never_stops_writing(vm, monkeypatch):
    class Screen:
        def write(self, text: str) -> None:
            raise KeyboardInterrupt

        def flush(self) -> None:
            pass

    with monkeypatch.context() as change:
        change.setattr(sys, "stdout", Screen())
        with pytest.raises(KeyboardInterrupt):
            vm.sh("yes")
    assert vm.run("pidof yes").stdout == ""


def test_a_large_input_does_not_stop_the_guest(vm):
    assert vm.run("cat", input="x" * 3_000_000).stdout == "x" * 3_000_000
    assert (
        vm.run(["sh", "-c", "cat; echo $0 $1", "a b", "c"], input="y" * 100_000).stdout[100_000:] == "a b c\n"
    )
    assert vm.run("ls -a /tmp | grep input").stdout == ""


def test_a_line_and_a_cell_of_commands(vm, shell, capsys):
    shell.run_line_magic("bpf", """vm sh echo "a  b" 'it is' | tr a c; kill -9 $$""")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("c  b it is\n", "exit code -9\n")
    shell.run_cell_magic("bpf", "vm sh --name commands", "for i in 1 2 3; do\n  echo $i\ndone\necho no >&2\n")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("1\n2\n3\n", "no\n")
    with pytest.raises(UsageError, match="the commands are those of the cell, not 'ls'"):
        shell.run_cell_magic("bpf", "vm sh ls", "true\n")
    with pytest.raises(UsageError, match="what is to be run"):
        shell.run_line_magic("bpf", "vm sh")
    with pytest.raises(UsageError, match="there is no option --foldr; did you mean --folder"):
        shell.run_line_magic("bpf", "vm start 6.12 --foldr /usr")
    with pytest.raises(UsageError, match="did you mean start"):
        shell.run_line_magic("bpf", "vm strat 6.12")
    assert "--folder PATH[:PLACE]" in shell.run_line_magic("bpf", "vm start --help").text()
    assert shell.run_line_magic("bpf", "vm").rows == [("commands", vm.kernel.release, "running")]


def test_options_of_a_start_on_a_line(shell, tmp_path):
    (tmp_path / "a").write_text("words")
    said = shell.run_line_magic(
        "bpf", f"vm start 6.12 --name lines --folder {tmp_path}:/data --hours 1"
    ).text()
    vm = bpfnb.vm.get("lines")
    try:
        assert f"/data there is {tmp_path} here" in said
        assert vm.run("cat /data/a").stdout == "words"
        assert vm._machine._limits.seconds == vm._machine._limits.cpu_seconds == 3600
    finally:
        shell.run_line_magic("bpf", "vm stop lines")
    assert not vm.running


def test_guests_and_kernels_complete(vm):
    assert offered("%bpf vm st") == ["start", "stop"]
    assert "--folder" in offered("%bpf vm start 6.12 --")
    assert "6.12" in offered("%bpf vm start 6")
    assert offered("%bpf vm stop ") == ["commands"]
    assert offered("%bpf vm sh --name c") == ["commands"]
    for line in ("%%bpf io --on ", "%bpf tool opensnoop --on "):
        assert offered(line)[0] == "commands"
        assert "6.12" in offered(line)
        assert "newest" not in offered(line)  # it may have to be fetched
    assert "newest" in offered("%bpf vm start ")
    assert offered("%%bpf vm sh --n") == ["--name"]
    assert complete("%%bpf vm sh\nls st", 1, 5) is None


def test_a_guest_is_found_by_as_much_of_its_version_as_a_kernel_is(vm):
    release = vm.kernel.release
    for name in ("", "commands", "6.12", re.match(r"[\d.]+", release)[0], release):
        assert bpfnb.vm.get(name) is vm
    with pytest.raises(UnknownName):
        bpfnb.vm.get("6.1")


COUNTER = 'u64 seen = 0; SEC("tp/syscalls/sys_enter_getpgid") int go(void *ctx) { seen++; return 0; }'


def test_on_a_kernel_that_does_not_run_starts_it(vm, monkeypatch):
    with bpfnb.load(COUNTER, name="named", on="commands") as counter:
        assert counter.backend is vm.backend
    monkeypatch.setattr(bpfnb.vm.machine, "machines", {})  # as if none ran
    monkeypatch.setattr(bpfnb.vm, "machines", bpfnb.vm.machine.machines)
    with bpfnb.load(COUNTER, name="started", on="6.12") as counter:
        (started,) = bpfnb.vm.machine.machines.values()
        with started:
            started._remote.call("getpgid", 0)
            assert counter.vars.seen == 1
    with pytest.raises(UnknownName, match=r"no virtual machine '6\.x' runs"):
        bpfnb.load(COUNTER, name="absent", on="6.x")


def test_a_kernel_that_is_misspelt_is_told_its_neighbours(monkeypatch):
    monkeypatch.setattr(
        kernels, "offered", lambda: [f"{version}.1-amd64" for version in ("6.1", "6.12", "6.18", "7.3")]
    )
    with pytest.raises(UnknownName, match=r"no kernel 6\.21") as caught:
        kernels.find("6.21")
    assert caught.value.hints[0].startswith("did you mean 6.12, ")
    with pytest.raises(UnknownName) as caught:
        kernels.find("newst")
    assert caught.value.hints == ("did you mean newest",) or "newest" in caught.value.hints[0]

    def none() -> list[str]:
        raise MissingDependency("no mirror", hints=["another way"])

    monkeypatch.setattr(kernels, "offered", none)
    with pytest.raises(MissingDependency) as caught:
        kernels.find("6.21")
    assert "6.12" in caught.value.hints[0]
    assert caught.value.hints[1] == "another way"


def test_the_command_has_the_exit_code_of_what_it_ran(tmp_path):
    (tmp_path / "script").write_text("echo $((6 * 7))\n")

    def sh(*words: str, **options: object) -> tuple[int, str, str]:
        done = subprocess.run(
            [*BPFNB, "vm", "sh", *words], capture_output=True, text=True, timeout=110, **options
        )
        return done.returncode, done.stdout, done.stderr

    assert sh("6.12", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert sh("6.12", "--folder", f"{tmp_path}:/data", "sh", "/data/script") == (0, "42\n", "")
    assert sh("6.12", "--memory", "512", "--", "echo", "-n", "words") == (0, "words", "")
    assert sh("6.12", input="echo piped\nkill -9 $$\n") == (137, "piped\n", "")
    code, _, said = sh("6.12", "--folder", "/", "true")
    assert code == 1
    assert "holds your home folder" in said


class Terminal:
    """``bpfnb`` with a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.end, far = pty.openpty()
        self.resize(30, 90)
        self.process = subprocess.Popen(
            [*BPFNB, *words],
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
            env={**os.environ, "TERM": "vt100"},
        )
        os.close(far)
        self.said = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.end, text.encode())

    def until(self, text: str) -> str:
        """What is said up to *text*."""
        deadline = time.monotonic() + 60
        while text.encode() not in self.said:
            ready, _, _ = select.select([self.end], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.said
            self.said += os.read(self.end, 4096)
        before, _, self.said = self.said.partition(text.encode())
        return before.decode()

    def drain(self) -> None:
        try:
            while os.read(self.end, 4096):
                pass
        except OSError:  # nobody has the other end any more
            os.close(self.end)


def test_a_shell_of_a_guest_in_a_terminal(vm):
    with pytest.raises(BadValue, match="a shell needs a terminal"):
        vm.shell()
    terminal = Terminal("vm", "sh", "6.12")
    terminal.until("# ")
    terminal.type("echo $((6 * 7)); stty size\r")
    assert "42\r\n30 90" in terminal.until("30 90") + "30 90"
    terminal.until("# ")
    terminal.type("echo begun; sleep 1000\r")
    terminal.until("\nbegun")
    terminal.type("\x03echo $?\r")  # Ctrl-C is the guest's
    terminal.until("130\r\n")
    terminal.resize(44, 111)
    os.kill(
        terminal.process.pid, signal.SIGWINCH
    )  # it is the session's leader, without that terminal as its own
    terminal.type("until [ \"$(stty size)\" = '44 111' ]; do sleep 0.05; done; echo re''sized\r")
    terminal.until("resized")
    terminal.type("exit 5\r")
    terminal.drain()
    assert terminal.process.wait(30) == 5


def test_a_terminal_is_as_it_was_when_the_guest_panicked_below_its_shell():
    terminal = Terminal("vm", "sh", "6.12")
    before = termios.tcgetattr(terminal.end)
    kept = os.dup(terminal.end)
    try:
        terminal.until("# ")
        assert termios.tcgetattr(kept) != before
        terminal.type("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger\r")
        terminal.until("kernel panicked")
        terminal.drain()
        assert terminal.process.wait(30) == 1
        assert termios.tcgetattr(kept) == before
    finally:
        os.close(kept)
