"""%%bpf and %bpf in a shell of this process, on the live kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import bpfnb
from bpfnb.errors import CompileError, UnknownName, VerifierError
from bpfnb.kernel import ids

COUNT = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } hits SEC(".maps");
const volatile u32 only_pid = 0;
u64 factor = 1;
SEC("tracepoint/syscalls/sys_enter_getppid") int enter(void *ctx) {
    u32 zero = 0; u64 *n = bpf_map_lookup_elem(&hits, &zero);
    if (n && bpf_get_current_pid_tgid() >> 32 == only_pid) __sync_fetch_and_add(n, factor);
    return 0;
}"""


@pytest.fixture(scope="module")
def _ipython() -> Iterator[Any]:
    config = Config()
    config.HistoryManager.enabled = False
    yield InteractiveShell.instance(config=config)
    InteractiveShell.clear_instance()


@pytest.fixture
def shell(_ipython: Any) -> Iterator[Any]:
    _ipython.extension_manager.load_extension("bpfnb")
    yield _ipython
    _ipython.extension_manager.unload_extension("bpfnb")
    _ipython.reset()
    assert not bpfnb.objects


def run(shell: Any, cell: str) -> Any:
    """The result of a cell; raises what the cell raised."""
    result = shell.run_cell(cell)
    result.raise_error()
    return result.result


def calls(count: int) -> None:
    for _ in range(count):
        os.getppid()


def numbers(obj: Any) -> list[int]:
    return [program.info.id for program in obj.programs.values()]


def test_a_cell_binds_an_object_that_counts(shell):
    obj = run(shell, f"%%bpf io --set only_pid={os.getpid()} --set factor=3\n{COUNT}")
    assert shell.user_ns["io"] is obj is bpfnb.objects["io"]
    calls(1000)
    assert obj.hits[0] == 3000
    assert run(shell, "%bpf show io") is obj
    assert [row[:3] for row in run(shell, "%bpf list")] == [("io", "attached", "1 of 1")]
    assert [row[0] for row in run(shell, "%bpf maps")] == ["hits"]


def test_verbs_act_on_the_object(shell):
    obj = run(shell, f"%%bpf io --no-attach --set only_pid={os.getpid()}\n{COUNT}")
    assert obj.state == "loaded"
    calls(10)
    assert run(shell, "%bpf attach io").rows[0][1] == "attached"
    calls(100)
    run(shell, "%bpf pause io")
    calls(1000)
    run(shell, "%bpf resume io")
    assert dict(run(shell, "%bpf vars io factor=5"))["factor"] == "5"
    calls(20)
    assert run(shell, "%bpf stop io").rows[0][1] == "stopped"
    calls(1000)
    assert obj.hits[0] == 100 + 5 * 20
    assert run(shell, "%bpf log io").text().startswith("io: stopped, compiled by clang")
    assert run(shell, "%bpf close --all").rows[0][1] == "closed"
    assert run(shell, "%bpf list").text() == "nothing is loaded"
    with pytest.raises(UnknownName, match="no live object 'io'"):
        run(shell, "%bpf show io")


def test_running_a_cell_again_replaces_the_object(shell):
    first = run(shell, f"%%bpf io\n{COUNT}")
    old = numbers(first)
    second = run(shell, f"%%bpf io --set only_pid={os.getpid()}\n{COUNT}")
    assert first.state == "closed"
    assert shell.user_ns["io"] is second
    assert not ids.wait_gone("program", old)
    calls(7)
    assert second.hits[0] == 7


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (COUNT.replace("return 0;", "return nothing;"), CompileError, "nothing"),
        (
            COUNT.replace("return 0;", "return *(int *)bpf_ktime_get_ns();"),
            VerifierError,
            "verifier refused program 'enter'",
        ),
    ],
)
def test_a_cell_that_fails_leaves_the_old_object_running(shell, source, error, said):
    obj = run(shell, f"%%bpf io --set only_pid={os.getpid()}\n{COUNT}")
    with pytest.raises(error) as caught:
        run(shell, f"%%bpf io\n{source}")
    assert said in str(caught.value)
    assert any("the earlier 'io' goes on" in hint for hint in caught.value.hints)
    assert shell.user_ns["io"] is obj
    assert obj.state == "attached"
    calls(5)
    assert obj.hits[0] == 5
    assert run(shell, "%bpf log io").text() == (caught.value.log or str(caught.value))
    run(shell, f"%%bpf io\n{COUNT}")
    assert run(shell, "%bpf log io").text().startswith("io: attached")


def test_warnings_of_the_compiler_stand_under_the_cell(shell, capsys):
    run(shell, f"%%bpf io\n#warning slow path\n{COUNT}")
    shown = capsys.readouterr().err
    assert "io, line 1, column 2: warning: slow path" in shown
    assert "1 | #warning slow path" in shown


def test_options_reach_the_kernel(shell):
    source = COUNT.replace("max_entries, 1)", "max_entries, SIZE)")
    obj = run(shell, f"%%bpf io -D SIZE=4 --max-entries hits=16 --watchdog off --rows 10\n{source}")
    assert obj.hits.info.max_entries == 16
    assert obj.watchdog is None
    run(shell, "%config BpfMagics.watchdog = 0.5")
    try:
        assert run(shell, f"%%bpf io -D SIZE=4\n{source}").watchdog == 0.5
    finally:
        run(shell, "%config BpfMagics.watchdog = 0.2")


def test_unloading_detaches_what_the_shell_made(shell):
    first = run(shell, f"%%bpf a\n{COUNT}")
    second = run(shell, f"import bpfnb\nb = bpfnb.load({COUNT!r}, name='b')\nb")
    left = numbers(first) + numbers(second)
    shell.extension_manager.unload_extension("bpfnb")
    assert (first.state, second.state) == ("closed", "closed")
    assert not ids.wait_gone("program", left)
    shell.extension_manager.load_extension("bpfnb")


def test_completion_knows_this_kernel_and_the_live_objects(shell):
    run(shell, f"%%bpf latency\n{COUNT}")

    def texts(cell: str) -> list[str]:
        with provisionalcompleter():
            return [c.text for c in shell.Completer.completions(cell, len(cell))]

    assert texts("%bpf stop la") == ["latency"]
    assert texts("%bpf vars latency fa") == ["factor="]
    assert texts('%%bpf x\nSEC("tracepoint/sch') == ["tracepoint/sched/"]
    assert "tp/sched/sched_switch" in texts('%%bpf x\nSEC("tp/sched/sched_sw')
    assert texts("%%bpf x\n  bpf_get_current_pid") == ["bpf_get_current_pid_tgid"]


def test_find_and_features_answer_with_tables(shell):
    found = run(shell, '%bpf find "sched:sched_swi*"')
    assert "prev_comm" in {row[0]: row[2] for row in found}["sched:sched_switch"]
    assert len(run(shell, "%bpf find --limit 2 sched:*").rows) == 2
    features = {row[0]: row[2] for row in run(shell, "%bpf features") if row[1] == "attach"}
    assert features["tracepoint"] == "yes"
