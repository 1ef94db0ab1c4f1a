"""The installed bpftrace on the live kernel: exact counts, mistakes at their lines, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_magics_kernel import ANSI, Notebook
from workloads import Worker, await_true

from bpfnb import bpftrace
from bpfnb.errors import CompileError, KernelFeatureMissing
from bpfnb.kernel.features import check_section

pytestmark = pytest.mark.skipif(shutil.which("bpftrace") is None, reason="bpftrace is not installed")


@pytest.fixture(scope="module")
def worker():
    with Worker() as made:
        yield made


def gone(pid: int) -> bool:
    """Whether the process group has ended: bpftrace and who started it."""
    return not Path(f"/proc/{pid}").exists()


def test_counts_and_histograms_of_a_worker_are_exact(worker, tmp_path):
    program = f"""
tracepoint:syscalls:sys_enter_getppid /pid == {worker.pid}/ {{ @calls[comm, pid] = count(); @stacks[kstack] = count(); }}
tracepoint:syscalls:sys_enter_write /pid == {worker.pid} && args->count > 3000/
{{
    @log = hist(args->count); @lin = lhist(args->count, 0, 10000, 1000); @s = stats(args->count);
    printf("%d wrote %d\\n", pid, args->count);
}}
"""
    sizes = [4000] * 3 + [5000] * 4 + [9000] * 2 + [20000]
    with bpftrace.run(program, name="exact") as run:
        group = run.pid
        worker.call("getppid(500)")
        worker.run(f"writes({str(tmp_path / 'x')!r}, {sizes})")
        await_true(lambda: len(run.df) == len(sizes))
        run.stop()
        assert (run.state, run.returncode) == ("ended", 0)
        calls = run.maps["@calls"].df
    assert calls[["pid", "value"]].to_dict("records") == [{"pid": worker.pid, "value": 500}]
    log, lin = run.maps["@log"].df, run.maps["@lin"].df
    assert dict(zip(log["min"], log["count"], strict=True)) == {2048: 3, 4096: 4, 8192: 2, 16384: 1}
    assert lin.loc[lin["count"] > 0, "min"].tolist() == [4000, 5000, 9000, 10000]
    assert lin.loc[lin["count"] > 0, "count"].tolist() == [3, 4, 2, 1]
    stats = run.maps["@s"].df.iloc[0]
    assert (stats["count"], stats["total"]) == (10, sum(sizes))
    assert run.df["count"].tolist() == sizes
    assert set(run.df["pid"]) == {worker.pid}
    stacks = run.maps["@stacks"]
    assert stacks.df["value"].sum() == 500
    assert "do_syscall_64" in stacks.df["kstack"].iloc[0]
    assert run.maps["@log"].view().counts["count"].tolist() == [3, 4, 2, 1]
    assert stacks.view().family == "flamegraph"
    assert run.df.attrs["bpfnb"]["complete"]
    assert gone(group)
    assert "exact" not in bpftrace.running


def test_a_map_printed_at_intervals_is_a_series():
    with bpftrace.run("interval:ms:50 { @n++; print(@n); if (@n == 5) { exit(); } }", name="series") as run:
        assert run.wait(30)
        history = run.maps["@n"].history
    assert history["value"].tolist()[:5] == [1, 2, 3, 4, 5]
    assert history["time"].is_monotonic_increasing
    assert run.maps["@n"].view().family == "timeseries"


@pytest.mark.parametrize(
    ("program", "line", "said"),
    [
        ("BEGIN {\n  @x = foo(1);\n}", 2, "Unknown function: foo"),
        ("BEGIN { exit() }\n\ntracepoint:sched:sched_swich { @ = count(); }", 3, "tracepoint not found"),
        ("BEGIN {\n  @x[1] = 1;\n  @x = 2;\n}", 3, "@x"),
        ("BEGIN {\n", 0, "unexpected"),
    ],
)
def test_mistakes_are_bpftraces_own_at_the_cells_line(program, line, said):
    with pytest.raises(CompileError) as caught:
        bpftrace.run(program, name="wrong")
    assert said in caught.value.message
    assert not line or caught.value.where.line == line
    assert "RLIMIT_MEMLOCK" not in str(caught.value)
    assert "wrong" not in bpftrace.running


def test_a_kind_of_probe_that_the_kernel_has_not():
    if check_section("kprobe/vfs_read") is None:
        pytest.skip("this kernel has kprobes")
    with pytest.raises(KernelFeatureMissing) as caught:
        bpftrace.run("interval:s:1 { }\nkprobe:tcp_retransmit_skb { @ = count(); }")
    assert caught.value.where.line == 2
    assert caught.value.feature == "kprobes"
    assert "tracepoint:tcp:tcp_retransmit_skb" in caught.value.hints[0]


def test_arguments_a_command_and_no_shell():
    with bpftrace.run(
        'BEGIN { printf("%s %d\\n", str($1), $2); exit(); }', arguments=["$(id) ;ls", "7"]
    ) as run:
        run.wait(30)
        assert run.df["text"].tolist() == ["$(id) ;ls 7"]
    with bpftrace.run(
        "tracepoint:sched:sched_process_exit /pid == cpid/ { @[comm] = count(); }", command="/bin/true"
    ) as run:
        assert run.wait(30)
        assert run.maps["@"].df.set_index("comm")["value"].get("true") == 1


def test_a_killed_process_leaves_no_bpftrace():
    code = "from bpfnb import bpftrace, bpftrace as b\nimport time\nprint(b.run('interval:s:1 { @++ }').pid, flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        starter = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert not gone(pid)
        process.send_signal(signal.SIGKILL)
    await_true(lambda: gone(pid) and gone(starter))


def test_cells_in_a_notebook():
    notebook = Notebook()
    try:
        notebook.collect(notebook.send("%load_ext bpfnb"))
        first = notebook.collect(
            notebook.send(
                '%%bpftrace rows\nBEGIN { printf("hello %d\\n", 7); @h = hist(100); @h = hist(5); exit(); }'
            )
        )
        assert first.stdout == "hello 7\n"
        assert any("[64, 128) : 1" in shown["text/plain"] for shown in first.results)
        assert "'text': ['hello 7']" in shown(notebook, "rows.df[['text', 'arg1']].to_dict('list')")
        live = notebook.collect(
            notebook.send(
                "%%bpftrace live --duration 3\ninterval:ms:100 { @n[1] = count(); @h = hist(5); print(@n); print(@h); }"
            )
        )
        now = [shown["text/plain"] for shown in live.results if shown["text/plain"].startswith("@n\n")]
        assert len(now) == 1, "one place, which is exchanged"
        assert "[4, 8)" in now[0]
        wrong = notebook.collect(notebook.send("%%bpftrace rows\nBEGIN {\n  foo();\n}"))
        text = ANSI.sub("", wrong.traceback)
        assert "Unknown function: foo" in text
        assert "rows, line 2" in text
        assert "Traceback" not in text
        usage = notebook.collect(notebook.send("%%bpftrace rows --durration 3\nBEGIN { }"))
        assert "did you mean --duration" in usage.stderr + usage.traceback

        message = notebook.send('%%bpftrace long\ninterval:ms:10 { @n++; if (@n == 3) { printf("on\\n"); } }')
        await_true(lambda: notebook.client.get_iopub_msg(timeout=60)["content"].get("text") == "on\n")
        notebook.manager.interrupt_kernel()
        notebook.collect(message)
        assert (
            int(shown(notebook, "long.maps['@n'].df['value'].iloc[0]").removeprefix("np.int64(").rstrip(")"))
            > 0
        )
        assert shown(notebook, "long.state") == "'ended'"

        notebook.collect(notebook.send("%%bpftrace behind --background\ninterval:ms:10 { @n = count(); }"))
        pid = int(shown(notebook, "behind.pid"))
        assert not gone(pid)
        assert "running" in shown(notebook, "%bpf list")
        assert "ended" in shown(notebook, "%bpf stop behind")
        await_true(lambda: gone(pid))

        notebook.collect(notebook.send("%%bpftrace last --background\ninterval:s:1 { @n = count(); }"))
        pid = int(shown(notebook, "last.pid"))
        notebook.manager.shutdown_kernel(now=True)
        await_true(lambda: gone(pid))
    finally:
        notebook.client.stop_channels()
        if notebook.manager.is_alive():
            notebook.manager.shutdown_kernel(now=True)


def shown(notebook: Notebook, code: str) -> str:
    return notebook.collect(notebook.send(code)).results[-1]["text/plain"]


def test_only_root_may(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Exception, match="only runs as root"):
        bpftrace.run("BEGIN { }")
