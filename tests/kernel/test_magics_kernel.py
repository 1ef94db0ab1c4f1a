"""%%bpf as a frontend meets it: a real ipykernel, spoken to over its sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

CELL = """%%bpf io
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } calls SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_getppid") int enter(void *ctx) {
    u32 pid = bpf_get_current_pid_tgid() >> 32; u64 one = 1;
    bpf_map_update_elem(&calls, &pid, &one, BPF_ANY);
    return 0;
}
char note[] SEC("license") = "GPL";
"""
ANSI = re.compile(r"\x1b\[[\d;]*m")


@dataclass
class Outcome:
    """What a cell sent: its reply, its streams as text, and its results and displays by MIME type."""

    reply: dict[str, Any] = field(default_factory=dict)
    stdout: str = ""
    stderr: str = ""
    results: list[dict[str, str]] = field(default_factory=list)
    traceback: str = ""


class Notebook:
    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def send(self, code: str) -> str:
        return str(self.client.execute(code))

    def collect(self, message: str) -> Outcome:
        outcome = Outcome()
        while True:
            heard = self.client.get_iopub_msg(timeout=60)
            if heard["parent_header"].get("msg_id") != message:
                continue
            kind, content = heard["msg_type"], heard["content"]
            if kind == "stream":
                setattr(outcome, content["name"], getattr(outcome, content["name"]) + content["text"])
            elif kind in ("execute_result", "display_data"):
                outcome.results.append(content["data"])
            elif kind == "error":
                outcome.traceback = ANSI.sub("", "\n".join(content["traceback"]))
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == message:
                outcome.reply = reply["content"]
                return outcome

    def run(self, code: str) -> Outcome:
        return self.collect(self.send(code))

    def complete(self, code: str) -> tuple[list[str], str]:
        """The matches at the end of *code*, and what they replace."""
        content = self.client.complete(code, len(code), reply=True, timeout=60)["content"]
        return content["matches"], code[content["cursor_start"] : content["cursor_end"]]


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    book = Notebook()
    try:
        assert book.run("%load_ext bpfnb").reply["status"] == "ok"
        yield book
    finally:
        book.client.stop_channels()
        book.manager.shutdown_kernel(now=True)


def test_the_object_is_the_cells_result_as_html_and_text(notebook):
    outcome = notebook.run(CELL)  # ends in a semicolon, which must not hide it
    (shown,) = outcome.results
    assert shown["text/plain"].startswith("io: attached")
    assert 'aria-label="BPF object io"' in shown["text/html"]
    assert "tracepoint/syscalls/sys_enter_getppid" in shown["text/html"]
    assert (outcome.stdout, outcome.stderr) == ("", "")


def test_errors_show_the_cell_and_no_python_stack(notebook):
    outcome = notebook.run(CELL.replace("return 0;", "return nothing;"))
    assert outcome.reply["ename"] == "CompileError"
    assert "io, line 5" in outcome.traceback
    assert "return nothing;" in outcome.traceback
    assert "the earlier 'io' goes on" in outcome.traceback
    assert ".py" not in outcome.traceback
    outcome = notebook.run(CELL.replace("return 0;", "return *(int *)bpf_ktime_get_ns();"))
    assert outcome.reply["ename"] == "VerifierError"
    assert "hint:" in outcome.traceback
    assert ".py" not in outcome.traceback
    assert notebook.run("print(io.state)").stdout == "attached\n"


def test_usage_errors_are_one_line(notebook):
    outcome = notebook.run("%%bpf io --wachdog off\nint x;")
    shown = (outcome.traceback + outcome.stderr).strip()
    assert shown == "UsageError: %%bpf: there is no option --wachdog; did you mean --watchdog?"


def test_verbs_answer_in_html_and_text(notebook):
    notebook.run(CELL)
    (shown,) = notebook.run("%bpf list").results
    assert shown["text/plain"].splitlines()[1].split()[:2] == ["io", "attached"]
    assert "<table>" in shown["text/html"]
    (shown,) = notebook.run("%bpf struct list_head").results
    assert "struct list_head *next;" in shown["text/plain"]
    assert "<pre>" in shown["text/html"]
    (shown,) = notebook.run("%bpf doctor").results
    assert "text/html" in shown


def test_completion_as_the_frontend_asks(notebook):
    notebook.run(CELL)
    assert notebook.complete("%bpf sto") == (["stop"], "sto")
    assert notebook.complete("%bpf stop i") == (["io"], "i")
    assert notebook.complete("%%bpf x --interf") == (["--interface"], "--interf")
    matches, replaced = notebook.complete('%%bpf x\nSEC("tp/sched/sched_swit')
    assert matches == ["tp/sched/sched_switch"]
    assert replaced == "tp/sched/sched_swit"
    cell = "%%bpf x\nint f(struct task_struct *task) {\n    return task->tg"
    assert notebook.complete(cell) == (["tgid"], "tg")
    assert notebook.complete("io.cal")[0][-1].endswith("calls")


def test_an_interrupted_cell_leaves_nothing(notebook):
    notebook.run("%bpf close --all")
    # Enough functions to keep the compiler busy until it is interrupted.
    slow = "".join(f"int f{i}(int x) {{ return x * {i} + x / {i + 1}; }}\n" for i in range(60_000))
    message = notebook.send(CELL + slow)
    kernel = notebook.manager.provisioner.process.pid
    deadline = time.monotonic() + 60
    while not compiling(kernel):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    notebook.manager.interrupt_kernel()
    outcome = notebook.collect(message)
    assert outcome.reply["ename"] == "KeyboardInterrupt"
    assert notebook.run("%bpf list").results[0]["text/plain"] == "nothing is loaded"
    assert not compiling(kernel)
    assert notebook.run(CELL).results[0]["text/plain"].startswith("io: attached")


def compiling(pid: int) -> bool:
    """Whether the process has a child that is a compiler."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if b"clang" in Path(f"/proc/{child}/cmdline").read_bytes():
                return True
    return False
