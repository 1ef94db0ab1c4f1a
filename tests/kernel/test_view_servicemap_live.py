"""The service map over real TCP connections: every edge that is drawn has exactly the connections that were made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from workloads import Worker

import bpfnb
from bpfnb.views import servicemap

SOURCE = """
struct edge { char comm[16]; ipv4_t daddr; port_be_t dport; u16 pad; };
struct event { ktime_ns_t ts; pid_t pid; char comm[16]; ipv4_t daddr; port_be_t dport; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct edge); __type(value, u64); } edges SEC(".maps");
SEC("tp_btf/inet_sock_set_state") int BPF_PROG(changed, const struct sock *sk, int before, int after)
{
    struct edge edge = {};
    struct event *e;
    u64 one = 1, *count;

    if (after != TCP_SYN_SENT)
        return 0;
    bpf_get_current_comm(edge.comm, sizeof(edge.comm));
    if (edge.comm[0] != 'b' || edge.comm[1] != 'm' || edge.comm[2] != '-')
        return 0;
    edge.daddr = sk->__sk_common.skc_daddr;
    edge.dport = sk->__sk_common.skc_dport;
    count = bpf_map_lookup_elem(&edges, &edge);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&edges, &edge, &one, BPF_ANY);
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    __builtin_memcpy(e->comm, edge.comm, 16);
    e->daddr = edge.daddr;
    e->dport = edge.dport;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
"""


@pytest.fixture
def probe() -> Iterator[bpfnb.BpfObject]:
    with bpfnb.load(SOURCE, name="t_services") as made:
        yield made


@pytest.fixture
def workers() -> Iterator[dict[str, Worker]]:
    """Three processes with names of their own, in network namespaces of their own."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(Worker(netns=True)) for name in ("bm-web", "bm-api", "bm-cron")}
        for name, worker in found.items():
            worker.run(f"open('/proc/self/comm', 'w').write({name!r})")
        yield found


def connect(workers: dict[str, Worker], made: dict[tuple[str, str], int], name: str, count: int) -> None:
    """*count* connections from that process to a port of its own, added to those *made*."""
    port = workers[name].call(f"tcp({count})")
    key = (name, f"127.0.0.1:{port}")
    made[key] = made.get(key, 0) + count


def counts(view, probe: bpfnb.BpfObject | None = None) -> dict[tuple[str, str], int]:
    if probe is not None:
        probe.events.drain()  # the pump does so too, a little later
    return {(e.source, e.target): int(e["count"]) for _, e in view.edges.iterrows()}


def test_a_live_stream_has_exactly_the_connections_that_were_made(probe, workers):
    view = probe.events.servicemap()
    made: dict[tuple[str, str], int] = {}
    assert counts(view, probe) == {}
    for name, count in (("bm-web", 30), ("bm-api", 7), ("bm-web", 5), ("bm-cron", 1)):
        connect(workers, made, name, count)
        assert counts(view, probe) == made
    assert set(view.nodes.query("kind == 'process'")["name"]) == {"bm-web", "bm-api", "bm-cron"}
    assert view.edges["rate"].gt(0).all()
    assert view.edges["age"].lt(60).all()
    before = view.nodes.set_index("name")[["x", "y"]]
    connect(workers, made, "bm-cron", 2)
    assert counts(view, probe) == made
    after = view.nodes.set_index("name").loc[before.index, ["x", "y"]]
    assert (after - before).abs().to_numpy().max() < 96
    source, target = next(pair for pair, count in made.items() if count == 30)
    view._on_message({"kind": "select", "names": [source, target]}, [])
    assert len(view.selected) == 30
    assert set(view.selected["pid"]) == {workers["bm-web"].pid}
    drawn = view.svg()
    view.stop()
    connect(workers, made.copy(), "bm-web", 1)  # comes too late
    assert f"{source} to {target}" in drawn
    assert counts(view, probe) == made


def test_a_map_of_counters_shows_its_counts_and_what_they_grow_by(probe, workers):
    view = servicemap(probe.edges)
    made: dict[tuple[str, str], int] = {}
    connect(workers, made, "bm-web", 20)
    connect(workers, made, "bm-api", 4)
    assert counts(view) == made
    connect(workers, made, "bm-api", 9)
    assert counts(view) == made
    rates = dict(zip(counts(view), view.edges["rate"], strict=True))
    assert all((rate > 0) == (made[pair] == 9) for pair, rate in rates.items())
    probe.close()
    assert view.state == "done"
    assert counts(view) == made
    assert "bm-web" in view.svg()


def test_what_was_recorded_shows_the_same_after_the_end(probe, workers, tmp_path: Path):
    made: dict[tuple[str, str], int] = {}
    for name, count in (("bm-web", 12), ("bm-api", 3)):
        connect(workers, made, name, count)
    frame = probe.events.df
    assert counts(servicemap(frame)) == made
    probe.close()
    view = servicemap(probe.events)
    assert counts(view) == made
    assert view.save(tmp_path / "map.svg").read_text().count("<title>bm-") >= len(made)
