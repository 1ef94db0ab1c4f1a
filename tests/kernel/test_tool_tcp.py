"""Tools of TCP connections on the live kernel: connections, bytes, states and errors are those of the test."""

from __future__ import annotations

from pathlib import Path

import pytest
from tcp_path import PATH
from workloads import Worker, left_over, object_ids

from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import BadValue

SENT, ANSWERED = 1_234_567, 54_321

EXCHANGE = """
def exchange(host, sent, answered):
    # one connection on which both sides send, the client closes first; the ports of both
    server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    client = socket.socket(server.family)
    client.connect(server.getsockname()[:2])
    peer, _ = server.accept()
    def receive():
        n = sent
        while n:
            n -= len(peer.recv(min(n, 65536)))
        peer.sendall(b"y" * answered)
    other = threading.Thread(target=receive)
    other.start()
    client.sendall(b"x" * sent)
    n = answered
    while n:
        n -= len(client.recv(min(n, 65536)))
    other.join()
    ports = client.getsockname()[1], server.getsockname()[1]
    client.close()
    assert peer.recv(1) == b""
    peer.close()
    server.close()
    return ports
"""


@pytest.fixture
def worker():
    with Worker(netns=True) as made:
        made.run(EXCHANGE)
        yield made


def rows(frame, *columns):
    return list(frame[list(columns)].itertuples(index=False, name=None))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_is_told_by_each_tool_as_it_was(worker, host):
    comm = Path(f"/proc/{worker.pid}/comm").read_text().strip()
    with (
        Worker(netns=True) as other,
        tools.tcpconnect(pid=worker.pid) as connects,
        tools.tcpaccept(pid=worker.pid) as accepts,
        tools.tcpstates(pid=worker.pid) as states,
        tools.tcplife(pid=worker.pid) as lives,
    ):
        held = object_ids(lives.object.loaded)
        other.run(EXCHANGE)
        other.call(f"exchange({host!r}, 10, 10)")
        mine, port = worker.call(f"exchange({host!r}, {SENT}, {ANSWERED})")
        assert connects.wait(1, 30)
        assert accepts.wait(1, 30)
        assert lives.wait(2, 30)
        assert states.wait(12, 30)
        there, back = (host, mine, host, port), (host, port, host, mine)
        version = 6 if ":" in host else 4
        ends = ("laddr", "lport", "raddr", "rport")
        who = (comm, worker.pid)

        assert rows(connects.df, "comm", "pid", "ip", *ends, "ret") == [(*who, version, *there, "0")]
        assert rows(accepts.df, "comm", "pid", "ip", *ends) == [(*who, version, *back)]
        assert (accepts.df["wait"] > 0).all()
        assert sorted(
            rows(lives.df, "comm", "pid", *ends, "tx_bytes", "rx_bytes", "err", "retrans")
        ) == sorted([(*who, *there, SENT, ANSWERED, "0", 0), (*who, *back, ANSWERED, SENT, "0", 0)])
        assert set(rows(lives.df, "tx_kb", "rx_kb")) == {
            (SENT // 1024, ANSWERED // 1024), (ANSWERED // 1024, SENT // 1024)
        }  # fmt: skip
        assert lives.df["ms"].tolist() == [lived // 1000 / 1000 for lived in lives.df["duration"].tolist()]

        seen = states.df
        assert len(seen) == 12
        assert set(rows(seen, "comm", "pid")) == {who}
        listener, client, served = (group for _, group in seen.groupby("cookie", sort=False))
        if listener["lport"].iloc[0] != port or client["oldstate"].iloc[0] != "CLOSE":
            pytest.fail(f"sockets in another order:\n{seen}")
        for group, path in (
            (listener, "CLOSE LISTEN CLOSE"),
            (client, "CLOSE SYN_SENT ESTABLISHED FIN_WAIT1 FIN_WAIT2 CLOSE"),
            (served, "LISTEN SYN_RECV ESTABLISHED CLOSE_WAIT LAST_ACK CLOSE"),
        ):
            assert " ".join([group["oldstate"].iloc[0], *group["newstate"]]) == path
            times = group["time"].astype("int64").to_numpy()
            assert (group["duration"].to_numpy()[1:] == times[1:] - times[:-1]).all()
        assert set(rows(client, *ends)[1:]) == {there}
        assert set(rows(served, *ends)) == {back}
        for tool in (connects, accepts, states, lives):
            assert tool.df.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_connections_that_fail_have_their_reason(worker):
    worker.run(PATH)
    worker.run("drop = lambda packet: True")
    with tools.tcpconnect(pid=worker.pid, failed=True) as seen:
        port = worker.run(
            """
def fails(name, s, address):
    try:
        s.connect(address)
    except OSError as error:
        assert errno.errorcode[error.errno] == name, error
    else:
        raise AssertionError(address)
    s.close()

with socket.create_server(("127.0.0.1", 0)) as server:
    result = server.getsockname()[1]
    one, two = socket.socket(), socket.socket()
    for s in one, two:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 4321))
    one.connect(server.getsockname())
    fails("EADDRNOTAVAIL", two, server.getsockname())
    one.close()
fails("ECONNREFUSED", socket.socket(), ("127.0.0.1", result))
fails("ECONNREFUSED", socket.socket(socket.AF_INET6), ("::ffff:127.0.0.1", result))
fails("ENETUNREACH", socket.socket(), ("203.0.113.1", 80))
fails("ENETUNREACH", socket.socket(socket.AF_INET6), ("2001:db8::1", 443))
s = socket.socket()
s.setblocking(False)
fails("EINPROGRESS", s, ("10.9.0.2", 99))
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
fails("ETIMEDOUT", s, ("10.9.0.2", 98))
"""
        )
        assert seen.wait(7, 30)
        assert rows(seen.df, "ip", "raddr", "rport", "ret") == [
            (4, "127.0.0.1", port, "EADDRNOTAVAIL"),
            (4, "127.0.0.1", port, "ECONNREFUSED"),
            (4, "127.0.0.1", port, "ECONNREFUSED"),
            (4, "203.0.113.1", 80, "ENETUNREACH"),
            (6, "2001:db8::1", 443, "ENETUNREACH"),
            (4, "10.9.0.2", 99, "ECANCELED"),
            (4, "10.9.0.2", 98, "ETIMEDOUT"),
        ]
        assert seen.df["latency"].iloc[-1] > 10**9, "two attempts, the second after a second"


def test_filters_by_port_network_and_namespace(worker):
    worker.run(
        """
servers = [
    socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    for host, port in (("127.0.0.1", 81), ("127.0.0.2", 82), ("::1", 83))
]

def all_of_them():
    for server in servers:
        with socket.socket(server.family) as s:
            s.connect(server.getsockname()[:2])
            server.accept()[0].close()
"""
    )
    own = {"netns": f"/proc/{worker.pid}/ns/net"}
    for options, ports in (
        ({"rport": [82, 83]}, [82, 83]),
        ({"raddr": "127.0.0.2"}, [82]),
        ({"raddr": "127.0.0.0/8"}, [81, 82]),
        ({"raddr": "::/64"}, [83]),
        ({"lport": 81}, []),
        ({"netns": "/proc/self/ns/net", "pid": worker.pid}, []),
    ):
        with tools.tcpconnect(**{**own, **options}) as seen, tools.tcpconnect(**own, rport=83) as last:
            worker.call("all_of_them()")
            assert last.wait(1, 30)
            assert seen.df["rport"].tolist() == ports
    with tools.tcplife(**own, lport=82) as lives, tools.tcpaccept(**own, lport=82) as accepts:
        worker.call("all_of_them()")
        assert lives.wait(1, 30)
        assert accepts.wait(1, 30)
        assert lives.df["lport"].tolist() == accepts.df["lport"].tolist() == [82]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lport": 0}, "a port is a whole number from 1 to 65535, not 0"),
        ({"rport": "80,x"}, "a port is a whole number from 1 to 65535, not 'x'"),
        ({"raddr": "10.0.0"}, "raddr= takes an address or a network, not '10.0.0'"),
        ({"lport": range(1, 18)}, "lport= takes at most 16 ports"),
    ],
)
def test_what_is_no_port_or_network_is_refused(wrong, message):
    with pytest.raises(BadValue, match=message):
        tools.tcpstates(**wrong)


def test_a_terminal_is_told_what_the_options_reader_says(capsys):
    assert main(["tool", "tcpconnect", "--raddr", "300.1.1.1"]) == 2
    assert "raddr= takes an address or a network, not '300.1.1.1'" in capsys.readouterr().err
