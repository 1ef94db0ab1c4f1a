"""Completion of C in cells and of verbs on lines, from text alone and through IPython's completer."""

from __future__ import annotations

import pytest
from bpfnb.magics.completion import complete
from IPython.core.completer import provisionalcompleter

CELL = """%%bpf io --set x=1
// struct sock *hidden;
struct event {
    ktime_ns_t ts;
    pid_t pid, tid;
    char comm[16] DESCRIPTION("the name; of it");
    struct sock *sk;
    union { u32 a; struct { u16 b; u16 c; }; };
    u32 flag:3;
};
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); } latency SEC(".maps") VIEW(hist, log2, ns);
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); } events SEC(".maps");
SEC("tp_btf/block_rq_complete") int BPF_PROG(done, struct request *rq, int error) {
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    struct task_struct *task = (void *)bpf_get_current_task();
"""


def inside(tail: str, above: str = CELL) -> list[str] | None:
    """The candidates where *tail* ends, in a cell that goes on after it."""
    lines = (above + tail).split("\n")
    found = complete("\n".join([*lines, "}"]), len(lines) - 1, len(lines[-1]))
    return None if found is None else [c.text for c in found.candidates]


def on_line(text: str) -> list[str] | None:
    found = complete(text, 0, len(text))
    return None if found is None else [c.text for c in found.candidates]


def test_members_of_the_cells_own_struct():
    assert inside("    e->") == ["ts", "pid", "tid", "comm", "sk", "a", "b", "c", "flag"]
    assert inside("    e->t") == ["ts", "tid"]


def test_members_of_kernel_structs_through_any_chain():
    assert {"q", "mq_ctx", "cmd_flags"} <= set(inside("    rq->"))
    assert "skc_daddr" in inside("    e->sk->__sk_common.skc_")
    assert "exe_file" in inside("    task->mm->exe")
    assert "exe_file" in inside("    x = BPF_CORE_READ(task, mm, exe")
    assert "comm" in inside("    if (rq->q->nr_requests > task->co")


@pytest.mark.parametrize(
    "tail", ["    nobody->", "    e->pid->", "    hidden->", "    // e->", '    bpf_printk("e->']
)
def test_what_is_not_known_completes_to_nothing(tail):
    assert inside(tail) == []


def test_maps_after_an_ampersand():
    assert inside("    bpf_map_lookup_elem(&l") == ["latency"]
    assert {"latency", "events"} <= set(inside("    bpf_map_lookup_elem(&"))


def test_types_constants_and_annotations():
    assert "task_struct" in inside("    struct task_str")
    assert inside("    struct ev")[0] == "event"
    assert "BPF_MAP_TYPE_RINGBUF" in inside("    __uint(type, BPF_MAP_TYPE_RING")
    assert {"ns", "us", "bytes"} <= set(inside("    u64 x UNIT("))
    assert {"ipv4", "errno"} <= set(inside("    u32 x FORMAT("))
    assert inside("    VIEW(hist, lo") == ["log2"]


def test_words_of_c_and_of_the_cell():
    assert inside("    retu") == ["return"]
    assert "error" in inside("    err")


def test_sections_and_raw_tracepoints():
    assert "iter/task" in inside('SEC("iter/ta', "%%bpf x\n")
    assert {"tp_btf/sched_switch", "tp_btf/sched_wakeup"} <= set(inside('SEC("tp_btf/sched_', "%%bpf x\n"))
    assert "fentry/tcp_sendmsg" in inside('SEC("fentry/tcp_sendm', "%%bpf x\n")


def test_verbs_and_what_they_take():
    assert on_line("%bpf st") == ["struct", "stop"] or on_line("%bpf st") == ["stop", "struct"]
    assert on_line("t = %bpf lis") == ["list"]
    assert on_line("%bpf close --a") == ["--all"]
    assert "task_struct" in on_line("%bpf struct task_st")
    assert on_line("%bpf nonsense ") == []


def test_options_of_a_cell_and_their_values():
    assert on_line("%%bpf io --inter") == ["--interface"]
    assert "lo" in on_line("%%bpf io --interface ")
    assert on_line("%%bpf io --mode gen") == ["generic"]
    assert on_line("%%bpf io --option p:freq") == ["p:frequency="]
    text = "%%bpf io --max-entries \n" + CELL.partition("\n")[2]
    found = complete(text, 0, len("%%bpf io --max-entries "))
    assert [c.text for c in found.candidates] == ["latency=", "events="]


def test_places_of_functions_in_bccs_dialect():
    body = "\nBPF_HASH(x, u32);\nstatic int no(int a) { return a; }\nint count(struct pt_regs *ctx) { return 0; }"
    for line, expected in {
        "%%bpf io --attach ": ["count="],
        "%%bpf io --attach c": ["count="],
        "%%bpf io --attach count=perf_e": ["count=perf_event"],
        "%%bpf io --attach count=raw_tp/sched_swi": ["count=raw_tp/sched_switch"],
        "%%bpf io --engine b": ["bcc"],
        "%%bpf io --att": ["--attach"],
    }.items():
        found = complete(line + body, 0, len(line))
        assert found is not None
        assert [c.text for c in found.candidates] == expected, line
    assert on_line("%bpf bcc o") == ["on", "off"]
    assert on_line("%bpf bc") == ["bcc"]


BCC = """%%bpf io
BPF_HASH(counts, u32);
BPF_TABLE("lru_hash", u32, u64, recent, 64);
TRACEPOINT_PROBE(sched, sched_switch) {
"""


def test_bccs_dialect():
    assert inside("TRACEPOINT_PROBE(sche", BCC) == ["sched"]
    assert inside("TRACEPOINT_PROBE(sched, sched_switc", BCC) == ["sched_switch"]
    assert inside("RAW_TRACEPOINT_PROBE(sched_switc", BCC) == ["sched_switch"]
    assert inside("    u32 p = args->prev_p", BCC) == ["prev_pid", "prev_prio"]
    assert inside("    counts.inc", BCC) == ["increment("]
    assert inside("    recent.lookup_", BCC) == ["lookup_or_try_init("]
    assert inside("    nobody.inc", BCC) == []
    assert "BPF_HISTOGRAM(" in (inside("BPF_HIS", BCC) or [])
    assert "BPF_HISTOGRAM(" not in (inside("BPF_HIS") or [])


def test_python_is_left_to_ipython():
    assert on_line("print(x.") is None
    assert on_line("%timeit x") is None
    assert on_line("bpf = 1 % bpf") is None


def test_through_ipythons_completer(shell):
    text = CELL + "    e->co"
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, len(text)))
    assert [(c.text, c.start, c.end) for c in found] == [("comm", len(text) - 2, len(text))]
    assert shell.complete("clo", "%bpf clo", 8)[1] == ["close"]


def test_a_completer_never_raises(shell, capsys, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("tracefs is not readable")

    monkeypatch.setattr("bpfnb.magics.completion._verbs", broken)
    with provisionalcompleter():
        assert all(c.type != "keyword" for c in shell.Completer.completions("%bpf lis", 8))
    assert capsys.readouterr().err == ""
