"""bcc's packaged tools, unmodified and without kernel headers: what they measure where the workload is known.

And every one of them started once, two at a time: a fifth of those that stop at a kprobe and of those for runtimes
that are not here, all with BPFNB_ALL_TOOLS=1 (three minutes).
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tool_table import OWN_TEST, TABLE, Row
from tooling import SOURCE, Doer, Tool, one_processor

from bpfnb.kernel.features import features

FOLDER = Path("/usr/sbin")
PYTHON = Path("/usr/bin/python3")
SCRIPT = """
import gc, sys
def square(x): return x * x
for line in sys.stdin:
    for i in range(123): square(i)
    gc.collect()
    print("done", flush=True)
"""
RUN_END_TO_END = 48
"""At least so many of the tools do on a kernel without kprobes, of the 133 that there are."""


@pytest.fixture(scope="module", autouse=True)
def _tools(bcc_installed: None) -> None:
    if not (FOLDER / "tcplife-bpfcc").exists():
        pytest.skip("bpfcc-tools is not installed")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("work") / "bpfnb-work"
    command = [
        compiler,
        "-O1",
        "-g",
        "-fno-omit-frame-pointer",
        "-fno-builtin-malloc",
        "-pthread",
        "-xc",
        "-",
    ]
    subprocess.run([*command, "-o", str(path)], input=SOURCE, text=True, check=True)
    return path


@pytest.fixture
def work(program: Path) -> Iterator[Doer]:
    with Doer(program) as doer:
        yield doer


@pytest.fixture(scope="module")
def python() -> Iterator[Doer]:
    with Doer(PYTHON, "-c", SCRIPT) as doer:
        doer.do("warm up")
        yield doer


# Functions of a user's program.


def test_funccount_counts_the_calls_of_user_functions(program: Path, work: Doer) -> None:
    with Tool("funccount", "-p", work.pid, "-r", f"{program}:^(visit|leak|spin)$") as tool:
        tool.ready("Tracing 3 functions")
        work.do("visit", 777)
        work.do("leak", 3)
        tool.interrupted()
    assert {tuple(row) for row in tool.rows()} >= {("visit", "777"), ("leak", "3")}


def test_argdist_has_the_distribution_of_a_functions_argument(program: Path, work: Doer) -> None:
    probe = f"p:{program}:visit(int value):int:value"
    with Tool("argdist", "-p", work.pid, "-c", "-i", 1, "-C", probe) as tool:
        tool.ready("COUNT +EVENT")
        work.do("visit", 778)
        tool.shows(*(rf"^\s*{count} +value = {value}$" for value, count in enumerate([195, 195, 194, 194])))
        tool.interrupted()


def test_argdist_has_a_histogram_of_what_a_function_returns(program: Path, work: Doer) -> None:
    with Tool(
        "argdist", "-p", work.pid, "-c", "-i", 1, "-H", f"r:{program}:visit(int value):int:$retval"
    ) as tool:
        tool.shows(r"\[\d\d:")
        work.do("visit", 40)  # 0, 2, 4 and 6
        tool.shows(r"0 -> 1 +: 10 .*\n +2 -> 3 +: 10 .*\n +4 -> 7 +: 20 ")
        tool.interrupted()


def test_argdist_has_the_distribution_of_a_tracepoints_argument(work: Doer) -> None:
    probe = "t:syscalls:sys_enter_lseek():u32:args->whence"
    with Tool("argdist", "-p", work.pid, "-c", "-i", 1, "-C", probe) as tool:
        tool.ready("COUNT +EVENT")
        work.do("seek", 31)
        tool.shows(r"^\s*16 +args->whence = 1$", r"^\s*15 +args->whence = 2$")
        tool.interrupted()


def test_trace_prints_arguments_and_ends_after_as_many_as_it_was_told(program: Path, work: Doer) -> None:
    probe = f'p:{program}:visit(int value, char *name) "value=%d name=%s", value, name'
    with Tool("trace", "-p", work.pid, "-M", 6, probe) as tool:
        tool.ready("PID +TID")
        work.do("visit", 20)
        tool.ended()
    rows = [row for row in tool.rows() if row[0] == str(work.pid)]
    assert [row[4:] for row in rows] == [[f"value={number % 4}", "name=somebody"] for number in range(6)]
    assert tool.script.returncode == 0


def test_trace_prints_a_tracepoints_fields_where_they_match(work: Doer) -> None:
    probe = 't:syscalls:sys_enter_lseek (args->offset > 6) "offset %d", args->offset'
    with Tool("trace", "-p", work.pid, "-M", 3, probe) as tool:
        tool.ready("PID +TID")
        work.do("seek", 20)
        tool.ended()
    assert [row[4:] for row in tool.rows()[1:]] == [["offset", "7"], ["offset", "8"], ["offset", "9"]]


def test_stackcount_counts_by_stack(program: Path, work: Doer) -> None:
    with Tool("stackcount", "-p", work.pid, "-f", "-D", 4, f"{program}:leak") as tool:
        tool.attached()
        work.do("leak", 9)
        tool.ended()
    assert re.search(r"^bpfnb-work;.*;main;leak 9$", tool.text, re.M), tool.text


def test_funclatency_and_funcslower_see_each_call(program: Path, work: Doer) -> None:
    with (
        Tool("funclatency", "-p", work.pid, "-u", f"{program}:spin") as latency,
        Tool("funcslower", "-p", work.pid, "-u", 100, f"{program}:spin") as slower,
    ):
        latency.ready("Tracing 1 functions")
        slower.ready("^COMM")
        work.do("spin", 6)
        slower.shows(rf"(^bpfnb-work +{work.pid} .*:spin.*\s+){{6}}")
        slower.interrupted()
        latency.interrupted()
    assert re.search("^avg = .* count: 6$", latency.text, re.M)
    assert sum(int(found) for found in re.findall(r"-> \d+ +: (\d+)", latency.text)) == 6


def test_profile_finds_the_busy_function(program: Path, work: Doer) -> None:
    with Tool("profile", "-p", work.pid, "-f", "-U", "-F", 199, 4) as tool:
        tool.attached()
        while not tool.text.count("bpfnb-work;") and tool.script.returncode is None:
            work.do("spin", 20)
        tool.ended()
    samples: Counter[bool] = Counter()
    for stack, count in re.findall(r"^(bpfnb-work;.*) (\d+)$", tool.text, re.M):
        samples[stack.endswith(";main;spin")] += int(count)
    assert samples[True] > 20
    assert samples[True] > 9 * samples[False]


def test_memleak_has_what_is_outstanding_by_stack(work: Doer) -> None:
    leak = re.compile(r"7000 bytes in 7 .*\n\s+\S+\s+leak\+\S+ \[bpfnb-work\]\n\s+\S+\s+main\+")

    def told(text: str) -> bool:
        whole = text.split("outstanding allocations:")[1:-1]  # the last one may still be printed
        return bool(whole) and leak.search(whole[-1]) is not None and " 500 bytes" not in whole[-1]

    with Tool("memleak", "-p", work.pid, "-o", 0, 1) as tool:
        tool.ready("outstanding allocations")
        work.do("leak", 7)
        work.do("use", 50)
        tool.until(told, "the leak alone")
        tool.interrupted()


def test_objects_of_c_are_counted_by_size(work: Doer) -> None:
    """By way of a shell script that the package has around the tool."""
    with Tool("cobjnew", work.pid) as tool:
        tool.ready("Tracing allocations")
        work.do("leak", 7)
        work.do("use", 5)
        tool.interrupted()
    assert {tuple(row) for row in tool.rows()} >= {
        ("block", "size", "1000", "7", "7000"),
        ("block", "size", "500", "5", "2500"),
    }


def test_threadsnoop_has_each_thread_that_is_started(work: Doer) -> None:
    with Tool("threadsnoop") as tool:
        tool.ready("^TIME")
        work.do("thread", 5)
        tool.shows_often(rf"{work.pid} +b'bpfnb-work' +b'thread'", 5)
        tool.interrupted()
    assert sum(row[1:] == [str(work.pid), "b'bpfnb-work'", "b'thread'"] for row in tool.rows()) == 5


# Probes of a runtime.


def test_calls_and_collections_of_python(python: Doer) -> None:
    with Tool("pythonflow", python.pid) as flow, Tool("pythongc", python.pid) as collections:
        flow.ready("^CPU")
        collections.ready("^START")
        python.do("it")
        flow.shows_often(r"<- <string>\.square", 123)
        python.do("it")
        flow.shows_often(r"<- <string>\.square", 246)
        collections.shows_often(r"^\d+\.\d+ +\d+\.\d+ ", 2)
        collections.interrupted()
        flow.interrupted()
    assert sum("<- <string>.square" in line for line in flow.text.splitlines()) == 246
    assert len(re.findall(r"^\d+\.\d+ +\d+\.\d+ ", collections.text, re.M)) == 2


def test_tplist_lists_fields_and_probes() -> None:
    """Though the machine has debugfs nowhere: the tool looks for tracepoints there alone."""
    fields = Tool("tplist", "-v", "syscalls:sys_enter_lseek").ended()
    assert [line.strip() for line in fields.splitlines()] == [
        "syscalls:sys_enter_lseek",
        "int __syscall_nr;",
        "unsigned int fd;",
        "off_t offset;",
        "unsigned int whence;",
    ]
    assert f"{PYTHON.resolve()} python:gc__start" in Tool("tplist", "-l", PYTHON.resolve()).ended()


# Sockets.


def exchange() -> tuple[int, int]:
    """A connection on loopback with 5 KiB to the server and 3 KiB back; the ports of client and server."""
    with one_processor(), socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            peer, _ = server.accept()
            for sender, receiver, size in ((client, peer, 5120), (peer, client, 3072)):
                sender.sendall(bytes(size))
                while size:
                    size -= len(receiver.recv(size))
            ports = client.getsockname()[1], server.getsockname()[1]
        assert peer.recv(1) == b""  # the client has closed first
        peer.close()
        return ports


def test_tcplife_has_bytes_ports_and_process() -> None:
    with Tool("tcplife", "-p", os.getpid()) as tool:
        tool.ready("^PID")
        client, server = exchange()
        tool.shows(rf"{server} 127.0.0.1 +{client} ", rf"{client} 127.0.0.1 +{server} ")
        tool.interrupted()
    rows = [row for row in tool.rows() if row[0] == str(os.getpid())]
    name = Path("/proc/self/comm").read_text().strip()[:10]
    here = ["127.0.0.1"]
    assert sorted(row[:8] for row in rows) == sorted(
        [
            [str(os.getpid()), name, *here, str(client), *here, str(server), "5", "3"],
            [str(os.getpid()), name, *here, str(server), *here, str(client), "3", "5"],
        ]
    )
    assert all(0 < float(row[8]) < 5000 for row in rows)


def test_tcpstates_has_the_states_of_both_ends_in_order() -> None:
    with Tool("tcpstates") as tool:
        tool.ready("^SKADDR")
        client, server = exchange()
        tool.shows(rf"127.0.0.1 +{server} +0.0.0.0 +0 +LISTEN +-> CLOSE")
        tool.interrupted()
    steps: dict[str, list[str]] = {}
    for socket_address, _, _, _, local, _, remote, *change, _ in tool.rows()[1:]:
        if {int(local), int(remote)} <= {client, server, 0} and server in (int(local), int(remote)):
            steps.setdefault(socket_address, []).append("".join(change))
    assert sorted(steps.values()) == [
        ["CLOSE->LISTEN", "LISTEN->CLOSE"],
        [
            "CLOSE->SYN_SENT",
            "SYN_SENT->ESTABLISHED",
            "ESTABLISHED->FIN_WAIT1",
            "FIN_WAIT1->FIN_WAIT2",
            "FIN_WAIT2->CLOSE",
        ],
        [
            "LISTEN->SYN_RECV",
            "SYN_RECV->ESTABLISHED",
            "ESTABLISHED->CLOSE_WAIT",
            "CLOSE_WAIT->LAST_ACK",
            "LAST_ACK->CLOSE",
        ],
    ]


def test_netqtop_and_softirqs_see_the_packets_of_loopback() -> None:
    def counted(way: str, text: str) -> int:
        """Packets of 2 to 16 KiB, of all intervals: one may end in the middle of the work."""
        size = r"^ 0 +\S+ +\d+ +\d+ +\d+ +(\d+)"
        return sum(int(found) for found in re.findall(rf"^{way}\n.*\n{size}", text, re.M))

    with Tool("netqtop", "-n", "lo", "-i", 1) as tool, Tool("softirqs", "-C", 1) as softirqs:
        tool.shows("^TX")
        softirqs.ready("^SOFTIRQ")
        end = "^-{70,}$"
        # Right after an interval: what comes while it is read and cleared would be counted nowhere.
        tool.shows_often(end, len(re.findall(end, tool.text, re.M)) + 1)
        before = len(tool.text)
        with (
            socket.socket(type=socket.SOCK_DGRAM) as receiver,
            socket.socket(type=socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("127.0.0.1", 0))
            for _ in range(600):
                sender.sendto(bytes(3000), receiver.getsockname())
                receiver.recv(4096)
        for way in ("TX", "RX"):
            tool.until(lambda text, way=way: counted(way, text[before:]) >= 600, f"600 packets {way}")  # type: ignore[misc]
        tool.interrupted()
        softirqs.shows(r"^net_rx +\d{3}")
        softirqs.interrupted()


def test_sslsniff_has_both_sides_in_clear(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*make, "-keyout", str(key), "-out", str(certificate)], capture_output=True, check=True)
    serve = [
        "openssl",
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-key",
        str(key),
        "-cert",
        str(certificate),
        "-naccept",
        "1",
    ]
    with Tool("sslsniff", "-c", "openssl") as tool:
        tool.ready("^FUNC")
        pipe = subprocess.PIPE
        with subprocess.Popen(serve, stdin=pipe, stdout=pipe, text=True) as server:
            assert server.stdout is not None
            while not (said := server.stdout.readline()).startswith("ACCEPT "):
                assert server.poll() is None
            ask = ["openssl", "s_client", "-connect", said.split()[1], "-quiet", "-no_ign_eof"]
            with subprocess.Popen(ask, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as client:

                def in_clear(way: str, process: subprocess.Popen[str], text: str) -> str:
                    # The first that is printed is at 0; one of the other processor may have been before it.
                    return rf"^{way} +-?[0-9.]+ +openssl +{process.pid} +{len(text)} *\n-+ DATA -+\n{text}\n-+ END"

                for text, sender, receiver in (
                    ("the question\n", client, server),
                    ("answer of 42\n", server, client),
                ):
                    assert sender.stdin is not None
                    sender.stdin.write(text)
                    sender.stdin.flush()
                    tool.shows(in_clear("WRITE/SEND", sender, text), in_clear("READ/RECV", receiver, text))
                client.kill()
            server.kill()
        tool.interrupted()


# Processes, names, shells, disks.


def test_exitsnoop_has_exit_codes_and_signals() -> None:
    with Tool("exitsnoop") as tool:
        tool.ready("^PCOMM")
        ended = [subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in (0, 42)]
        assert [child.wait() for child in ended] == [0, 42]
        killed = subprocess.Popen(["sleep", "100"])
        killed.kill()
        killed.wait()
        tool.shows(*(rf"^\S+ +{child.pid} .*\n" for child in (*ended, killed)))
        tool.interrupted()
    ends = {row[1]: (row[2], row[5:]) for row in tool.rows() if len(row) > 5}
    me = str(os.getpid())
    assert ends[str(ended[0].pid)] == (me, ["0"])
    assert ends[str(ended[1].pid)] == (me, ["code", "42"])
    assert ends[str(killed.pid)] == (me, ["signal", "9", "(KILL)"])


def test_gethostlatency_has_the_names_that_were_asked_for() -> None:
    with Tool("gethostlatency") as tool:
        tool.ready("HOST")
        with one_processor():
            for name in ("localhost", "127.0.0.7", "localhost", "127.0.0.8"):
                socket.getaddrinfo(name, 0)
        tool.shows(rf" {os.getpid()} .*127\.0\.0\.8")
        tool.interrupted()
    names = [row[-1] for row in tool.rows() if row and row[1] == str(os.getpid())]
    assert names == ["localhost", "127.0.0.7", "localhost", "127.0.0.8"]


def test_bashreadline_has_what_is_typed() -> None:
    with Tool("bashreadline") as tool:
        tool.ready("^TIME")
        with one_processor():
            pid, terminal = pty.fork()
        if pid == 0:  # on that processor for good
            os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
        os.write(terminal, b"echo bpfnb was here\nexit\n")
        with contextlib.suppress(OSError):  # when the shell has ended
            while os.read(terminal, 4096):
                pass
        os.close(terminal)
        os.waitpid(pid, 0)
        tool.shows(rf"^\S+ +{pid} +exit")
        tool.interrupted()
    assert [row[2:] for row in tool.rows() if row and row[1:2] == [str(pid)]] == [
        ["echo", "bpfnb", "was", "here"],
        ["exit"],
    ]


def test_bpflist_has_the_programs_and_maps_of_another_tool() -> None:
    with Tool("runqlen") as other:
        other.attached()
        text = Tool("bpflist").ended()
    rows = {tuple(line.split()) for line in text.splitlines()}
    pid = str(other.script.pid)
    assert {row[2:] for row in rows if row[0] == pid} == {("prog", "1"), ("map", "1")}


# Every tool.

_EVERYTHING = bool(os.environ.get("BPFNB_ALL_TOOLS"))
_MANY = {"kprobes", "probes of that runtime"}
CHOSEN = [row for number, row in enumerate(TABLE) if _EVERYTHING or row.needs not in _MANY or number % 5 == 0]


class Started:
    """The tools as they are asked for, and the next few of the table beside it: a second try begins where it is."""

    def __init__(self, pool: ThreadPoolExecutor, places: dict[str, str]) -> None:
        self._pool, self._places = pool, places
        self._made: dict[Row, Future[Tool]] = {}

    def __getitem__(self, row: Row) -> Tool:
        at = CHOSEN.index(row)
        for one in CHOSEN[at : at + 4]:
            if one not in self._made:
                self._made[one] = self._pool.submit(start, one, self._places)
        return self._made[row].result()


@pytest.fixture(scope="module")
def started(python: Doer) -> Iterator[Started]:
    keeper, terminal = pty.openpty()
    with Doer("cat") as cat, ThreadPoolExecutor(2) as pool:
        yield Started(
            pool, {"{python}": str(python.pid), "{cat}": str(cat.pid), "{tty}": os.ttyname(terminal)}
        )
        pool.shutdown(cancel_futures=True)
    os.close(keeper)
    os.close(terminal)


def start(row: Row, places: dict[str, str]) -> Tool:
    name, *words = (places.get(word, word) for word in row.line.split())
    with Tool(name, *words) as tool:
        with contextlib.suppress(AssertionError):
            tool.shows(row.out)
        tool.script.interrupt()
        tool.ended()
    return tool


def test_the_table_has_every_tool_that_is_packaged() -> None:
    packaged = {path.name.removesuffix("-bpfcc") for path in FOLDER.glob("*-bpfcc")}
    known = {row.tool for row in TABLE} | set(OWN_TEST)
    assert packaged <= known, "a tool that no test knows"


@pytest.mark.parametrize("row", CHOSEN, ids=lambda row: row.line.replace(" ", "_"))
def test_a_tool_runs_or_says_what_it_lacks(row: Row, started: Started) -> None:
    text = started[row].text
    assert "Traceback" not in text, text
    assert "Unable to find kernel headers" not in text, text
    assert "is defined nowhere here" not in text or row.tool == "mdflush", text
    if row.needs == "kprobes" and features().attach["kprobe"].ok is not False:
        assert "this kernel has no kprobes" not in text, text
    else:
        assert re.search(row.out, text, re.M), text


@pytest.mark.timeout(400)  # by itself it starts them all
def test_enough_tools_run_end_to_end(started: Started) -> None:
    ran = set(OWN_TEST)
    for row in CHOSEN:
        text = started[row].text
        if not row.needs and re.search(row.out, text, re.M):
            ran.add(row.tool)
    assert len(ran) >= RUN_END_TO_END, sorted(ran)
