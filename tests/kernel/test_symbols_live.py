"""Stacks sampled by the kernel have the names of programs whose chains of calls are known."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from workloads import await_true

import bpfnb
from bpfnb.symbols import Symbolizer

SAMPLE = """
struct where { u32 pid; stack_id_t user_stack; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct where); __type(value, u64); }
    samples SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 4096); __uint(key_size, 4);
         __uint(value_size, 8 * 64); } stacks SEC(".maps");
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
    struct where w = { .pid = bpf_get_current_pid_tgid() >> 32 };
    u64 one = 1, *n;
    w.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    n = bpf_map_lookup_elem(&samples, &w);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&samples, &w, &one, BPF_ANY);
    return 0;
}
"""

CHAIN_C = r"""
#include <unistd.h>
static inline __attribute__((always_inline)) void put_in(void)
{
    for (volatile long i = 0; i < 20000000; i++);  // line 5
}
__attribute__((noinline)) void inner(void) { put_in(); __asm__ volatile(""); }
__attribute__((noinline)) void middle(void) { inner(); __asm__ volatile(""); }
__attribute__((noinline)) static void outer(void) { middle(); __asm__ volatile(""); }
int main(void) { write(1, "\n", 1); for (;;) outer(); }
"""

CHAIN_CPP = r"""
#include <unistd.h>
#include <vector>
namespace shop {
template <typename T> struct Basket {
    volatile T total = 0;
    __attribute__((noinline)) void add(std::vector<T> const &items) { for (volatile int n = 0; n < 100000; n = n + 1) for (auto i : items) total = total + i; __asm__ volatile(""); }
};
__attribute__((noinline)) void fill(Basket<long> &basket) { static std::vector<long> items(100, 1); basket.add(items); __asm__ volatile(""); }
}
int main() { shop::Basket<long> basket; write(1, "\n", 1); for (;;) shop::fill(basket); }
"""

# A function that calls none has a frame only where it has variables in memory.
FLAGS = ("-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls")


def built(folder: Path, source: str, *flags: str, compiler: str = "gcc", name: str = "chain") -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    code = folder / (name + (".cc" if compiler == "g++" else ".c"))
    code.write_text(source)
    subprocess.run([compiler, *FLAGS, *flags, "-o", folder / name, code], check=True)
    return folder / name


@contextlib.contextmanager
def running(*command: str | Path, **options) -> Iterator[subprocess.Popen[bytes]]:
    """A program that says by a line that it is at work."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    try:
        assert process.stdout.readline(), "the program ended at once"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def sampled(pid: int, enough: int = 400) -> list[tuple[list[int], int]]:
    """User stacks of *pid*, leaf first, with their counts."""
    with bpfnb.load(SAMPLE, name="cpu", pid=pid, frequency=1999) as cpu:
        await_true(lambda: cpu.samples.df["value"].sum() >= enough, timeout=60)
        rows, stacks = cpu.samples.df, cpu.stacks.df
    known = dict(zip(stacks["stack_id"].tolist(), stacks["frames"].tolist(), strict=True))
    return [
        (known.get(number, number), count)
        for number, count in zip(rows["user_stack"].tolist(), rows["value"].tolist(), strict=True)
    ]


def share(found: list[tuple[list[int], int]], symbolizer: Symbolizer, pid: int, *chain: str) -> float:
    """The share of the samples whose stacks hold *chain*, each called by the one before."""
    names = symbolizer.names([stack for stack, _ in found], pid)
    counts = np.array([count for _, count in found])
    width = len(chain)
    holds = [any(tuple(each[i : i + width]) == chain for i in range(len(each))) for each in names]
    return counts[holds].sum() / counts.sum()


@pytest.mark.parametrize("flags", [("-pie", "-fPIE"), ("-no-pie", "-fno-pie"), ("-static", "-no-pie")])
def test_a_chain_of_c_functions(tmp_path, flags):
    with running(built(tmp_path, CHAIN_C, *flags)) as process:
        found = sampled(process.pid)
        assert share(found, Symbolizer(), process.pid, "main", "outer", "middle", "inner") > 0.95
        frames = Symbolizer().resolve(np.unique([a for stack, _ in found for a in stack]), process.pid)
    own = [frame for frame in frames if frame.function == "inner"]
    assert own
    assert all(frame.kind == "user" and frame.module == str(tmp_path / "chain") for frame in own)


def test_a_chain_of_cpp_functions_is_demangled(tmp_path):
    with running(built(tmp_path, CHAIN_CPP, compiler="g++")) as process:
        chain = (
            "main",
            "shop::fill(shop::Basket<long>&)",
            "shop::Basket<long>::add(std::vector<long, std::allocator<long>> const&)",
        )
        assert share(sampled(process.pid), Symbolizer(), process.pid, *chain) > 0.95


CHAIN_RUST = """
#[inline(never)] fn spin<T: Into<u64>>(n: T) -> u64 { let n = n.into(); let mut t = 0; while t < n { t = std::hint::black_box(t + 1) } t }
mod shop { pub trait Go { fn go(&self) -> u64; } pub struct Cart(pub u32); impl Go for Cart { #[inline(never)] fn go(&self) -> u64 { super::spin(self.0) + 1 } } }
fn main() { use shop::Go; println!(""); loop { std::hint::black_box(shop::Cart(20_000_000).go()); } }
"""


def test_a_chain_of_rust_functions_is_demangled(tmp_path):
    """As this compiler mangles names: the old way without the types, which v0 has."""
    if shutil.which("rustc") is None:
        pytest.skip("there is no rustc")
    (tmp_path / "chain.rs").write_text(CHAIN_RUST)
    flags = ["-O", "-C", "force-frame-pointers=yes"]
    subprocess.run(["rustc", *flags, "-o", tmp_path / "chain", tmp_path / "chain.rs"], check=True)
    with running(tmp_path / "chain") as process:
        found, symbolizer = sampled(process.pid), Symbolizer()
        called = "<chain::shop::Cart as chain::shop::Go>::go"
        shares = [
            share(found, symbolizer, process.pid, called, f"chain::spin{types}") for types in ("", "::<u32>")
        ]
    assert max(shares) > 0.95


@pytest.mark.parametrize("way", ["build id", "link"])
def test_a_stripped_program_has_the_names_of_its_separate_debug_file(tmp_path, way):
    # A folder beside the program is where .gnu_debuglink is looked up; build ids lead into the private one.
    flags = ("-Wl,--build-id=sha1",) if way == "build id" else ("-Wl,--build-id=none",)
    program = built(tmp_path, CHAIN_C, "-g", *flags)
    full = tmp_path / "chain.debug"
    subprocess.run(["objcopy", "--only-keep-debug", program, full], check=True)
    subprocess.run(["strip", "--strip-all", program], check=True)
    private = tmp_path / "private"
    if way == "build id":
        notes = subprocess.check_output(["readelf", "-n", program], text=True)
        number = notes.partition("Build ID: ")[2].split()[0]
        place = private / ".build-id" / number[:2] / f"{number[2:]}.debug"
    else:
        subprocess.run(["objcopy", f"--add-gnu-debuglink={full}", program], check=True)
        place = tmp_path / ".debug" / "chain.debug"
    place.parent.mkdir(parents=True)
    with running(program) as process:
        found = sampled(process.pid)
        full.rename(tmp_path / "elsewhere")
        bare = Symbolizer(debug=[private]).names([stack for stack, _ in found], process.pid)
        assert any("[no symbols: chain]" in names for names in bare)
        assert not any("inner" in names for names in bare)
        (tmp_path / "elsewhere").rename(place)
        symbolizer = Symbolizer(debug=[private])
        assert share(found, symbolizer, process.pid, "main", "outer", "middle", "inner") > 0.95


def test_a_deleted_program_that_still_runs(tmp_path):
    program = built(tmp_path, CHAIN_C)
    with running(program) as process:
        program.unlink()
        assert (
            share(sampled(process.pid), Symbolizer(), process.pid, "main", "outer", "middle", "inner") > 0.95
        )


def test_a_program_in_another_mount_namespace(tmp_path):
    program = built(tmp_path, CHAIN_C)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = f"mount -t tmpfs none {hidden} && cp {program} {hidden}/inside && exec {hidden}/inside"
    with running("unshare", "-m", "sh", "-c", script) as process:
        assert not (hidden / "inside").exists()
        found = sampled(process.pid)
        symbolizer = Symbolizer()
        assert share(found, symbolizer, process.pid, "main", "outer", "middle", "inner") > 0.95
        modules = {frame.module for frame in symbolizer.resolve(found[0][0], process.pid)}
    assert str(hidden / "inside") in modules


def test_a_process_that_was_seen_alive_has_names_after_its_end(tmp_path):
    program = built(tmp_path, CHAIN_C)
    symbolizer = Symbolizer()
    with running(program) as process:
        assert symbolizer.watch(process.pid)
        found = sampled(process.pid)
    program.unlink()
    assert not symbolizer.watch(process.pid)
    assert share(found, symbolizer, process.pid, "main", "outer", "middle", "inner") > 0.95
    unseen = Symbolizer().names([found[0][0]], process.pid)
    assert set(unseen[0]) == {"[process has exited]"}


def test_a_process_that_becomes_another_program(tmp_path):
    program = built(tmp_path, CHAIN_C, "-no-pie", "-fno-pie")
    symbolizer = Symbolizer()
    script = f"echo; read line; exec {program}"
    with running("sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert symbolizer.watch(process.pid)
        before = symbolizer.resolve([0x401200], process.pid)
        assert before[0].module != str(program)
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stdout.readline()
        assert share(sampled(process.pid), symbolizer, process.pid, "main", "outer", "middle", "inner") > 0.95


def test_a_library_that_was_loaded_later_and_is_unloaded(tmp_path):
    library = built(tmp_path, "int in_library(void) { return 1; }", "-shared", "-fPIC", name="lib.so")
    symbolizer = Symbolizer()
    assert symbolizer.watch(os.getpid())
    loaded = ctypes.CDLL(str(library))
    address = ctypes.cast(loaded.in_library, ctypes.c_void_p).value
    places = [address + 4, address + 4]
    limit = time.monotonic() + 30
    while not symbolizer.resolve(places, os.getpid())[0].function:  # a snapshot is the present for a second
        assert time.monotonic() < limit
    found = symbolizer.resolve(places, os.getpid(), returns=[False, True])
    assert [(frame.function, frame.offset, frame.module) for frame in found] == [
        ("in_library", 4, str(library))
    ] * 2
    _ctypes.dlclose(loaded._handle)
    assert str(library) not in Path("/proc/self/maps").read_text()
    assert symbolizer.watch(os.getpid())
    assert symbolizer.resolve([address], os.getpid())[0].function == "in_library"


def test_many_threads_at_once_get_what_one_gets(tmp_path):
    with (
        running(built(tmp_path, CHAIN_C)) as one,
        running(built(tmp_path, CHAIN_CPP, compiler="g++", name="other")) as two,
    ):
        stacks = {process.pid: [stack for stack, _ in sampled(process.pid, 100)] for process in (one, two)}
        wanted = {pid: Symbolizer().names(each, pid) for pid, each in stacks.items()}
        symbolizer = Symbolizer()
        with ThreadPoolExecutor(8) as pool:
            turns = [pid for pid in stacks for _ in range(20)]
            found = list(pool.map(lambda pid: symbolizer.names(stacks[pid], pid), turns))
    assert found == [wanted[pid] for pid in turns]


def test_inlined_functions_and_lines_from_dwarf(tmp_path, monkeypatch):
    pytest.importorskip("symbolic")
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    program = built(tmp_path, CHAIN_C, "-g", "-O2")
    symbolizer = Symbolizer(lines=True)
    with running(program) as process:
        found = sampled(process.pid)
        assert share(found, symbolizer, process.pid, "middle", "inner", "put_in_[i]") > 0.95
        frames = symbolizer.resolve([stack[0] for stack, _ in found], process.pid)
    assert {frame.inlined[-1].line for frame in frames if frame.function == "inner"} == {5}
    assert {frame.line for frame in frames if frame.function == "inner"} == {7}
    assert {Path(frame.file).name for frame in frames if frame.function == "inner"} == {"chain.c"}


def test_a_flame_graph_names_the_functions_of_its_rows_processes(tmp_path):
    program = built(tmp_path, CHAIN_C)
    with running(program) as process, bpfnb.load(SAMPLE, name="cpu", pid=process.pid, frequency=1999) as cpu:
        view = cpu.samples.flamegraph()
        await_true(lambda: view.tree.total >= 400)
        text = view.folded()
    process.wait()
    chains = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in text.splitlines()}
    right = sum(count for chain, count in chains.items() if chain.endswith("main;outer;middle;inner"))
    assert right > 0.95 * sum(chains.values())


def test_a_live_flame_graph_takes_up_inlined_functions_when_they_are_read(tmp_path, monkeypatch):
    pytest.importorskip("symbolic")
    monkeypatch.setenv("BPFNB_CACHE", str(tmp_path / "cache"))
    program = built(tmp_path, CHAIN_C, "-g", "-O2")
    with running(program) as process, bpfnb.load(SAMPLE, name="cpu", pid=process.pid, frequency=1999) as cpu:
        view = cpu.samples.flamegraph(symbolize=Symbolizer(lines=True))
        await_true(lambda: view.search("inner") > 0.95)
        await_true(lambda: view.search("put_in_[i]") > 0.95)


JIT = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
// push %rbp; mov %rsp,%rbp; mov $1<<28,%eax; 1: dec %eax; jnz 1b; pop %rbp; ret
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xb8, 0, 0, 0, 0x10, 0xff, 0xc8, 0x75, 0xfc, 0x5d, 0xc3};
int main(int argc, char **argv)
{
    char name[64];
    int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (argc > 1 && !strcmp(argv[1], "shared")) flags = MAP_SHARED | MAP_ANONYMOUS;
    if (argc > 1 && !strcmp(argv[1], "memfd")) {
        flags = MAP_SHARED, file = memfd_create("/made/here", 0);
        if (ftruncate(file, 4096)) return 1;
    }
    void *memory = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, file, 0);
    memcpy(memory, code, sizeof code);
    snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(name, "w");
    fprintf(map, "%lx %zx old name\n%lx %zx made at run time\n", (long)memory, sizeof code, (long)memory, sizeof code);
    fclose(map);
    puts(""); fflush(stdout);
    for (;;) ((void (*)(void))memory)();
}
"""


@pytest.mark.parametrize(
    ("contained", "memory"), [(False, "private"), (True, "private"), (False, "shared"), (False, "memfd")]
)
def test_code_made_at_run_time_by_its_perf_map(tmp_path, contained, memory):
    """Contained: the program has a /tmp and a number of its own. Shared memory has an inode, as files have."""
    if os.uname().machine != "x86_64":
        pytest.skip("the test program's code is x86-64's")
    program = built(tmp_path, JIT)
    command = [program, memory]
    if contained:
        private = tmp_path / "tmp"
        private.mkdir()
        shutil.copy(program, private / "jit")
        script = f"mount --bind {private} /tmp && exec /tmp/jit"
        command = ["unshare", "-m", "-p", "--fork", "--kill-child", "sh", "-c", script]
    with running(*command) as process:
        pid = process.pid
        if contained:
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        symbolizer = Symbolizer()
        assert share(sampled(pid), symbolizer, pid, "main", "made at run time_[j]") > 0.95
    Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)


PYTHON = """
def inner(n):
    total = 0
    for i in range(n):
        total += i * i
    return total
def outer():
    while True:
        inner(10_000)
print(flush=True)
outer()
"""


def python_with_perf(*, whole: bool) -> str:
    """A CPython 3.12 or newer that writes perf maps; with *whole* stacks: compiled with frame pointers."""
    found = [sys.executable, *(shutil.which(f"python3.{minor}") or "" for minor in range(20, 11, -1))]
    found += map(str, sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python3")))
    check = "import os, sys, sysconfig; os.unlink(f'/tmp/perf-{os.getpid()}.map'); whole = 'no-omit-frame-pointer' in (sysconfig.get_config_var('CFLAGS') or '');"
    check += f" sys.exit(not (sys.is_stack_trampoline_active() and whole >= {whole}))"
    for python in found:
        if (
            python
            and subprocess.run([python, "-X", "perf", "-c", check], capture_output=True).returncode == 0
        ):
            return python
    pytest.skip(f"there is no Python 3.12 that writes perf maps{' and has frame pointers' * whole}")


def test_the_stacks_of_a_python_program(tmp_path):
    script = tmp_path / "busy.py"
    script.write_text(PYTHON)
    with running(python_with_perf(whole=True), "-X", "perf", script) as process:
        found = sampled(process.pid)
        names = Symbolizer().names([stack for stack, _ in found], process.pid)
    outer, inner = f"py::outer:{script}", f"py::inner:{script}"
    counts = [count for _, count in found]
    chains = [[name for name in each if name in (outer, inner)] == [outer, inner] for each in names]
    assert np.array(counts)[chains].sum() > 0.9 * sum(counts)
    Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)


def test_functions_of_a_python_program_by_what_it_writes_of_them(tmp_path):
    """Without frame pointers in the interpreter, stacks do not reach them: here their addresses are those in the map."""
    script = tmp_path / "busy.py"
    script.write_text(PYTHON)
    with running(python_with_perf(whole=False), "-X", "perf", script) as process:
        map_ = Path(f"/tmp/perf-{process.pid}.map")
        await_true(lambda: "py::outer:" in map_.read_text())
        lines = [line.split(maxsplit=2) for line in map_.read_text().splitlines()]
        outer = next(int(start, 16) for start, _, name in lines if name == f"py::outer:{script}")
        symbolizer = Symbolizer()
        found = symbolizer.resolve([outer + 1], process.pid)
        assert [(f.function, f.file, f.kind, f.offset) for f in found] == [
            ("outer", str(script), "python", 1)
        ]
        assert symbolizer.names([[outer + 1]], process.pid) == [[f"py::outer:{script}"]]
    map_.unlink()


def test_functions_of_a_node_program(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    script = tmp_path / "busy.js"
    script.write_text(
        "function innerWork(n) { let t = 0; for (let i = 0; i < n; i++) t += i % 7; return t }\n"
        "function outerWork() { let t = 0; for (let k = 0; k < 50; k++) t += innerWork(1e6); return t }\n"
        "console.log(outerWork() ? '' : ''); for (;;) outerWork()\n"
    )
    options = ("--perf-basic-prof", "--interpreted-frames-native-stack")
    with running(node, *options, script, cwd=tmp_path) as process:  # V8 leaves a log there
        found = sampled(process.pid)
        frames = Symbolizer().resolve(sorted({a for stack, _ in found for a in stack}), process.pid)
    made = [f for f in frames if f.kind == "jit" and "Work" in f.function]
    assert made
    assert {Path(f.file).name for f in made} == {"busy.js"}
    Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)


def test_each_function_is_found_at_its_first_and_last_byte(tmp_path):
    """Against nm, of a program that is not loaded where it was linked."""
    program = built(tmp_path, CHAIN_C, "-pie", "-fPIE")
    lines = subprocess.check_output(["nm", "-S", program], text=True).splitlines()
    sized = [line.split() for line in lines if len(line.split()) == 4 and line.split()[2] in "tT"]
    with running(program) as process:
        maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        base = int(next(line for line in maps if str(program) in line).split("-")[0], 16)
        symbolizer = Symbolizer()
        for value, size, _, name in sized:
            start = base + int(value, 16)
            end = start + int(size, 16)
            frames = symbolizer.resolve([start, end - 1], process.pid)
            assert [(f.function, f.offset) for f in frames] == [(name, 0), (name, end - 1 - start)]
            called = symbolizer.resolve([end], process.pid, returns=True)
            assert [f.function for f in called] == [name]
    assert {"main", "inner", "middle", "outer"} <= {name for *_, name in sized}


def test_the_vdso_has_names():
    maps = Path("/proc/self/maps").read_text().splitlines()
    found = [line for line in maps if "[vdso]" in line]
    if not found:
        pytest.skip("this kernel maps no vdso")
    start, end = (int(word, 16) for word in found[0].split()[0].split("-"))
    frames = Symbolizer().resolve(np.arange(start, end, 16, dtype=np.uint64), os.getpid())
    assert "clock_gettime" in " ".join(frame.function or "" for frame in frames)
