"""Frames that can have no name say why in the flame graph; what only seems out of reach has names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nobody
import pytest
from test_symbols_live import CHAIN_C, built, running

import bpfnb
from bpfnb import tools


@contextmanager
def drawn(pid: int, enough: int = 60) -> Iterator[dict[tuple[str, ...], int]]:
    """The stacks of the tool's own picture of a process, root first, with their samples."""
    with tools.profile(pid=pid, frequency=999, user_only=True) as profile:
        assert profile.wait(enough, 60)
        profile.stop()
        lines = profile.view().folded().splitlines()
    yield {tuple(path.split(";")): int(count) for path, _, count in (line.rpartition(" ") for line in lines)}


def share(stacks: dict[tuple[str, ...], int], *chain: str) -> float:
    """The share of the samples in which *chain* stands, each called by the one before."""
    width = len(chain)
    there = (n for s, n in stacks.items() if any(s[i : i + width] == chain for i in range(len(s))))
    return sum(there) / sum(stacks.values())


CHAIN = ("main", "outer", "middle", "inner")


def test_a_stripped_program_has_no_symbols(tmp_path):
    with running(built(tmp_path, CHAIN_C, "-s")) as process, drawn(process.pid) as stacks:
        assert share(stacks, *["[no symbols: chain]"] * 4) > 0.9


def test_a_stripped_program_that_was_deleted_has_no_symbols_either(tmp_path):
    program = built(tmp_path, CHAIN_C, "-s")
    with running(program) as process:
        program.unlink()
        with drawn(process.pid) as stacks:
            assert share(stacks, *["[no symbols: chain]"] * 4) > 0.9


def test_a_program_deleted_before_it_was_sampled_has_its_names(tmp_path):
    program = built(tmp_path, CHAIN_C)
    with running(program) as process:
        program.unlink()
        with drawn(process.pid) as stacks:
            assert share(stacks, *CHAIN) > 0.9


def test_a_program_in_a_mount_namespace_of_its_own_has_its_names(tmp_path):
    program = built(tmp_path, CHAIN_C)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = f"mount -t tmpfs none {hidden} && cp {program} {hidden}/inside && exec {hidden}/inside"
    with running("unshare", "-m", "sh", "-c", script) as process, drawn(process.pid) as stacks:
        assert share(stacks, *CHAIN) > 0.9


def test_a_program_in_a_root_directory_and_namespaces_of_its_own_has_its_names(tmp_path):
    """As a container has them: its paths are none of ours, or lead to another file."""
    root = tmp_path / "root"
    root.mkdir()
    program = built(tmp_path, CHAIN_C, "-static", "-no-pie")
    shutil.move(program, root / "sh")
    command = ["unshare", "-m", "-p", "--fork", "--kill-child", "chroot", root, "/sh"]
    with running(*command) as process:
        pid = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        with drawn(pid) as stacks:
            assert share(stacks, *CHAIN) > 0.9


def test_code_that_a_runtime_made_without_telling_of_it(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    script = tmp_path / "busy.js"
    script.write_text(
        "function work(n) { let t = 0; for (let i = 0; i < n; i++) t += i % 7; return t }\n"
        "for (let i = 0; i < 100; i++) work(1e5);\nconsole.log(''); for (;;) work(1e6)\n"
    )
    with running(node, script) as process, drawn(process.pid) as stacks:
        assert share(stacks, "[no perf map]") > 0.9
        assert share(stacks, "node::Start(int, char**)") > 0.9, "the runtime itself has names"


ENDING = """
struct where { u32 pid; stack_id_t user_stack; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, struct where); __type(value, u64); }
    ends SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 64); __uint(key_size, 4);
         __uint(value_size, 8 * 64); } stacks SEC(".maps");
const volatile u32 only;
SEC("tracepoint/syscalls/sys_enter_exit_group") int ending(void *ctx)
{
    struct where w = { .pid = bpf_get_current_pid_tgid() >> 32 };
    u64 one = 1;
    if (w.pid != only)
        return 0;
    w.user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
    bpf_map_update_elem(&ends, &w, &one, BPF_ANY);
    return 0;
}
"""


def test_a_process_that_was_gone_before_anyone_looked():
    """The kernel keeps the stack of its last moment; who asks then what lay there is too late."""
    with (
        subprocess.Popen(["sh", "-c", "read line; exit 0"], stdin=subprocess.PIPE) as process,
        bpfnb.load(ENDING, name="ending", globals={"only": process.pid}) as loaded,
    ):
        process.communicate(b"\n")
        (line,) = loaded.ends.flamegraph().folded().splitlines()
    path, _, count = line.rpartition(" ")
    assert (set(path.split(";")), count) == ({"[process has exited]"}, "1")


def test_a_process_that_this_user_may_not_look_at(tmp_path):
    with running(built(tmp_path, CHAIN_C)) as process, nobody.folder() as home:
        script = f"from bpfnb.symbols import Symbolizer\nprint(Symbolizer().names([[4096]], {process.pid}))"
        assert nobody.run(script, home=home).strip() == "[['[no permission to look at the process]']]"
