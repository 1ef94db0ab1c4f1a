"""netmap on the live kernel: redis, nginx and their clients, with the connections, requests and bytes that were made."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools

REDIS = """
import subprocess
redis = subprocess.Popen(
    ["redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", {folder!r}],
    stdout=subprocess.DEVNULL)
"""
NGINX = """
import subprocess
nginx = subprocess.Popen(["nginx", "-p", {folder!r}, "-c", "nginx.conf", "-e", "stderr"])
"""
NGINX_CONF = """
user root; daemon off; worker_processes 2; pid nginx.pid; error_log stderr;
events {}
http { access_log off; server { listen 127.0.0.1:8080; location / { return 200 "hello"; } } }
"""
ENDS = ["source", "target", "protocol", "port"]
COUNTS = ["connections", "requests", "tx_bytes", "rx_bytes"]


def space_of(worker):
    return f"/proc/{worker.pid}/ns/net"


def await_port(worker, port):
    await_true(lambda: f":{port:04X} 00000000:0000 0A" in worker.call("open('/proc/self/net/tcp').read()"))


def edge(frame, *ends):
    """The counts of the one edge with these ends."""
    found = frame.set_index(ENDS).loc[[ends], COUNTS].to_numpy().tolist()
    assert len(found) == 1
    return found[0]


@pytest.mark.skipif(not (shutil.which("redis-server") and shutil.which("nginx")), reason="no redis or nginx")
def test_edges_are_what_clients_did():
    with tempfile.TemporaryDirectory() as folder, Worker(netns=True) as worker:
        Path(folder, "nginx.conf").write_text(NGINX_CONF)
        worker.run("open('/proc/self/comm', 'w').write('webapp')")
        worker.run(REDIS.format(folder=folder))
        worker.run(NGINX.format(folder=folder))
        try:
            await_port(worker, 6379)
            await_port(worker, 8080)
            with tools.netmap(netns=space_of(worker)) as netmap:
                held = object_ids(netmap.object.loaded)
                worker.run(
                    "c = socket.create_connection(('127.0.0.1', 6379))\n"
                    "for _ in range(100): c.sendall(b'*1\\r\\n$4\\r\\nPING\\r\\n'); assert len(c.recv(100)) == 7\n"
                    "c.close()"
                )
                got = worker.run(
                    "result = 0\n"
                    "for _ in range(3):\n"
                    "    c = socket.create_connection(('127.0.0.1', 8080))\n"
                    "    for _ in range(5):\n"
                    "        c.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); data = b''\n"
                    "        while not data.endswith(b'hello'): data += c.recv(4096)\n"
                    "        result += len(data)\n"
                    "    c.close()"
                )
                asked = 15 * len("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                frame = netmap.df
                assert len(frame) == 2
                assert edge(frame, "webapp", "redis-server", "tcp", 6379) == [1, 100, 1400, 700]
                assert edge(frame, "webapp", "nginx", "tcp", 8080) == [3, 15, asked, got]
                assert frame["source_kind"].tolist() == frame["target_kind"].tolist() == ["process"] * 2
                assert (frame["latency"] > 0).all()
                assert (frame["rtt"] >= 1).all()
                assert frame.attrs["bpfnb"]["complete"]
                text = netmap.view().svg()
                assert all(name in text for name in ("webapp", "redis-server", "nginx"))
            assert netmap.df[COUNTS].to_numpy().tolist() == frame[COUNTS].to_numpy().tolist()
            assert left_over(held) == {}
        finally:
            worker.run("for one in (redis, nginx): one.terminate(); one.wait()")


TWO = "server = socket.create_server(('10.9.0.2', 7000)); u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('10.9.0.2', 7))"


@pytest.mark.skipif(not shutil.which("ip"), reason="no iproute2")
def test_two_namespaces_and_filters_that_know_one_end():
    with Worker(netns=True) as near, Worker(netns=True) as far:
        for worker, name in ((near, "near"), (far, "far")):
            worker.run(f"open('/proc/self/comm', 'w').write({name!r})")
            worker.run("import subprocess")
        near.run(
            f"subprocess.run('ip link add va type veth peer name vb netns {far.pid}'.split(), check=True)"
        )
        for worker, address, device in ((near, "10.9.0.1", "va"), (far, "10.9.0.2", "vb")):
            worker.run(
                f"for words in ('addr add {address}/24 dev {device}', 'link set {device} up'): "
                "subprocess.run(['ip', *words.split()], check=True)"
            )
        far.run(TWO)
        with tools.netmap(comm=["near", "far"]) as both, tools.netmap(pid=far.pid) as server:
            near.run(
                "c = socket.create_connection(('10.9.0.2', 7000)); c.sendall(b'x' * 50); u = socket.socket(type=2)\n"
                "for _ in range(4): u.sendto(b'y' * 10, ('10.9.0.2', 7))"
            )
            far.run(
                "p, _ = server.accept(); p.recv(100); p.sendall(b'z' * 20); [u.recv(100) for _ in range(4)]"
            )
            near.run("c.recv(100); u.sendto(b'y', ('10.9.0.77', 7))")
            for netmap in (both, server):
                frame = netmap.df
                assert edge(frame, "near", "far", "tcp", 7000) == [1, 1, 50, 20]
                assert edge(frame, "near", "far", "udp", 7) == [0, 4, 40, 0]
            assert edge(both.df, "near", "10.9.0.77", "udp", 7) == [0, 1, 1, 0]
            assert both.df.set_index("target")["target_kind"].astype(str)["10.9.0.77"] == "external"
            assert len(server.df) == 2


LONG = """
import threading
with socket.create_server(({host!r}, 0), family={family}) as server:
    client = socket.create_connection(server.getsockname()[:2])
    peer, _ = server.accept()
    def get():
        left = {size}
        while left: left -= len(peer.recv(1 << 20))
    reader = threading.Thread(target=get)
    reader.start(); client.sendall(bytes({size})); reader.join(); client.close(); peer.close()
"""


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", "socket.AF_INET"), ("::1", "socket.AF_INET6")])
def test_pieces_that_are_longer_than_the_header_can_say_count_in_full(host, family):
    size = 8_000_000
    with Worker(netns=True) as worker, tools.netmap(netns=space_of(worker)) as netmap:
        worker.run(LONG.format(host=host, family=family, size=size))
        talks = netmap.object.maps["talks"].df
        sent, got = (talks.loc[talks["role"] == role].iloc[0] for role in (1, 2))
        assert sent["tx_bytes"] == got["rx_bytes"], "the device cut long pieces in two"
        assert size <= sent["tx_bytes"] < 1.5 * size, "what TCP sent twice counts twice"
        assert sent["rx_bytes"] == got["tx_bytes"] == 0
        assert netmap.df["tx_bytes"].tolist() == [sent["tx_bytes"]]
