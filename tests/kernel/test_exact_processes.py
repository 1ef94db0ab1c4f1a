"""Processes at the edges, counted: many at once, threads that end together or start a program, texts too long to keep."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from workloads import await_true, move_to, new_cgroup

from bpfnb import tools

SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t all;
static void *hang(void *x) { for (;;) pause(); return x; }
static void *end(void *x) { pthread_barrier_wait(&all); syscall(SYS_exit, 0); return x; }
static void *run(void *x) { execl("/bin/true", "true", "from a thread", NULL); return x; }

static void threads(int n, void *(*begin)(void *))
{
    pthread_t thread;
    for (int i = 0; i < n; i++) pthread_create(&thread, 0, begin, 0);
}

int main(int argc, char **argv)
{
    const char *kind = argv[1];
    char go;

    if (write(1, "r", 1) != 1 || read(0, &go, 1) != 1) return 1;
#ifdef __x86_64__
    if (!strcmp(kind, "32 bits")) {
        for (int i = 0; i < atoi(argv[2]); i++) {
            int ret = 57;  /* there it is setpgid */
            __asm__ volatile("int $0x80" : "+a"(ret) : "b"(0), "c"(0) : "memory");
            if (ret) return 1;
        }
        return 0;
    }
#endif
    for (int i = 0; i < atoi(argv[2]); i++) {
        int status;
        pid_t child = strcmp(kind, "vfork") ? fork() : vfork();
        if (!child) {
            if (!strcmp(kind, "together")) {  /* each thread by itself, all at one time */
                pthread_barrier_init(&all, 0, 4), threads(3, end), end(0);
            }
            if (!strcmp(kind, "group")) threads(4, hang);
            if (!strcmp(kind, "exec")) threads(3, hang), threads(1, run), hang(0);
            if (!strcmp(kind, "traced")) ptrace(PTRACE_TRACEME, 0, 0, 0), raise(SIGSTOP);
            _exit(i % 100);
        }
        if (!strcmp(kind, "traced")) waitpid(child, &status, 0), ptrace(PTRACE_CONT, child, 0, 0);
        waitpid(child, &status, 0);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "edge.c").write_text(SOURCE)
    gcc = shutil.which("gcc") or shutil.which("cc")
    compiler = [gcc] if gcc else [sys.executable, "-m", "ziglang", "cc"]
    subprocess.run([*compiler, "-O1", "-pthread", "-o", "edge", "edge.c"], cwd=folder, check=True)
    return folder / "edge"


def asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize(
    ("kind", "count", "threads", "codes"),
    [
        ("fork", 2000, 1, Counter(dict.fromkeys(range(100), 20))),
        ("vfork", 300, 1, Counter(dict.fromkeys(range(100), 3))),
        ("together", 300, 4, Counter({0: 300})),
        ("group", 200, 5, Counter(dict.fromkeys(range(100), 2))),
        ("exec", 50, 5, Counter({0: 50})),
        ("traced", 50, 1, Counter(range(50))),
    ],
)
def test_each_process_and_thread_ends_once(program, kind, count, threads, codes):
    with new_cgroup() as group:
        process = subprocess.Popen(
            [str(program), kind, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: move_to(group),
        )
        assert process.stdout.read(1) == b"r"
        await_true(lambda: asleep(process.pid))  # in read(): calls before it not all tools would see
        with (
            tools.exitsnoop(cgroup=group) as ends,
            tools.exitsnoop(cgroup=group, threads=True) as each,
            tools.execsnoop(cgroup=group) as starts,
            tools.syscount(cgroup=group, by="process") as calls,
            tools.syscount(cgroup=group) as by_call,
            tools.syscount(cgroup=group, latency=True) as timed,
        ):
            process.communicate(b"x")
            assert ends.wait(count + 1, 60)
            assert each.wait(count * threads + 1, 60)
            for tool in (ends, each, starts):
                tool.frames.drain()
            frame, every, started = ends.df, each.df, starts.df
            forks, forks_timed = (
                counts["count"].sum() - counts["errors"].sum()
                for counts in (
                    tool.df.set_index("syscall").filter(regex="^(v?fork|clone3?)$", axis=0)
                    for tool in (by_call, timed)
                )
            )
            assert calls.df["count"].sum() == by_call.df["count"].sum()
    children = frame[frame["pid"] != process.pid]
    assert len(frame) == frame["pid"].nunique() == count + 1
    assert Counter(children["exit_code"]) == codes
    assert set(frame["signal"]) == {""}
    assert set(children["ppid"]) == {process.pid}
    assert len(every) == count * threads + 1
    rows_of = Counter(zip(every["pid"], every["tid"], strict=True))
    if kind == "exec":  # that thread takes over the number of the first, which ended
        assert {rows_of.pop((pid, pid)) for pid in children["pid"]} == {2}
    assert set(rows_of.values()) == {1}
    assert Counter(pid for pid, tid in rows_of if tid != pid) == Counter(
        dict.fromkeys(children["pid"], threads - (2 if kind == "exec" else 1))
    )
    assert forks == forks_timed == count * threads
    expected = [(pid, "true from a thread") for pid in children["pid"]] if kind == "exec" else []
    assert sorted(zip(started["pid"], started["args"], strict=True)) == sorted(expected)
    for tool in (frame, every, started):
        assert tool.attrs["bpfnb"]["complete"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="int 0x80 is of x86")
def test_a_call_of_32_bits_is_no_fork_though_it_has_the_number_of_one(program):
    process = subprocess.Popen(
        [str(program), "32 bits", "100"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    with tools.syscount(pid=process.pid) as calls:
        process.communicate(b"x")
        frame = calls.df.set_index("syscall")
    if process.returncode == -signal.SIGSEGV:
        pytest.skip("the kernel runs no calls of 32 bits")
    assert process.returncode == 0
    assert frame.loc["fork", ["count", "errors"]].tolist() == [100, 0]  # what 57 is in 64 bits


def execute(path: str, *words: bytes) -> None:
    """Runs the program, or tries to."""
    child = os.fork()
    if not child:
        try:
            os.execv(path, words)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def test_a_text_is_whole_or_ends_with_three_dots(tmp_path):
    long = f"{tmp_path}/{'./' * 400}fifteen-bytes-x"
    exact = f"{tmp_path}/{'/' * (111 - len(str(tmp_path)))}fifteen-bytes-x"
    assert len(exact) == 127
    shutil.copy("/bin/true", exact)
    with tools.execsnoop(ppid=os.getpid(), failed=True, max_bytes=16384) as snoop:
        execute(long, b"one", b"\xff\xc3\x28", "é\n\t".encode(), b"", b"last")
        execute(exact, *[b"x" * 4096] * 100)
        execute("/nosuch" + "/" * 120, b"y" * 4095, b"after")
        execute("/nosuch" + "/" * 121, b"y" * 4096, b"after")
        execute("/nosuch", b"y" * 5000)
        execute("/nosuch", *[b"w"] * 255)
        execute("/nosuch", *[b"w"] * 300)
        assert snoop.wait(7, 30)
        await_true(lambda: snoop.frames.fill == 0)
        frame = snoop.df
    assert frame["path"].tolist() == [
        long[:124] + "...",
        exact,
        "/nosuch" + "/" * 120,
        "/nosuch" + "/" * 117 + "...",
        *["/nosuch"] * 3,
    ]
    assert frame["comm"].tolist()[:2] == ["fifteen-bytes-x"] * 2
    assert frame["args"].tolist() == [
        "one \ufffd\ufffd( é\n\t  last",
        (("x" * 4096 + " ") * 4)[:16384] + " ...",
        "y" * 4095 + " after",
        "y" * 4095 + " ...",
        "y" * 4095 + " ...",
        " ".join(["w"] * 255),
        " ".join(["w"] * 255) + " ...",
    ]
    assert frame.attrs["bpfnb"]["complete"]
