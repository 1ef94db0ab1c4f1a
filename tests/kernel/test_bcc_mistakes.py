"""Mistakes that people make in cells in bcc's dialect, and what they are told."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workloads import await_true

import bpfnb
from bpfnb.bcc import hook
from bpfnb.bcc.preflight import rehearse
from bpfnb.errors import (
    AttachError,
    BadValue,
    BpfnbError,
    CompileError,
    KernelFeatureMissing,
    VerifierError,
)
from bpfnb.kernel.binaries import Binary, find_binary
from bpfnb.kernel.features import check_section
from bpfnb.views.objectpanel.facts import facts

pytestmark = [
    pytest.mark.usefixtures("bcc_installed"),
    pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning"),  # bcc's, of itself
]

CELL = """BPF_HASH(calls, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_getsid)
{
    u32 k = 1;
    u64 *v;
    BODY
    return 0;
}"""


def mistake(text: str, kind: type[BpfnbError], **options: object) -> BpfnbError:
    with pytest.raises(kind) as caught:
        bpfnb.load(text, name="t_mistake", **options)  # type: ignore[arg-type]
    assert "t_mistake" not in bpfnb.objects
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        "v = calls.lookup(&k); (*v)++;",
        "calls.update(k, &k);",
        "for (;;) { k++; calls.increment(k); }",
    ],
)
def test_the_verifier_names_a_line_that_bcc_rewrote(body):
    """Tracepoints' structs have padding, by which bcc's text has more lines than fields."""
    error = mistake(CELL.replace("BODY", body), VerifierError)
    assert error.where is not None
    assert error.where.line == 6


def hint(error: BpfnbError) -> str:
    return "\n".join(error.hints)


def test_a_misspelt_macro():
    error = mistake(
        CELL.replace("BPF_HASH", "BPF_HASHH").replace("BODY", "calls.increment(k);"), CompileError
    )
    assert error.hints[0].startswith("bcc has no macro BPF_HASHH; the nearest are BPF_HASH")
    error = mistake(CELL.replace("TRACEPOINT_PROBE", "TRACEPOINT_PROB").replace("BODY", ""), CompileError)
    assert "the nearest are TRACEPOINT_PROBE" in hint(error)


def test_a_script_with_a_tracepoint_that_this_kernel_lacks():
    with pytest.raises(CompileError) as caught:
        hook.compile(CELL.replace("sys_enter_getsid", "sys_enter_getsidd").replace("BODY", "k = args->pid;"))
    assert "no tracepoint syscalls/sys_enter_getsidd" in hint(caught.value)
    assert "sys_enter_getsid)" in hint(caught.value)


def test_a_script_that_looks_for_functions_to_probe():
    bcc = hook.enable()
    if check_section("kprobe/vfs_read") is None:
        assert b"vfs_read" in bcc.BPF.get_kprobe_functions(b"^vfs_read$")
        return
    with pytest.raises(KernelFeatureMissing, match="on vfs_read") as caught:
        bcc.BPF.get_kprobe_functions(b"^vfs_read$")
    assert "TRACEPOINT_PROBE(syscalls, sys_enter_read)" in hint(caught.value)
    hook.disable()
    with pytest.raises(FileNotFoundError):
        bcc.BPF.get_kprobe_functions(b"^vfs_read$")


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ("calls.perf_submit(args, &k, sizeof(k));", "a method of a BPF_PERF_OUTPUT"),
        ('printf("hello");', "use bpf_trace_printk("),
        ("v = malloc(8);", "there is no C library in the kernel"),
        ("k = NOWHERE_AT_ALL;", "#define it here"),
    ],
)
def test_what_serves_instead(body, advice):
    error = mistake(CELL.replace("BODY", body), CompileError)
    assert advice in hint(error)
    assert error.where is not None
    assert error.where.line == 6


def test_a_misspelt_table_is_no_macro_of_the_kernels():
    error = mistake(CELL.replace("BODY", "cals.increment(k);"), CompileError)
    assert "did you mean 'calls'" in error.message
    assert error.hints == ()


def test_a_type_that_is_defined_after_its_use():
    text = "BPF_HASH(config, u32, struct user_t);\nstruct user_t { char text[12]; };\n" + CELL
    error = mistake(text.replace("BODY", ""), CompileError)
    assert error.hints == ("struct user_t is defined in line 2: move that above line 1",)


def test_a_global_variable_has_no_memory():
    error = mistake("int counter = 0;\n" + CELL.replace("BODY", "counter++;"), VerifierError)
    assert hint(error) == "bcc gives global variables no memory: keep counter in BPF_ARRAY(counter, u64, 1)"
    assert error.where is not None
    assert error.where.line == 7


def test_a_table_that_the_kernel_does_not_take():
    error = mistake("\nBPF_ARRAY(none, u64, 0);\n" + CELL.replace("BODY", ""), CompileError)
    assert "table 'none'" in error.message
    assert error.where is not None
    assert error.where.line == 2


def test_a_misspelt_section():
    error = mistake(
        "BPF_HASH(a);\nint f(struct pt_regs *ctx) { return 0; }",
        BadValue,
        attach={"f": "uprob/libc.so.6:malloc"},
    )
    assert "uprobe" in hint(error)


def test_functions_for_a_program_array():
    text = """BPF_PROG_ARRAY(calls, 8);
    int first(void *ctx) { calls.call(ctx, 1); return 0; }
    int second(void *ctx) { return 0; }"""
    with bpfnb.load(text, name="t_mistake", attach={"first": "raw_tp/sys_enter"}) as obj:
        (warning,) = obj.warnings
    assert warning.message.endswith("For a BPF_PROG_ARRAY --attach second=raw_tp loads it")


def test_a_probe_on_an_indirect_function():
    """glibc's strlen chooses one of several when it is linked."""
    binary = Binary(find_binary("libc.so.6") or Path("/"))
    if not binary.indirect("strlen"):
        pytest.skip("strlen is an ordinary function here")
    assert not binary.indirect("malloc")
    text = "BPF_HASH(a, u32);\nint f(struct pt_regs *ctx) { u32 k = 0; a.increment(k); return 0; }"
    with bpfnb.load(text, name="t_mistake", attach={"f": "uprobe/libc.so.6:strlen"}) as obj:
        (warning,) = obj.warnings
    assert "indirect function (IFUNC)" in warning.message
    assert warning.where is not None
    assert warning.where.line == 2
    with bpfnb.load(text, name="t_mistake", attach={"f": "uprobe/libc.so.6:malloc"}) as obj:
        assert obj.warnings == ()


UNPRIVILEGED = """
import sys, bpfnb
from bpfnb.bcc import hook
hook.enable()
from bcc import BPF
text = "BPF_HASH(a); TRACEPOINT_PROBE(syscalls, sys_enter_getsid) { u64 k=0; a.increment(k); return 0; }"
for call in (lambda: bpfnb.load(text, name="x"), lambda: BPF(text=text),
             lambda: bpfnb.load("RAW_TRACEPOINT_PROBE(sched_switch) { return 0; }", name="x")):
    try:
        call()
    except bpfnb.errors.NotPermitted as error:
        print(*error.missing, bool(error.hints))
"""


def test_without_capabilities():
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert all("CAP_BPF" in line and line.endswith("True") for line in lines)


def test_an_interrupt_leaves_no_rehearsal_behind():
    before = children()
    with pytest.raises(KeyboardInterrupt), interrupted_after_the_fork():
        rehearse(lambda: bool(time.sleep(600)))
    assert children() == before


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


@contextlib.contextmanager
def interrupted_after_the_fork() -> Iterator[None]:
    """SIGINT to this process as soon as it has one more child."""
    main, before = threading.get_native_id(), children()

    def interrupt() -> None:
        path = Path(f"/proc/self/task/{main}/children")
        await_true(lambda: path.read_text().split() != before)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_raw_tracepoint_has_no_registers():
    text = "BPF_HASH(a);\nint f(struct pt_regs *ctx, void *prev) { u64 k = (u64)prev; a.increment(k); return 0; }"
    error = mistake(text, VerifierError, attach={"f": "raw_tp/sched_switch"})
    assert "struct bpf_raw_tracepoint_args *ctx" in hint(error)


def test_a_library_by_bccs_name():
    text = "BPF_HASH(a);\nint f(struct pt_regs *ctx) { return 0; }"
    error = mistake(text, AttachError, attach={"f": "uprobe/c:malloc"})
    assert "did you mean libc?" in hint(error)


def test_the_object_does_not_claim_that_nothing_was_lost():
    """A program that calls the helper by itself is not counted."""
    send = (
        "u64 e = 1; bpf_ringbuf_output((void *)bpf_pseudo_fd(1, -1), &e, 8, 0); ev.ringbuf_output(&e, 8, 0);"
    )
    text = "BPF_RINGBUF_OUTPUT(ev, 1);\nTRACEPOINT_PROBE(syscalls, sys_enter_getsid) { BODY return 0; }"
    with bpfnb.load(text.replace("BODY", send), name="t_mistake") as obj:
        assert [stream.lost for stream in facts(obj).streams] == [None]
    counted = text.replace("BODY", "u64 e = 1; ev.ringbuf_output(&e, 8, 0);")
    with bpfnb.load(counted, name="t_mistake") as obj:
        assert [stream.lost for stream in facts(obj).streams] == [0]
