"""Flame graphs of real samples: known shares of time, kernel names, streams with moments."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pictures import drawings
from workloads import await_true

import bpfnb
from bpfnb.symbols.kallsyms import KERNEL
from bpfnb.views import flamegraph
from bpfnb.views.flames.naming import kernel_names

# Three of four calls of spin() come from heavy(). How long one takes is random: turns of one length would march in step with
# the samples, which then were not independent. The program also measures the thread CPU time in each, in the file that it
# is given.
BUSY = r"""
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
static unsigned long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ul + t.tv_nsec;
}
static unsigned long state = 88172645463325252ul;
__attribute__((noinline)) void spin(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    for (volatile long i = state % 100000; i > 0; i--);
}
__attribute__((noinline)) void heavy(void) { spin(); spin(); spin(); __asm__ volatile(""); }
__attribute__((noinline)) void light(void) { spin(); __asm__ volatile(""); }
int main(int argc, char **argv)
{
    unsigned long *spent = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open(argv[1], O_RDWR), 0);
    for (;;) {
        unsigned long a = now(), b, c;
        heavy();
        b = now();
        light();
        c = now();
        spent[0] += b - a;
        spent[1] += c - b;
    }
}
"""

MAPS = """
struct where { u32 pid; stack_id_t user_stack; stack_id_t kernel_stack; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct where); __type(value, u64); }
    samples SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 4096); __uint(key_size, 4);
         __uint(value_size, 8 * 64); } stacks SEC(".maps");
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
    struct where w = { .pid = bpf_get_current_pid_tgid() >> 32 };
    u64 one = 1, *n;
    w.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    w.kernel_stack = bpf_get_stackid(ctx, &stacks, 0);
    n = bpf_map_lookup_elem(&samples, &w);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&samples, &w, &one, BPF_ANY);
    return 0;
}
"""

STREAM = """
struct stack_sample { ktime_ns_t ts; u32 depth; u64 stack[32]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } samples SEC(".maps");
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
    struct stack_sample *s = bpf_ringbuf_reserve(&samples, sizeof(*s), 0);
    if (!s)
        return 0;
    __builtin_memset(s->stack, 0, sizeof(s->stack));
    s->ts = bpf_ktime_get_ns();
    s->depth = bpf_get_stack(ctx, s->stack, sizeof(s->stack), 0) / 8;
    bpf_ringbuf_submit(s, 0);
    return 0;
}
"""


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("busy")
    (folder / "busy.c").write_text(BUSY)
    flags = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-static", "-no-pie"]
    subprocess.run([compiler, *flags, "-o", folder / "busy", folder / "busy.c"], check=True)
    (folder / "spent").write_bytes(bytes(4096))
    process = subprocess.Popen([folder / "busy", folder / "spent"])
    yield process, folder / "busy"
    process.kill()
    process.wait()


@pytest.fixture
def zeros() -> Iterator[int]:
    process = subprocess.Popen(["dd", "if=/dev/zero", "of=/dev/null", "bs=64k"], stderr=subprocess.DEVNULL)
    yield process.pid
    process.kill()
    process.wait()


def symbols(binary: Path):
    """Names of a static program's addresses, as nm tells them."""
    lines = [line.split() for line in subprocess.check_output(["nm", "-n", binary], text=True).splitlines()]
    table = [(int(line[0], 16), line[2]) for line in lines if len(line) == 3 and line[1] in "tT"]
    starts = np.array([start for start, _ in table], np.uint64)

    def names(addresses):
        at = np.searchsorted(starts, addresses, side="right") - 1
        kernel = kernel_names(addresses, np.zeros(len(addresses), bool))
        return [name or table[i][1] for name, i in zip(kernel, at.tolist(), strict=True)]

    return names


def test_shares_are_those_of_the_time_spent(busy):
    process, binary = busy

    def spent():
        return np.fromfile(binary.parent / "spent", np.uint64, 2)

    with bpfnb.load(MAPS, name="cpu", pid=process.pid, frequency=1999) as cpu:
        view = cpu.samples.flamegraph(stacks=cpu.stacks, symbolize=symbols(binary))
        before = spent()
        await_true(lambda: view.tree.total >= 1500, timeout=60)
        tree = view.tree
        rows = cpu.samples.df
        in_heavy, in_light = (spent() - before).tolist()
    by_path = {tuple(tree.path(node)): int(tree.value[node]) for node in range(len(tree))}
    mains = next(path for path in by_path if path[-1:] == ("main",))
    heavy, light = by_path[(*mains, "heavy")], by_path[(*mains, "light")]
    n, share = heavy + light, in_heavy / (in_heavy + in_light)
    assert n > 1000
    assert 0.7 < share < 0.8
    # A call of now() ends within the share and outside of the frame: less than a hundredth of a turn of about 300 us.
    assert abs(heavy / n - share) < 5 * math.sqrt(share * (1 - share) / n) + 0.01
    assert by_path[()] <= rows["value"].sum()
    assert view.search("heavy") == pytest.approx(heavy / tree.total, abs=0.05)


def test_selected_frames_select_the_maps_rows(busy):
    process, binary = busy
    with bpfnb.load(MAPS, name="cpu", pid=process.pid, frequency=1999) as cpu:
        view = cpu.samples.flamegraph(stacks=cpu.stacks, symbolize=symbols(binary))
        await_true(lambda: view.search("light") > 0 and view.search("heavy") > 0, timeout=60)
        tree = view.tree
        node = next(node for node in range(len(tree)) if tree.label(node) == "light")
        view._select(tree.path(node))
        ids = set(view.selected["user_stack"])
        stacks = cpu.stacks.df.set_index("stack_id")["frames"]
    assert ids
    named = [symbols(binary)(np.array(stacks[i], np.uint64)) for i in ids]
    assert all("light" in names and "heavy" not in names for names in named)


def test_the_kernels_functions_have_names(zeros):
    if KERNEL.hidden:
        pytest.skip("this process is not shown kernel addresses")
    with bpfnb.load(MAPS, name="cpu", pid=zeros, frequency=1999) as cpu:
        view = flamegraph(cpu.samples, "kernel_stack", stacks=cpu.stacks)
        await_true(lambda: view.search("/read.*zero.*_\\[k\\]$/") > 0, timeout=60)
        tree = view.tree
    paths = [tree.path(node) for node in range(len(tree))]
    reading = next(path for path in paths if path and "zero" in path[-1])
    assert "vfs_read_[k]" in reading
    assert "do_syscall_64_[k]" in reading[: reading.index("vfs_read_[k]")]


def test_a_stream_of_samples_keeps_its_moments(zeros):
    if KERNEL.hidden:
        pytest.skip("this process is not shown kernel addresses")
    with bpfnb.load(STREAM, name="cpu", pid=zeros, frequency=1999) as cpu:
        view = cpu.samples.flamegraph(hz=10)
        await_true(lambda: view.tree.total >= 300, timeout=60)
        rows = cpu.samples.df
        times = rows["ts"].astype("int64").to_numpy()
        middle = int(np.median(times))
        view.window = (int(times.min()), middle)
        shown = view.tree.total
        assert shown == (times < middle).sum()
        assert len(view.selected) == shown
        view.base_window = (middle, int(times.max()) + 1)
        assert view.tree.base_total == (times >= middle).sum()
        assert any("zero" in view.tree.label(node) for node in range(len(view.tree)))
    assert view.state == "done"
    assert len(drawings(view.html())) == 1
