"""flows on the live kernel: bytes and packets are those of the interfaces, processes those that talk, bursts are found."""

from __future__ import annotations

import shutil
import time

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import BadValue, UnknownName

COUNTS = ["tx_packets", "tx_bytes", "rx_packets", "rx_bytes"]


def space_of(worker):
    return f"/proc/{worker.pid}/ns/net"


def interface(worker, name):
    """What an interface in the worker's namespace counts, in the order of COUNTS. (sysfs shows another namespace.)"""
    lines = worker.call("[line.split() for line in open('/proc/self/net/dev')]")
    found = next(line for line in lines if line[0] == f"{name}:")
    return [int(found[10]), int(found[9]), int(found[2]), int(found[1])]


def test_sums_are_what_the_loopback_interface_counts():
    with Worker(netns=True) as worker, tools.flows(netns=space_of(worker)) as flows:
        held = object_ids(flows.object.loaded)
        port = worker.call("tcp(3, payload=b'x' * 50_000)")
        worker.call("tcp(1, host='::1', payload=b'x' * 1_000)")
        asked = worker.call("udp(7, 100)")
        await_true(lambda: flows.df[COUNTS].sum().tolist() == interface(worker, "lo"))
        frame = flows.df
        assert frame["pid"].unique().tolist() == [worker.pid]
        assert frame["anomalies"].sum() == 0
        sent = frame[(frame["rport"] == asked) & (frame["protocol"] == "udp")]
        assert sent[["laddr", "raddr", *COUNTS]].to_numpy().tolist() == [
            ["127.0.0.1", "127.0.0.1", 7, 7 * 128, 0, 0]
        ]
        clients = frame[frame["rport"] == port]
        servers = frame[frame["lport"] == port]
        assert len(clients) == len(servers) == 3
        assert (clients["tx_bytes"] > 50_000).all()
        assert sorted(clients["tx_bytes"]) == sorted(servers["rx_bytes"])
        six = frame[frame["laddr"] == "::1"]
        assert len(six) == 2
        assert six["protocol"].tolist() == ["tcp", "tcp"]
        spread = flows.intervals.groupby(["lport", "rport"])[COUNTS].sum()
        whole = frame.groupby(["lport", "rport"])[COUNTS].sum()
        assert spread.equals(whole)
        assert frame.attrs["bpfnb"]["complete"]
    assert flows.df[COUNTS].sum().tolist() == frame[COUNTS].sum().tolist()  # readable after close
    assert len(flows.intervals) >= len(frame)
    assert left_over(held) == {}


@pytest.mark.skipif(not shutil.which("ip"), reason="no iproute2")
def test_at_an_interface_it_counts_as_the_interface_does():
    quiet = "open('/proc/sys/net/ipv6/conf/all/disable_ipv6', 'w').write('1')\nimport subprocess\n"
    with Worker(netns=True) as near, Worker(netns=True) as far:
        near.run(quiet)
        far.run(quiet)
        near.run(
            f"for words in ('link add va type veth peer name vb netns {far.pid}', 'addr add 10.9.0.1/24 dev va', "
            "'link set va up'): subprocess.run(['ip', *words.split()], check=True)"
        )
        with near.netns():
            flows = tools.flows(interface="va")
        with flows:
            assert "tc" in flows.used
            far.run(
                "for words in ('addr add 10.9.0.2/24 dev vb', 'link set vb up'): "
                "subprocess.run(['ip', *words.split()], check=True)\n"
                "server = socket.create_server(('10.9.0.2', 7000))"
            )
            before = interface(near, "va")
            far.start(
                "peer, _ = server.accept()\ngot = 0\n"
                "while got < 300_000: got += len(peer.recv(65536))\npeer.sendall(b'y' * 1000)\npeer.close()"
            )
            near.run(
                "client = socket.create_connection(('10.9.0.2', 7000)); client.sendall(b'x' * 300_000)\n"
                "while client.recv(65536): pass\nclient.close()"
            )
            far.finish()
            assert before == [0, 0, 0, 0]
            await_true(lambda: flows.df[COUNTS].sum().tolist() == interface(near, "va"))
            frame = flows.df
    stream = frame[frame["protocol"] == "tcp"].iloc[0]
    assert stream[["laddr", "raddr", "rport", "pid"]].tolist() == ["10.9.0.1", "10.9.0.2", 7000, near.pid]
    assert stream["tx_bytes"] > 300_000
    assert 1_000 < stream["rx_bytes"] < 100_000
    assert set(frame["protocol"]) == {"tcp", ""}  # and the resolution of addresses, which is no IP


def test_filters_ask_for_the_sockets_process():
    with Worker(netns=True) as wanted, Worker(netns=True) as other:
        # Their sockets are there before the tool, which finds whose they are.
        make = (
            "s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); result = s.getsockname()[1]"
        )
        ports = [worker.run(make) for worker in (wanted, other)]
        with tools.flows(pid=wanted.pid) as flows:
            for worker in (other, wanted):
                worker.run("for _ in range(5): s.sendto(b'u' * 10, s.getsockname())")
            frame = flows.df
            assert frame[["pid", "lport", "rport"]].to_numpy().tolist() == [[wanted.pid, ports[0], ports[0]]]
            assert frame[COUNTS].to_numpy().tolist() == [[5, 190, 5, 190]]


def test_more_flows_than_there_is_room_for_are_told():
    with Worker(netns=True) as worker, tools.flows(pid=worker.pid, most=4) as flows:
        worker.run(
            "s = socket.socket(type=socket.SOCK_DGRAM)\nfor i in range(10): s.sendto(b'u', ('127.0.0.1', 1000 + i))"
        )
        frame = flows.df
        assert len(frame) == 4
        assert frame.attrs["bpfnb"]["lost"] == 6
        assert not frame.attrs["bpfnb"]["complete"]


PACED = """
def paced(steps, burst_at, interval):
    # 20 datagrams at the beginning of each interval, 400 in one; False where the machine was too slow for that
    s = socket.socket(type=socket.SOCK_DGRAM); r = socket.socket(type=socket.SOCK_DGRAM); r.bind(("127.0.0.1", 0))
    last = time.monotonic_ns() // interval
    for step in range(steps):
        while (now := time.monotonic_ns() // interval) == last:
            time.sleep(interval / 2e10)
        if step and now != last + 1:
            return None
        last = now
        for _ in range(400 if step == burst_at else 20):
            s.sendto(b"u" * 100, r.getsockname())
        if time.monotonic_ns() // interval != now:
            return None
    return r.getsockname()[1], last
"""


def paced(worker, steps, burst_at, interval):
    for _ in range(20):
        done = worker.call(f"paced({steps}, {burst_at}, {interval})")
        if done:
            return done
    pytest.skip("the machine is too busy to send at a steady pace")


def test_a_burst_is_found_and_steady_traffic_is_not():
    with Worker(netns=True) as worker, tools.flows(pid=worker.pid, interval=0.1) as flows:
        worker.run(PACED)
        steady, _ = paced(worker, 16, -1, 100_000_000)
        bursting, last = paced(worker, 16, 12, 100_000_000)
        frame = flows.df.set_index("rport")
        found = flows.anomalies()
        found = found[found["rport"] == bursting]
        assert found["value"].tolist() == [400 * 128]
        assert found["expected"].tolist() == [pytest.approx(20 * 128)]
        assert found["z"].iloc[0] > 100
        began = (last - 3) * 100_000_000 + time.time_ns() - time.monotonic_ns()  # three steps came after it
        assert abs(found["time"].iloc[0].value - began) < 10_000_000
        assert frame.loc[bursting, "anomalies"] == 1
        assert frame.loc[bursting, "z"] == found["z"].iloc[0]
        assert frame.loc[steady, "anomalies"] == 0
        assert (flows.anomalies()["rport"] != steady).all()
        assert flows.anomalies("tx_packets", threshold=1e6).empty
        with pytest.raises(UnknownName, match="tx_bytes"):
            flows.anomalies("tx_byte")


def test_options_that_make_no_sense():
    with pytest.raises(BadValue, match="interval"):
        tools.flows(interval=-1)
