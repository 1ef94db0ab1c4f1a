"""tcpdrop on the live kernel: drops that a test provokes, each with the kernel's reason for it."""

from __future__ import annotations

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools
from bpfnb.errors import UnknownName

REFUSED = """
u = socket.socket(type=socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0))
for _ in range(3):
    u.sendto(b"x" * 100, ("127.0.0.1", 9))
t = socket.socket()
try:
    t.connect(("127.0.0.1", 9))
except ConnectionRefusedError:
    pass
result = u.getsockname()[1]
"""
# A classic filter that keeps nothing: one instruction, `ret 0`.
FILTERED = """
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
r = socket.socket(type=socket.SOCK_DGRAM); r.bind(("127.0.0.1", 0))
r.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(code)))
for _ in range(5):
    u.sendto(b"f" * 10, r.getsockname())
result = r.getsockname()[1]
"""


def space_of(worker):
    return f"/proc/{worker.pid}/ns/net"


def test_reasons_and_connections_are_those_that_were_provoked(tmp_path):
    with Worker(netns=True) as worker, tools.tcpdrop(netns=space_of(worker)) as drops:
        held = object_ids(drops.object.loaded)
        port = worker.run(REFUSED)
        filtered = worker.run(FILTERED)
        assert drops.wait(9, 30)
        frame = drops.df
        refused = frame[(frame["reason"] == "NO_SOCKET") & (frame["protocol"] == "udp")]
        assert len(refused) == 3
        row = refused.iloc[0]
        assert row[["saddr", "sport", "daddr", "dport", "flags", "state", "len", "device"]].tolist() == [
            *("127.0.0.1", port, "127.0.0.1", 9, "", "", 128, "lo")
        ]
        assert row["kernel_stack"].split(";")[-2].startswith("__udp4_lib_rcv")
        assert "udp_sendmsg_[k]" in row["kernel_stack"]
        assert row["location"].startswith("__udp4_lib_rcv")
        syn = frame[(frame["reason"] == "NO_SOCKET") & (frame["protocol"] == "tcp")].iloc[0]
        assert syn[["dport", "flags"]].tolist() == [9, "SYN"]
        kept = frame[frame["reason"] == "SOCKET_FILTER"]
        assert kept["dport"].tolist() == [filtered] * 5
        assert kept["pid"].tolist() == [worker.pid] * 5  # of the socket that it was for
        counts = drops.reasons.set_index(["reason", "protocol"])["count"]
        assert counts["NO_SOCKET", "udp"] == 3
        assert counts["NO_SOCKET", "tcp"] == 1
        assert counts["SOCKET_FILTER", "udp"] == 5
        assert "udp_sendmsg" in drops.flames().svg()
        assert "udp_sendmsg" in drops.save(tmp_path / "drops.folded").read_text()
        assert drops.report() is None  # a terminal has shown the rows
    assert drops.df["reason"].tolist() == frame["reason"].tolist()
    assert drops.reasons["count"].sum() == len(frame)
    assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_filters_are_by_reason_protocol_and_the_sockets_process():
    with (
        Worker(netns=True) as worker,
        Worker(netns=True) as other,
        tools.tcpdrop(pid=worker.pid) as own,
        tools.tcpdrop(netns=space_of(worker), reason="no_socket", protocol="tcp") as chosen,
    ):
        for one in (other, worker):
            one.run(REFUSED)
            one.run(FILTERED)
        await_true(lambda: len(own.df) >= 5)
        assert own.df["reason"].unique().tolist() == ["SOCKET_FILTER"]  # the others reached no socket
        assert own.df["pid"].unique().tolist() == [worker.pid]
        assert chosen.wait(1, 30)
        assert chosen.df[["reason", "protocol", "flags"]].to_numpy().tolist() == [["NO_SOCKET", "tcp", "SYN"]]


def test_tcps_state_is_the_receiving_sockets():
    with Worker(netns=True) as worker, tools.tcpdrop(netns=space_of(worker), protocol="tcp") as drops:
        worker.run(
            "code = ctypes.create_string_buffer(struct.pack('=HBBI', 6, 0, 0, 0))\n"
            "s = socket.create_server(('127.0.0.1', 0))\n"
            "s.setsockopt(socket.SOL_SOCKET, 26, struct.pack('@HP', 1, ctypes.addressof(code)))\n"
            "c = socket.socket(); c.setblocking(False); c.connect_ex(s.getsockname())"
        )
        assert drops.wait(1, 30)
        row = drops.df.iloc[0]
        assert row[["reason", "flags", "state", "pid"]].tolist() == [
            "SOCKET_FILTER",
            "SYN",
            "LISTEN",
            worker.pid,
        ]


def test_an_unknown_reason_names_the_nearest():
    with pytest.raises(UnknownName, match="NO_SOCKET"):
        tools.tcpdrop(reason="NO_SOCKETS")
    with pytest.raises(UnknownName, match="tcp"):
        tools.tcpdrop(protocol="tpc")
