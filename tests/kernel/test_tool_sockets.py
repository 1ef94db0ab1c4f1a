"""sockets and listening on the live kernel: what /proc/net says, with the processes, and the connections that come."""

from __future__ import annotations

import ipaddress

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.cli import main
from bpfnb.errors import UnknownName

MAKE = """
s = socket.create_server(("127.0.0.1", 0), backlog=7)
c = socket.create_connection(s.getsockname()); a, _ = s.accept(); c.send(b"hello")
waiting = socket.create_connection(s.getsockname())
six = socket.create_server(("::1", 0), family=socket.AF_INET6)
u = socket.socket(type=socket.SOCK_DGRAM); u.bind(("127.0.0.3", 5353)); u.connect(("127.0.0.4", 53))
free = socket.socket(type=socket.SOCK_DGRAM); free.bind(("0.0.0.0", 5354))
x = socket.socket(socket.AF_UNIX); x.bind("\\0bpfnb-test"); x.listen(3)
near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ended = socket.create_connection(s.getsockname()); e, _ = s.accept(); e.close(); ended.close()
"""


def space_of(worker):
    return f"/proc/{worker.pid}/ns/net"


def listed(worker, name):
    """Rows of /proc/net/NAME as (local, port, remote, port, state, queues, uid, inode)."""
    lines = worker.call(f"open('/proc/self/net/{name}').read()").splitlines()[1:]
    return sorted(_row(line.split()) for line in lines)


def _row(words):
    ends = [word.split(":") for word in words[1:3]]
    queues = [int(word, 16) for word in words[4].split(":")]
    return (*_end(*ends[0]), *_end(*ends[1]), int(words[3], 16), *queues, int(words[7]), int(words[9]))


def _end(address, port):
    data = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    return str(ipaddress.ip_address(data)), int(port, 16)


STATES = ["", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE"]
STATES += ["CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"]


def seen(frame):
    columns = ["laddr", "lport", "raddr", "rport", "state", "tx_queue", "rx_queue", "uid", "inode"]
    rows = frame[columns].astype({"laddr": object, "raddr": object, "state": object})
    rows["state"] = rows["state"].map(STATES.index)
    return sorted(rows.itertuples(index=False, name=None))


def test_sockets_are_those_of_proc():
    with Worker(netns=True) as worker, tools.sockets(netns=space_of(worker)) as sockets:
        held = object_ids(sockets.object.loaded)
        worker.run(MAKE)
        frame = sockets.df
        tcp, udp = (frame[frame["protocol"] == kind] for kind in ("tcp", "udp"))
        assert seen(tcp) == sorted(listed(worker, "tcp") + listed(worker, "tcp6"))
        assert seen(udp) == listed(worker, "udp")
        assert len(tcp) >= 7
        known = frame["inode"].isin(
            worker.call("[x.fileno() and os.fstat(x.fileno()).st_ino for x in (s, c, a, u, x)]")
        )
        assert frame[known]["pid"].tolist() == [worker.pid] * 5
        listening = tcp[(tcp["state"] == "LISTEN") & (tcp["laddr"] == "127.0.0.1")].iloc[0]
        assert listening[["rx_queue", "backlog"]].tolist() == [1, 7]
        unix = frame[frame["protocol"] == "unix"].set_index("inode")
        assert unix[unix["path"] == "@bpfnb-test"][["type", "state", "pid"]].to_numpy().tolist() == [
            ["stream", "LISTEN", worker.pid]
        ]
        near, far = worker.call("[os.fstat(x.fileno()).st_ino for x in (near, far)]")
        assert unix["peer_inode"][[near, far]].tolist() == [far, near]
        assert unix["type"][near] == "seqpacket"
        worker.run("u.close(); x.close()")
        assert set(frame["inode"]) - set(sockets.df["inode"]) == set(udp[udp["rport"] == 53]["inode"]) | set(
            unix.index[unix["path"] == "@bpfnb-test"]
        )
        assert frame.attrs["bpfnb"]["complete"]
        last = sockets.df
    assert sockets.df["inode"].tolist() == last["inode"].tolist()  # readable after close
    assert left_over(held) == {}


def test_all_namespaces_are_seen_and_filters_choose():
    with Worker(netns=True) as one, Worker(netns=True) as two:
        spaces = set()
        for worker in (one, two):
            worker.run("u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('127.0.0.1', 7777))")
            spaces.add(worker.call("os.stat('/proc/self/ns/net').st_ino"))
        with tools.sockets(protocol="udp", lport=7777) as sockets:
            frame = sockets.df
            assert {one.pid, two.pid} <= set(frame["pid"])
            assert spaces <= set(frame["netns"])
        with tools.sockets(pid=two.pid) as sockets:
            frame = sockets.frame_with("user")
            assert frame["pid"].unique().tolist() == [two.pid]
            assert frame[frame["lport"] == 7777]["protocol"].tolist() == ["udp"]
            assert frame["user"].unique().tolist() == ["root"]
    with pytest.raises(UnknownName, match="unix"):
        tools.sockets(protocol="unx")


def test_a_socket_of_two_processes_is_the_first_ones():
    with Worker(netns=True) as worker, tools.sockets(netns=space_of(worker), protocol="udp") as sockets:
        worker.run(
            "u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('127.0.0.1', 1)); r, w = os.pipe()\n"
            "result = child = os.fork()\nif not child: os.read(r, 1); os._exit(0)"
        )
        row = sockets.df.iloc[0]
        assert row[["pid", "processes"]].tolist() == [worker.pid, 2]
        worker.run("os.write(w, b'x'); os.waitpid(child, 0)")
        assert sockets.df.iloc[0]["processes"] == 1


def test_listening_ports_and_what_arrives_there():
    with Worker(netns=True) as worker:
        old = worker.run("s = socket.create_server(('127.0.0.1', 0), backlog=9); result = s.getsockname()[1]")
        with tools.listening(netns=space_of(worker)) as listening:
            held = object_ids(listening.object.loaded)
            new = worker.run(
                "t = socket.create_server(('::1', 0), family=socket.AF_INET6, backlog=20)\n"
                "u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('127.0.0.1', 53))\n"
                "result = t.getsockname()[1]"
            )
            worker.run(
                "for _ in range(5): c = socket.create_connection(s.getsockname()); s.accept()[0].close(); c.close()\n"
                "keep = [socket.create_connection(t.getsockname()[:2]) for _ in range(3)]"
            )
            frame = listening.df.set_index("lport")
            assert set(frame.index) == {old, new, 53}
            assert frame.loc[[old, new], "connections"].tolist() == [5, 3]
            assert frame.loc[[old, new], "waiting"].tolist() == [0, 3]
            assert frame.loc[[old, new], "backlog"].tolist() == [9, 20]
            assert frame["pid"].unique().tolist() == [worker.pid]
            assert frame.loc[[old, new], "laddr"].tolist() == ["127.0.0.1", "::1"]
            assert frame.loc[old, "rate"] > 0
            assert frame.loc[53, "protocol"] == "udp"
            worker.run("s.close()")
            await_true(lambda: set(listening.df["lport"]) == {new, 53})
            assert listening.df.set_index("lport").loc[new, "connections"] == 3
        assert set(listening.df["lport"]) == {new, 53}
        assert left_over(held) == {}


def test_each_listener_of_a_shared_port_counts_its_own():
    with Worker(netns=True) as worker, tools.listening(pid=worker.pid) as listening:
        worker.run(
            "def server():\n"
            "    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
            "    s.bind(('127.0.0.1', 8000)); s.listen(64); return s\n"
            "both = [server(), server()]\n"
            "keep = [socket.create_connection(('127.0.0.1', 8000)) for _ in range(40)]"
        )
        frame = listening.df
        assert frame["lport"].tolist() == [8000, 8000]
        assert frame["connections"].sum() == 40
        assert frame["connections"].tolist() == frame["waiting"].tolist()


def test_a_terminal_need_not_wait_for_what_there_is(capsys):
    with Worker(netns=True) as worker:
        port = worker.call("(s := socket.create_server(('127.0.0.1', 0))).getsockname()[1]")
        assert main(["tool", "sockets", "--netns", space_of(worker)]) == 0  # and ends
        head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["PROTOCOL", "TYPE", "STATE", "LADDR", "LPORT"]
    assert [row.split()[2:5] for row in rows if row.startswith("tcp")] == [["LISTEN", "127.0.0.1", str(port)]]
