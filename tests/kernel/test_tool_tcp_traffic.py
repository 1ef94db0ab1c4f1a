"""Tools of what TCP does on the way: bytes, retransmissions, round-trip times, congestion windows.

Against the bytes of the test, the kernel's own counter of retransmitted segments, and TCP_INFO.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tcp_path import PATH
from workloads import Worker, await_true

from bpfnb import tools


@pytest.fixture
def worker():
    with Worker(netns=True) as made:
        made.run(PATH)
        yield made


def rows(frame, *columns):
    return list(frame[list(columns)].itertuples(index=False, name=None))


def resent(worker):
    """What the kernel counted in the worker's network namespace."""
    lines = [line.split() for line in Path(f"/proc/{worker.pid}/net/snmp").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Tcp:")
    return int(values[names.index("RetransSegs")])


def test_retransmissions_are_those_that_the_kernel_counts(worker):
    """Everything is lost for a while, then a handshake's two halves, then one segment of many, once each."""
    netns = {"netns": f"/proc/{worker.pid}/ns/net"}
    with (
        tools.tcpretrans(**netns) as seen,
        tools.tcpretrans(pid=worker.pid, count=True) as counted,
        tools.tcplife(pid=worker.pid) as lives,
    ):
        worker.run("def end():\n    client.close()\n    assert peer.recv(1) == b''\n    peer.close()")
        worker.run(
            "server, client, peer = connected(); drop = lambda packet: True; client.sendall(b'x' * 10)"
        )
        ports = worker.call("client.getsockname()[1], server.getsockname()[1]")
        assert seen.wait(3, 60)
        worker.run("drop = lambda packet: False; take(peer, 10); end()")
        first = seen.df
        assert set(first["kind"]) == {"LOSS_PROBE", "TIMEOUT"}
        assert set(
            rows(first, "pid", "laddr", "lport", "raddr", "rport", "state", "segs", "bytes", "ip")
        ) == {(worker.pid, "10.9.0.1", ports[0], "10.9.0.2", ports[1], "ESTABLISHED", 1, 10, 4)}

        worker.run(
            """
def first(condition):
    # loses the first packet of which the condition holds
    done = []
    def drop(packet):
        if not done and condition(packet):
            done.append(packet)
            return True
        return False
    return drop

drop = first(lambda packet: flags(packet) == 0x02)  # SYN
connected()
drop = first(lambda packet: flags(packet) == 0x12)  # SYN, ACK
connected()
server, client, peer = connected()
drop = first(lambda packet, n=iter(range(100000)): size(packet) > 1000 and next(n) == 30)
def receive():
    take(peer, 500_000)
other = threading.Thread(target=receive)
other.start()
client.sendall(b"x" * 500_000)
other.join()
end()
"""
        )
        with contextlib.suppress(AssertionError):  # the next one tells more
            await_true(lambda: resent(worker) == seen.df["segs"].sum(), 20)
        assert resent(worker) == seen.df["segs"].sum(), seen.df.to_string()
        frame = seen.df
        assert {"SYN", "SYNACK", "FAST"} < set(frame["kind"])
        lost = frame[frame["kind"] == "FAST"]
        assert lost["bytes"].gt(1000).any()
        answers = frame[frame["kind"] == "SYNACK"]
        assert set(answers["state"]) == {"NEW_SYN_RECV"}
        assert frame.attrs["bpfnb"]["complete"]

        same = ["pid", "lport", "rport", "kind"]
        assert counted.df.groupby(same, observed=True)["segs"].sum().to_dict() == (
            frame.groupby(same, observed=True)["segs"].sum().to_dict()
        )
        assert counted.df["count"].sum() == len(frame)
        assert lives.wait(4, 30)
        told = lives.df.set_index("tx_bytes")["retrans"]
        assert told[10] == len(first)
        assert (
            told[500_000]
            == frame[frame["lport"] == lives.df.set_index("tx_bytes")["lport"][500_000]]["segs"].sum()
        )


def slot(ns):
    return 1 << int(ns).bit_length() - 1


def test_round_trip_times_are_those_of_the_path_and_of_tcp_info(worker):
    worker.run(
        """
delay = 0.01
server, client, peer = connected()
local = socket.create_server(("127.0.0.1", 0))
near = socket.create_connection(local.getsockname()), local.accept()[0]

def exchange(n):
    told = []
    for _ in range(n):
        for a, b in (client, peer), near:
            a.sendall(b"?")
            take(b, 1)
            b.sendall(b"!")
            take(a, 1)
        told.append(tcp_info(client))
    return told
"""
    )
    client, port = worker.call("client.getsockname()[1], server.getsockname()[1]")
    with (
        tools.tcprtt(pid=worker.pid, by="raddr") as histogram,
        tools.tcprtt(pid=worker.pid, rport=port) as one,
        tools.tcpprobe(pid=worker.pid, rport=port) as probes,
        tools.tcpprobe(pid=worker.pid, rport=port, changes=True) as changes,
    ):
        told = worker.call("exchange(15)")
        assert probes.wait(15, 30)
        frame = probes.df
        assert set(rows(frame, "pid", "laddr", "lport", "raddr", "rport")) == {
            (worker.pid, "10.9.0.1", client, "10.9.0.2", port)
        }
        assert frame["srtt"].ge(20_000).all(), "10 ms each way"
        # The first segment after a byte was sent finds what the exchange before has left.
        found = frame.drop_duplicates("snd_nxt")
        assert (found["snd_nxt"].diff().dropna() == 1).all()
        assert rows(found.iloc[1:], "srtt", "ssthresh", "snd_cwnd") == [tuple(info) for info in told[:-1]]
        counts = Counter(slot(us * 1000) for us in frame["srtt"])
        assert dict(rows(one.df, "low", "count")) == counts
        assert one.df["total"].sum() == frame["srtt"].sum() * 1000
        groups = histogram.totals.set_index("raddr")
        far, near = groups.loc["10.9.0.2"], groups.loc["127.0.0.1"]
        assert far["mean"] >= 20_000_000 > near["mean"]
        windows = rows(frame, "snd_cwnd", "ssthresh")
        assert rows(changes.df, "snd_cwnd", "ssthresh") == [
            now for before, now in zip([None, *windows], windows, strict=False) if now != before
        ]
        for tool in (histogram, one, probes, changes):
            assert tool.df.attrs["bpfnb"]["complete"]


def test_traffic_of_a_process_by_connection_and_interval(worker):
    worker.run(
        """
def traffic(sent, answered):
    server, client, peer = connected("127.0.0.1")
    for part in range(10):
        client.sendall(b"x" * sent)
        peer.recv(1, socket.MSG_PEEK)
        take(peer, sent)
        peer.sendall(b"y" * answered)
        take(client, answered)
        time.sleep(0.02)
    return client.getsockname()[1], server.getsockname()[1]
"""
    )
    with (
        Worker(netns=True) as other,
        tools.tcptop(pid=worker.pid) as top,
        tools.tcptop(pid=worker.pid, interval=0.05) as intervals,
    ):
        other.run(PATH)
        other.run("server, client, peer = connected('127.0.0.1'); client.sendall(b'x'); take(peer, 1)")
        one, port = worker.call("traffic(70_000, 300)")
        two, busy = worker.call("traffic(800_000, 2)")
        ends = ("pid", "laddr", "lport", "raddr", "rport", "tx_bytes", "rx_bytes")
        here, there = (worker.pid, "127.0.0.1"), "127.0.0.1"
        expected = [
            (*here, two, there, busy, 8_000_000, 20),
            (*here, busy, there, two, 20, 8_000_000),
            (*here, one, there, port, 700_000, 3_000),
            (*here, port, there, one, 3_000, 700_000),
        ]
        assert sorted(rows(top.df, *ends)) == sorted(expected)
        assert set(top.df["lport"].head(2)) == {two, busy}, "the busiest first"
        assert (top.df["tx_kb"] * 1024 == top.df["tx_bytes"]).all()
        parts = intervals.df
        summed = parts.groupby(list(ends[:5]))[["tx_bytes", "rx_bytes"]].sum().reset_index()
        assert sorted(rows(summed, *ends)) == sorted(expected)
        assert parts["time"].is_monotonic_decreasing
        assert not parts.duplicated(["lport", "time"]).any()
        assert (parts.groupby("lport")["time"].nunique() >= 3).all(), "ten parts, 20 ms after each"


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server here")
def test_a_redis_server_and_its_client(tmp_path):
    """Connections that are older than the tool are their owners' too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "redis-server",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(tmp_path),
        "--bind",
        "127.0.0.1",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with Worker() as worker:
            await_true(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            worker.run(
                f"s = socket.create_connection(('127.0.0.1', {port}))\n"
                "def ping(n):\n"
                "    for _ in range(n):\n"
                "        s.sendall(b'PING\\r\\n')\n"
                "        assert s.recv(100) == b'+PONG\\r\\n'\n"
                "ping(1)"
            )
            client = worker.call("s.getsockname()[1]")
            with (
                tools.tcptop(comm="redis-server", lport=port) as top,
                tools.tcpstates(pid=server.pid) as states,
                tools.tcpaccept(pid=server.pid) as accepts,
                tools.tcplife(pid=server.pid) as lives,
            ):
                worker.call("ping(500)")
                assert rows(top.df, "pid", "comm", "rport", "rx_bytes", "tx_bytes") == [
                    (server.pid, "redis-server", client, 3000, 3500)
                ]
                worker.run("s.close()")
                assert states.wait(3, 30)
                assert rows(states.df, "comm", "lport", "rport", "oldstate", "newstate") == [
                    ("redis-server", port, client, *change)
                    for change in (
                        ("ESTABLISHED", "CLOSE_WAIT"),
                        ("CLOSE_WAIT", "LAST_ACK"),
                        ("LAST_ACK", "CLOSE"),
                    )
                ]
                worker.run(f"s = socket.create_connection(('127.0.0.1', {port})); ping(7); s.close()")
                assert lives.wait(1, 30)
                assert rows(lives.df, "comm", "lport", "rx_bytes", "tx_bytes") == [
                    ("redis-server", port, 42, 49)
                ]
                assert accepts.df["lport"].tolist() == [port]
    finally:
        server.kill()
        server.wait()
