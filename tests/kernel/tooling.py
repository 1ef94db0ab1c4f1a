"""bcc's packaged tools as tests drive them, and a process whose doings are known to the last call."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from bpfnb.bcc import run_script

SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) int visit(int value, const char *name) { asm volatile("" ::: "memory"); return value * 2; }
__attribute__((noinline)) void spin(long n) { for (volatile long i = 0; i < n; i++); }
__attribute__((noinline)) void *leak(size_t size) { return memset(malloc(size), 1, size); }
__attribute__((noinline)) void *thread(void *x) { return x; }

int main(void) {
    char line[64], word[16];
    long n;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%15s %ld", word, &n) == 2) {
        for (long i = 0; i < n; i++) {
            if (!strcmp(word, "visit")) visit(i % 4, "somebody");
            if (!strcmp(word, "spin")) spin(10000000);  /* some milliseconds */
            if (!strcmp(word, "leak")) leak(1000);
            if (!strcmp(word, "use")) free(malloc(500));
            if (!strcmp(word, "seek")) lseek(0, i, SEEK_CUR + i % 2);
            if (!strcmp(word, "thread")) { pthread_t t; pthread_create(&t, 0, thread, 0); pthread_join(t, 0); }
        }
        if (write(1, "done\n", 5) != 5) return 1;
    }
    return 0;
}
"""


class Tool:
    """A running tool whose output is gathered as it comes."""

    def __init__(self, name: str | Path, *arguments: object) -> None:
        self.script = run_script(name, [str(word) for word in arguments])
        self.text = ""
        self._news = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for piece in self.script:
            with self._news:
                self.text += piece
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def until(self, condition: Callable[[str], object], awaited: str, timeout: float = 60) -> None:
        """Waits until the *condition* holds for the output, which is *awaited* in the words of the complaint."""
        with self._news:
            self._news.wait_for(lambda: condition(self.text) or self._over, timeout)
        assert condition(self.text), (
            f"no {awaited} in the output of {self.script.path.name}:\n{self.text[-2000:]}"
        )

    def shows(self, *patterns: str, timeout: float = 60) -> None:
        """Waits for all the *patterns* in the output.

        Name each event that is looked for afterwards: every processor has its own buffer, and what came last is not
        always printed last.
        """
        self.until(
            lambda text: all(re.search(pattern, text, re.M) for pattern in patterns), repr(patterns), timeout
        )

    def shows_often(self, pattern: str, count: int) -> None:
        """Waits until the *pattern* has come *count* times."""
        self.until(lambda text: len(re.findall(pattern, text, re.M)) >= count, f"{pattern!r} {count} times")

    def ready(self, pattern: str) -> None:
        """Waits for a heading, and for the tool to wait: many open their buffers after they print it."""
        self.shows(pattern)
        self.waits()

    def attached(self) -> None:
        """Waits until the tool has a program and a perf event, and waits itself: for those whose heading comes before."""
        while not {"anon_inode:bpf-prog", "anon_inode:[perf_event]"} <= self._descriptors():
            assert self.script.returncode is None, self.text
            time.sleep(0.01)
        self.waits()

    def waits(self) -> None:
        waiting = Path(f"/proc/{self.script.pid}/wchan")
        while not re.search("poll|sleep|select", waiting.read_text()):
            assert self.script.returncode is None, self.text
            time.sleep(0.01)

    def _descriptors(self) -> set[str]:
        folder, found = f"/proc/{self.script.pid}/fd", set()
        for descriptor in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(f"{folder}/{descriptor}"))
        return found

    def ended(self, timeout: float = 60) -> str:
        """The whole output of a tool that ends by itself."""
        self._reader.join(timeout)
        assert self._over, self.text
        return self.text

    def interrupted(self) -> str:
        """The whole output, after Ctrl-C."""
        self.script.interrupt()
        return self.ended()

    def rows(self) -> list[list[str]]:
        return [line.split() for line in self.text.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.script.stop()
        self._reader.join(10)


class Doer:
    """A process that does a known number of known things when it is told to, one line each."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def do(self, what: str, count: int = 1) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """What this thread does comes in one buffer of a tool, so that it is printed in the order in which it was done."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
