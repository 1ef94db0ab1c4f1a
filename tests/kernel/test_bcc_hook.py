"""bcc without kernel headers: what programs read is what /proc says, and what goes wrong is told at their lines."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from workloads import Worker, probe_library

import bpfnb.bcc
from bpfnb.bcc.find import module
from bpfnb.bcc.headers import Program, for_program, static_tree
from bpfnb.bcc.kernel import Kernel
from bpfnb.errors import (
    AttachError,
    BpfnbError,
    CompileError,
    KernelFeatureMissing,
    VerifierError,
)
from bpfnb.kernel.features import features

pytestmark = [
    pytest.mark.usefixtures("bcc_installed"),
    pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning"),  # bcc's, of itself
]

ME = r"""
#include <uapi/linux/ptrace.h>
#include <linux/sched.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
struct data_t { u64 start; u32 pid; u32 tgid; u32 ppid; u32 ns; char comm[TASK_COMM_LEN]; };
BPF_HASH(seen, u32, struct data_t);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct data_t d = {};
    d.pid = task->pid;
    d.tgid = task->tgid;
    d.ppid = task->real_parent->tgid;
    d.start = task->start_boottime;
    d.ns = task->nsproxy->pid_ns_for_children->ns.inum;
    bpf_probe_read_kernel(d.comm, sizeof(d.comm), task->comm);
    u32 key = d.pid;
    if ((u32)bpf_get_current_pid_tgid() == MY_TID) { key = 1; seen.update(&key, &d); }
    return 0;
}
"""


@pytest.fixture(autouse=True)
def _hook_removed() -> Iterator[None]:
    yield
    bpfnb.bcc.disable()


@pytest.fixture
def made() -> Iterator[Callable[..., Any]]:
    """bpfnb.bcc.compile, whose objects are freed after the test."""
    objects: list[Any] = []

    def make(text: str, **keywords: Any) -> Any:
        objects.append(bpfnb.bcc.compile(text, **keywords))
        return objects[-1]

    yield make
    for one in objects:
        one.cleanup()


def call_getppid() -> None:
    ctypes.CDLL(None).getppid()


def my_flag() -> str:
    return f"-DMY_TID={threading.get_native_id()}"


def of_proc() -> dict[str, object]:
    """What /proc says of this task."""
    stat = Path("/proc/self/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])  # field 22, starttime
    return {
        "tgid": os.getpid(),
        "ppid": os.getppid(),
        "comm": Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text().strip().encode(),
        "ticks": ticks,
        "ns": os.stat("/proc/self/ns/pid_for_children").st_ino,
    }


def as_read(leaf: Any) -> dict[str, object]:
    ticks = leaf.start // (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    return {"tgid": leaf.tgid, "ppid": leaf.ppid, "comm": leaf.comm, "ticks": ticks, "ns": leaf.ns}


def test_fields_of_the_running_kernel_equal_proc(made: Callable[..., Any]) -> None:
    program = made(ME, cflags=[my_flag()])
    call_getppid()
    (leaf,) = program[b"seen"].values()
    assert as_read(leaf) == of_proc()
    assert leaf.pid == threading.get_native_id()


def test_wrong_headers_give_wrong_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same comparison with the layout of a kernel whose task_struct has 64 bytes more before tgid: it fails."""
    flags = (my_flag(),)
    tree = for_program(Program(ME, flags), Kernel.running()).path
    wrong = tmp_path / "tree"
    subprocess.run(["cp", "-r", tree, wrong], check=True)
    kconfig = wrong / "include/linux/kconfig.h"
    text, count = re.subn(
        r"(struct task_struct \{.*?char __p\d+\[)(\d+)(\]; pid_t pid;)",
        lambda m: f"{m[1]}{int(m[2]) + 64}{m[3]}",
        kconfig.read_text(),
    )
    assert count == 1
    kconfig.write_text(re.sub(r"_Static_assert\(sizeof\(struct task_struct\).*\n", "", text))
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(wrong))
    program = module().BPF(text=ME.encode(), cflags=list(flags))
    call_getppid()
    (leaf,) = program[b"seen"].values()
    program.cleanup()
    assert as_read(leaf)["tgid"] != os.getpid()
    assert as_read(leaf) != of_proc()


def test_plain_bcc_code_runs_after_enable_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    code = f"""
import sys, bpfnb.bcc
bpfnb.bcc.enable()
from bcc import BPF
b = BPF(text={ME!r}, cflags=["-DMY_TID=%d" % __import__("os").getpid()])
__import__("os").getppid()
(leaf,) = b["seen"].values()
print(leaf.tgid == __import__("os").getpid(), leaf.comm.decode(), [m for m in sys.path if "dist-packages" in m])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["True", Path(sys.executable).name[:15], "[]"], done.stderr


def test_the_static_tree_serves_calls_that_are_not_hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(static_tree()))
    program = module().BPF(text=ME.encode(), cflags=[my_flag()])
    call_getppid()
    (leaf,) = program[b"seen"].values()
    program.cleanup()
    assert as_read(leaf) == of_proc()


TWO_PROBES = """BPF_HASH(a, u32);
TRACEPOINT_PROBE(sched, sched_switch) {
    u32 k = args->prev_pid;
    a.increment(k);
    return 0;
}
TRACEPOINT_PROBE(sched, sched_wakeup)
{
    LINE
    return 0;
}
"""


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("return nothing;", "use of undeclared identifier 'nothing'", "if nothing is a macro"),
        ("inline_of_kernel(1);", "'inline_of_kernel'", "if inline_of_kernel() is an inline function"),
        ("vfs_read(0, 0, 0, 0);", "'vfs_read'", "vfs_read() is a function of the kernel"),
        ("struct task_struct *t = 0; int x = t->tgidd;", "no member named 'tgidd'", "the nearest are tgid"),
        ("struct nonesuch *t = 0; int x = t->y;", "'struct nonesuch'", "has no struct nonesuch"),
        ("a.nonesuch(1);", "no member named 'nonesuch'", ""),
    ],
)
def test_compiler_errors_are_at_the_programs_lines(line: str, message: str, hint: str) -> None:
    """Behind two structs that bcc puts into the text for the tracepoints."""
    with pytest.raises(CompileError) as caught:
        bpfnb.bcc.compile(TWO_PROBES.replace("LINE", line), name="io")
    error = caught.value
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("io", 9)
    assert message in error.message
    assert hint in " ".join(error.hints)
    assert error.source is not None
    assert line in error.render()


def test_verifier_errors_are_at_the_programs_lines() -> None:
    text = TWO_PROBES.replace("LINE", "u32 k = 1; u64 *v = a.lookup(&k);\n    *v += 1;")
    with pytest.raises(VerifierError) as caught:
        bpfnb.bcc.compile(text, name="io")
    error = caught.value
    assert error.where is not None
    assert (error.where.file, error.where.line) == ("io", 10)
    assert error.program == "tracepoint__sched__sched_wakeup"
    assert "without a check for NULL" in error.message
    assert "map_value_or_null" in error.log


def test_usdt_contexts_and_errors_behind_the_text_that_they_add() -> None:
    """bcc puts readers of the arguments before the program; the lines stay those of the program."""
    bcc = bpfnb.bcc.enable()
    text = """BPF_ARRAY(sum, u64, 1);
int on_tick(struct pt_regs *ctx) {
    int number = 0, zero = 0;
    bpf_usdt_readarg(1, ctx, &number);
    u64 *total = sum.lookup(&zero);
    if (total) *total += number;
    return 0;
}
"""
    library = probe_library()
    with Worker() as worker:
        worker.run(f"lib = ctypes.CDLL({str(library)!r})")
        context = bcc.USDT(path=str(library), pid=worker.pid)
        context.enable_probe("tick", "on_tick")
        program = bpfnb.bcc.compile(text, usdt_contexts=[context])
        worker.run("lib.work(100)")
        assert program[b"sum"][0].value == sum(range(100))
        program.cleanup()
        del context, program
        gc.collect()

        context = bcc.USDT(path=str(library), pid=worker.pid)
        context.enable_probe("tick", "on_tick")
        with pytest.raises(CompileError) as caught:
            bpfnb.bcc.compile(text.replace("+= number", "+= nothing"), usdt_contexts=[context])
        where = caught.value.where
        # libbcc 0.26 closes a descriptor's number once too often when a context ends: now, when nobody else has it.
        del caught, context
        gc.collect()
    assert where is not None
    assert where.line == 6


@pytest.mark.parametrize(
    ("body", "line", "message", "hint"),
    [
        ("volatile char big[600];\n    big[ctx->ip & 1] = 1;\n    return big[ctx->sp & 1];", 2, "stack limit", "BPF_PERCPU_ARRAY"),
        ('bpf_trace_printk("%d %d %d %d", 1, 2, 3, 4);\n    return 0;', 3, "too many args to helper number 6", ""),
        ("long number = ctx->ip;\n    return number / (long)ctx->sp;", 4, "unsupported signed division", "unsigned"),
    ],
)  # fmt: skip
def test_a_program_that_llvm_gives_up_on_does_not_end_this_process(
    body: str, line: int, message: str, hint: str
) -> None:
    """LLVM prints why and calls exit()."""
    before = "BPF_HASH(h, u32);\nint before(void *ctx) { return 0; }\nstatic int own(int x) { return x; }\n"
    text = f"{before}int f(struct pt_regs *ctx) {{\n    {body}\n}}\n"
    with pytest.raises(CompileError) as caught:
        bpfnb.bcc.compile(text)
    assert caught.value.where is not None
    assert caught.value.where.line == line + 2
    assert message in caught.value.message
    assert hint in " ".join(caught.value.hints)
    bpfnb.bcc.compile("int f(void *ctx) { return 0; }").cleanup()


def test_a_tracepoint_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(AttachError, match="no tracepoint sched:sched_swich") as caught:
        bpfnb.bcc.compile("int tracepoint__sched__sched_swich(void *args) { return 0; }")
    assert "sched:sched_switch" in caught.value.hints[0]


def test_environment_directory_and_stderr_are_put_back(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    stderr = os.fstat(2).st_ino
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(CompileError):
        bpfnb.bcc.compile("int f(void *ctx) { return nothing; }")
    assert dict(os.environ) == before
    assert Path.cwd() == tmp_path
    assert os.fstat(2).st_ino == stderr
    assert len(os.listdir("/proc/self/fd")) == descriptors
    os.write(2, b"still heard\n")
    assert capfd.readouterr().err == "still heard\n"


def test_a_header_of_the_programs_own_is_found_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., Any]
) -> None:
    (tmp_path / "mine.h").write_text("struct task_struct;\n#define OFFSET(t) ((t)->tgid)\n")
    monkeypatch.chdir(tmp_path)
    program = made(
        '#include "mine.h"\nint f(void *ctx) { struct task_struct *t = (void *)bpf_get_current_task(); return OFFSET(t); }'
    )
    assert program.dump_func(b"f")


def test_what_could_silently_go_wrong_is_warned_of(made: Callable[..., Any]) -> None:
    text = """#include <linux/nsproxy.h>
#ifdef CONFIG_BPF_SYSCALL
#ifdef KERNEL_MACRO
int never;
#endif
#endif
struct nsproxy { int count; void *uts_ns; void *net_ns; };
struct path { struct vfsmount *mnt; struct dentry *dentry; };
BPF_HASH(h, u32, struct nsproxy);
"""
    found = bpfnb.bcc.diagnostics(made(text, name="io"))
    said = {(one.where.line if one.where else 0, one.message.split(" is ")[0]) for one in found}
    assert (3, "KERNEL_MACRO") in said
    assert [one for one in found if "struct nsproxy" in one.message and "net_ns" in one.message]
    assert not [one for one in found if "CONFIG_BPF_SYSCALL" in one.message or "struct path" in one.message]
    assert all(one.where and one.where.file == "io" and one.severity == "warning" for one in found)


def test_headers_that_the_user_chose_are_used_and_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., Any]
) -> None:
    other = tmp_path / "tree"
    text = "int f(void *ctx) { return 0; }"
    subprocess.run(["cp", "-r", for_program(Program(text), Kernel.running()).path, other], check=True)
    (other / "include/generated").mkdir()
    (other / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "6.1.0-56-amd64"\n')
    (other / "include/generated/asm-offsets.h").write_text("")
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(other))
    (warning,) = bpfnb.bcc.diagnostics(made(text))
    assert "BCC_KERNEL_SOURCE names headers that are not of kernel" in warning.message
    assert "they are of kernel 6.1.0-56-amd64" in warning.message
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(static_tree()))
    assert bpfnb.bcc.diagnostics(made(text)) == ()


def test_plain_bcc_code_gets_its_warnings_as_pythons() -> None:
    bcc = bpfnb.bcc.enable()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bcc.BPF(text=b"#ifdef KERNEL_MACRO\n#endif\nint f(void *ctx) { return 0; }").cleanup()
    (warning,) = [one for one in caught if issubclass(one.category, bpfnb.bcc.BccWarning)]
    assert "line 1" in str(warning.message)
    assert warning.filename == __file__


def test_probes_that_the_kernel_lacks_are_named_with_what_serves() -> None:
    if features().attach["kprobe"].ok is not False:
        pytest.skip("this kernel has kprobes")
    with pytest.raises(KernelFeatureMissing) as caught:
        bpfnb.bcc.compile("int kprobe__vfs_read(struct pt_regs *ctx) { return 0; }")
    assert "vfs_read" in caught.value.message
    assert "TRACEPOINT_PROBE(syscalls, sys_exit_read)" in " ".join(caught.value.hints)
    with pytest.raises(KernelFeatureMissing, match="fentry"):
        bpfnb.bcc.compile("KFUNC_PROBE(vfs_read, struct file *file) { return 0; }")


def test_programs_of_several_threads_do_not_meet() -> None:
    """Each thread's own error and own values, compiled at the same time from different directories' point of view."""
    results: dict[int, object] = {}

    def run(number: int) -> None:
        try:
            text = f"int f{number}(void *ctx) {{\n{chr(10) * number}return {'nothing' if number % 2 else number}; }}"
            program = bpfnb.bcc.compile(text, name=f"cell{number}")
            results[number] = program.dump_func(b"f%d" % number)[4]
            program.cleanup()
        except BpfnbError as error:
            results[number] = str(error.where)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 0, 1: "cell1, line 3, column 8", 2: 2, 3: "cell3, line 5, column 8"}


def test_disable_gives_bcc_back() -> None:
    lib = module().lib
    before = lib.bcc_func_load
    bpfnb.bcc.enable()
    bpfnb.bcc.enable()
    assert lib.bcc_func_load is not before
    bpfnb.bcc.disable()
    assert lib.bcc_func_load is before
    assert not bpfnb.bcc.enabled()
