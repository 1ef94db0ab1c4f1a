"""crash on the live kernel: processes ended by signals of known kinds, with address, reason and stack."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from test_symbols_live import built
from workloads import Worker, left_over, object_ids

from bpfnb import tools

ADDRESS = 0x1234560
CRASHES = r"""
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
__attribute__((noinline)) static void inner(volatile int *where) { volatile int kept = 1; *where = kept; __asm__ volatile(""); }
__attribute__((noinline)) void middle(long where) { inner((volatile int *)where); __asm__ volatile(""); }
__attribute__((noinline)) void outer(long where) { middle(where); __asm__ volatile(""); }
int main(int count, char **words)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (count > 1 && !strcmp(words[1], "abort")) abort();
    if (count > 1 && !strcmp(words[1], "wait")) { write(1, "\n", 1); pause(); }
    outer(0x1234560);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("crash"), CRASHES, name="bpfnb-crashes")


def ended(*command: str | Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command)
    process.wait()
    return process


def sent(program: Path, number: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([program, "wait"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"\n"
    process.send_signal(number)
    process.wait()
    process.stdout.close()
    return process


def test_what_ended_a_process_and_where(program):
    with tools.crash(comm="bpfnb-crashes") as crash:
        held = object_ids(crash.object.loaded)
        fault, abort = ended(program), ended(program, "abort")
        asked, politely = sent(program, signal.SIGSEGV), sent(program, signal.SIGTERM)
        ended("sh", "-c", "kill -SEGV $$")  # another command
        assert crash.wait(3, 30)
        crash.stop()
        frame = crash.df
    assert left_over(held) == {}
    assert [-p.returncode for p in (fault, abort, asked, politely)] == [11, 6, 11, 15]
    assert list(frame.columns) == list(tools.crash.columns)
    assert frame["pid"].tolist() == [fault.pid, abort.pid, asked.pid]
    assert frame["tid"].tolist() == frame["pid"].tolist()
    assert frame["signal"].tolist() == ["SIGSEGV", "SIGABRT", "SIGSEGV"]
    assert frame["si_code"].tolist() == ["SEGV_MAPERR", "SI_TKILL", "SI_USER"]
    assert frame["address"].fillna("").tolist() == [hex(ADDRESS), "", ""]
    assert frame["sender"].fillna(0).tolist() == [0, abort.pid, os.getpid()]
    assert frame["exit_code"].tolist() == [139, 134, 139]
    assert not frame["core"].any()
    assert set(frame["uid"]) == {os.getuid()}
    assert frame["user_stack"].iloc[0].endswith("main;outer;middle;inner")
    assert re.search("write|pause", frame["user_stack"].iloc[2].rpartition(";")[2])
    assert frame.attrs["bpfnb"]["complete"]
    assert crash.df.equals(frame)


def test_a_file_without_symbols_stands_with_the_offset_that_addr2line_takes(program, tmp_path):
    bare = tmp_path / "bpfnb-bare"
    subprocess.run(["strip", "-o", bare, program], check=True)
    with tools.crash(comm="bpfnb-bare") as crash:
        ended(bare)
        assert crash.wait(1, 30)
        innermost = crash.df["user_stack"].iloc[0].split(";")[::-1][:4]
    found = [name.partition("+") for name in innermost]
    assert {name for name, _, _ in found} == {"bpfnb-bare"}
    offsets = [offset for _, _, offset in found]
    said = subprocess.check_output(["addr2line", "-f", "-e", program, *offsets], text=True).splitlines()[::2]
    assert said == ["inner", "middle", "outer", "main"]


def test_with_every_signal_also_those_that_ask_a_process_to_end(program):
    with tools.crash(comm="bpfnb-crashes", every=True) as crash:
        processes = [sent(program, number) for number in (signal.SIGTERM, signal.SIGKILL)] + [ended(program)]
        assert crash.wait(3, 30)
        frame = crash.df
    assert frame["pid"].tolist() == [process.pid for process in processes]
    assert frame["signal"].tolist() == ["SIGTERM", "SIGKILL", "SIGSEGV"]
    assert frame["exit_code"].tolist() == [143, 137, 139]
    assert frame["si_code"].isna().tolist() == [True, True, False]


def test_a_thread_that_crashes_is_one_row_and_a_handled_signal_none():
    code = "import ctypes, threading, faulthandler; t = threading.Thread(target=ctypes.string_at, args=(8,)); t.start(); t.join()"
    with Worker() as worker, tools.crash() as crash:
        worker.run("signal.signal(signal.SIGSEGV, lambda *_: None); os.kill(os.getpid(), signal.SIGSEGV)")
        process = ended("sh", "-c", f'ulimit -c 0; exec python3 -c "{code}"')
        assert crash.wait(1, 30)
        frame = crash.df
    assert process.returncode == -signal.SIGSEGV
    mine = frame[frame["pid"].isin([process.pid, worker.pid])]
    (row,) = mine.to_dict("records")
    assert (row["pid"], row["address"], row["signal"]) == (process.pid, "0x8", "SIGSEGV")
    assert row["tid"] != row["pid"]
