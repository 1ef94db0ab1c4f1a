"""dns and udp on the live kernel, against a small DNS server of the test's own in a network namespace."""

from __future__ import annotations

import pytest
from workloads import Worker, await_true, left_over, object_ids

from bpfnb import tools

SERVER = r"""
def question(data):
    return data[12 : data.index(b"\0", 12) + 5]

def reply_to(data):
    # of names with "missing" in them: not found; with "silent": nothing; else a CNAME and an address
    head, asked = data[:2], question(data)
    if b"missing" in asked:
        return head + struct.pack(">5H", 0x8183, 1, 0, 0, 0) + asked
    kind = struct.unpack(">H", asked[-4:-2])[0]
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::7") if kind == 28 else bytes([10, 0, 0, 7])
    records = struct.pack(">HHHIH", 0xC00C, 5, 1, 60, 2) + b"\xc0\x0c"
    records += struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(address)) + address
    return head + struct.pack(">5H", 0x8180, 1, 2, 0, 0) + asked + records

def serve(s, n):
    for _ in range(n):
        data, who = s.recvfrom(512)
        if b"silent" not in data:
            s.sendto(reply_to(data), who)

def packet(name, number, kind=1):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"
    return struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)

server = socket.socket(type=socket.SOCK_DGRAM); server.bind(("127.0.0.5", 53))
"""
CLIENT = """
def packet(name, number, kind=1):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\\0"
    return struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)

def ask(name, number, kind=1):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.sendto(packet(name, number, kind), ("127.0.0.5", 53))
        return len(s.recv(512))
"""


def space_of(worker):
    return f"/proc/{worker.pid}/ns/net"


def started(worker, answers):
    worker.run(
        f"{SERVER}\nthread = threading.Thread(target=serve, args=(server, {answers}), daemon=True); thread.start()"
    )
    worker.run(CLIENT)


def test_questions_have_names_types_answers_and_processes():
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    asked = [
        ("www.example.com", 1, "A", "NOERROR", 2, "10.0.0.7"),
        ("www.example.com", 28, "AAAA", "NOERROR", 2, "2001:db8::7"),
        ("missing.example.org", 15, "MX", "NXDOMAIN", 0, ""),
        (longest, 1, "A", "NOERROR", 2, "10.0.0.7"),
        ("", 1, "A", "NOERROR", 2, "10.0.0.7"),
        ("x", 4711, "4711", "NOERROR", 2, ""),
    ]
    with Worker(netns=True) as worker, tools.dns(netns=space_of(worker)) as dns:
        held = object_ids(dns.object.loaded)
        started(worker, len(asked))
        before = worker.call("time.monotonic_ns()")
        for number, (name, kind, *_) in enumerate(asked):
            worker.run(f"ask({name!r}, {number}, {kind})")
        spent = worker.call("time.monotonic_ns()") - before
        assert dns.wait(len(asked), 30)
        frame = dns.df
        columns = ["name", "type", "rcode", "answers", "address"]
        assert frame[columns].to_numpy().tolist() == [
            [name or ".", kind, rcode, answers, address] for name, _, kind, rcode, answers, address in asked
        ]
        assert frame["pid"].unique().tolist() == [worker.pid]
        assert frame["server"].unique().tolist() == ["127.0.0.5"]
        assert frame["role"].unique().tolist() == ["client"]
        assert frame["tries"].tolist() == [1] * len(asked)
        assert (frame["latency"] > 0).all()
        assert frame["latency"].sum() < spent
        assert frame.attrs["bpfnb"]["complete"]
    assert left_over(held) == {}


def test_what_is_asked_again_and_what_nobody_answers():
    with Worker(netns=True) as worker, tools.dns(netns=space_of(worker), failed=True) as dns:
        started(worker, 5)
        worker.run(
            "s = socket.socket(type=socket.SOCK_DGRAM)\n"
            "for _ in range(3): s.sendto(packet('silent.example.com', 7, 28), ('127.0.0.5', 53))\n"
            "ask('found.example.com', 8); ask('missing.example.com', 9)"
        )
        assert dns.wait(1, 30)
        assert dns.df["name"].tolist() == ["missing.example.com"]  # `failed` leaves out what was found
        open_ones = dns.unanswered(0)
        assert open_ones[["name", "type", "tries", "pid", "server"]].to_numpy().tolist() == [
            ["silent.example.com", "AAAA", 3, worker.pid, "127.0.0.5"]
        ]
        assert dns.unanswered(3600).empty


def test_a_server_sees_its_own_work():
    with Worker(netns=True) as worker, tools.dns(netns=space_of(worker), servers=True) as dns:
        started(worker, 1)
        worker.run("ask('www.example.com', 1)")
        assert dns.wait(2, 30)
        frame = dns.df.set_index("role")
        assert set(frame.index) == {"client", "server"}
        assert frame.loc["server", "latency"] < frame.loc["client", "latency"]


@pytest.mark.parametrize("tool", ["dns", "udp"])
def test_filters_ask_for_the_process(tool):
    with Worker(netns=True) as worker, Worker(netns=True) as other, tools.find(tool)(pid=worker.pid) as seen:
        for one in (other, worker):
            started(one, 1)
            one.run("ask('www.example.com', 1)")
        assert seen.wait(1, 30)
        assert seen.df["pid"].unique().tolist() == [worker.pid]


def test_datagrams_and_their_answers():
    with Worker(netns=True) as worker, tools.udp(netns=space_of(worker), port=53) as udp:
        started(worker, 11)
        size = worker.call("[ask('www.example.com', n) for n in range(10)][0]")  # each from a port of its own
        worker.run(
            "s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(packet('silent.example.com', 1), ('127.0.0.5', 53))"
        )
        worker.call("udp(4, 100)")  # at another port
        await_true(lambda: udp.df[["answers", "rx"]].sum().tolist() == [20, 21])
        frame = udp.df.set_index("role")
        question, silent = 12 + 17 + 4, 12 + 20 + 4
        numbers = ["tx", "tx_bytes", "rx", "rx_bytes", "answers"]
        assert frame.loc["client", numbers].tolist() == [11, 10 * question + silent, 10, 10 * size, 10]
        assert frame.loc["server", numbers].tolist() == [10, 10 * size, 11, 10 * question + silent, 10]
        assert frame["port"].tolist() == [53, 53]
        assert frame["pid"].tolist() == [worker.pid] * 2
        assert frame.loc["client", "raddr"] == "127.0.0.5"
        assert (
            0
            < frame.loc["server", "latency"]
            < frame.loc["client", "latency"]
            <= frame.loc["client", "latency_max"]
        )
        assert udp.object.latency.df["value"].sum() == 20
        assert udp.df.attrs["bpfnb"]["complete"]
