"""Connections and datagrams at the edges: each is told once, with the bytes that the programs gave and got."""

from __future__ import annotations

from workloads import Worker, await_true

from bpfnb import tools

TCP = r"""
import select
log = []  # kind, the ports of client and server, bytes that it sends and receives, errors of both ends

def ports(client):
    return client.getsockname()[1], client.getpeername()[1]

def ends(kind, up, down, errors=("0", "0"), family=socket.AF_INET, at="127.0.0.1", to=None):
    # a connection; "::" also listens to IPv4
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind((at, 0)), listener.listen()
    to = to or at
    client = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    client.connect((to, listener.getsockname()[1]))
    log.append((kind, *ports(client), up, down, *errors))
    return client, listener.accept()[0]

def rest(s):
    # what comes until the end, however that comes
    n = 0
    try:
        while data := s.recv(1 << 16):
            n += len(data)
    except ConnectionResetError:
        pass
    return n

def shut(first, second):
    first.close(), rest(second), second.close()

def sent_by(work, client, server):
    thread = threading.Thread(target=lambda: (work(), client.shutdown(socket.SHUT_WR)))
    thread.start()
    n = rest(server)
    thread.join()
    return n

c, s = ends("half-closed", 70000, 123, family=socket.AF_INET6, at="::1")
assert sent_by(lambda: c.sendall(b"a" * 70000), c, s) == 70000
s.sendall(b"b" * 123), shut(s, c)

for to in ("::ffff:127.0.0.1", "127.0.0.1"):
    c, s = ends(f"dual {to}", 10, 0, family=socket.AF_INET6, at="::", to=to)
    c.sendall(b"x" * 10), shut(c, s)

c, s = ends("reset", 5, 0, ("0", "ECONNRESET"))
c.sendall(b"x" * 5), s.recv(5)
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)), shut(c, s)

c, s = ends("closed without being read", 77, 0, ("ECONNRESET", "0"))
c.sendall(b"x" * 77), select.select([s], [], []), shut(s, c)

with tempfile.TemporaryFile() as file:
    file.write(b"z" * 1_000_000), file.flush()
    c, s = ends("sendfile", 1_000_000, 0)
    def sendfile():
        at = 0
        while at < 1_000_000:
            at += os.sendfile(c.fileno(), file.fileno(), at, 1_000_000 - at)
    assert sent_by(sendfile, c, s) == 1_000_000
    shut(c, s)
    c, s = ends("splice", 600_000, 0)
    def splice():
        out, into = os.pipe()
        at = 0
        while at < 600_000:
            held = os.splice(file.fileno(), into, min(65536, 600_000 - at), offset_src=at)
            at += held
            while held:
                held -= os.splice(out, c.fileno(), held)
        os.close(out), os.close(into)
    assert sent_by(splice, c, s) == 600_000
    shut(c, s)

c, s = ends("urgent", 4, 0)
c.sendall(b"abc"), c.send(b"!", socket.MSG_OOB), shut(c, s)

c, s = ends("both at once", 3, 4)
c.sendall(b"abc"), s.sendall(b"defg"), c.shutdown(socket.SHUT_WR), s.shutdown(socket.SHUT_WR)
rest(c), rest(s), c.close(), s.close()

c, s = ends("let go", 9, 0, ("0", "ECONNRESET"))
c.sendall(b"x" * 9), s.recv(9)
libc.connect(c.fileno(), bytes(16), 16)  # AF_UNSPEC: the same socket can be connected again
rest(s), s.close()
with socket.create_server(("127.0.0.1", 0)) as listener:
    c.connect(listener.getsockname())
    log.append(("again", *ports(c), 6, 0, "0", "0"))
    s = listener.accept()[0]
    c.sendall(b"x" * 6), shut(c, s)

pair = [socket.create_server(("127.0.0.1", 0), reuse_port=True)]
pair.append(socket.create_server(pair[0].getsockname(), reuse_port=True))
for n in range(100):
    c = socket.create_connection(pair[0].getsockname())
    log.append(("one port, two listeners", *ports(c), n, n, "0", "0"))
    s = select.select(pair, [], [])[0][0].accept()[0]
    if n:
        c.sendall(b"r" * n), s.sendall(s.recv(n, socket.MSG_WAITALL)), c.recv(n, socket.MSG_WAITALL)
    shut(*((c, s) if n % 2 else (s, c)))
one, other = socket.socketpair()  # no TCP
one.sendall(b"x"), other.recv(1)
result = log
"""


def test_every_connection_once_with_its_bytes():
    with (
        Worker(netns=True) as worker,
        tools.tcplife(netns=f"/proc/{worker.pid}/ns/net") as life,
        tools.tcpconnect(pid=worker.pid) as opened,
        tools.tcpaccept(pid=worker.pid) as taken,
    ):
        worker.run("import tempfile")
        log = worker.run(TCP)
        assert life.wait(2 * len(log), 30)
        for tool in (life, opened, taken):
            await_true(lambda tool=tool: tool.frames.fill == 0)
        lives, connects, accepts = life.df, opened.df, taken.df
    by_ports = lives.set_index(["lport", "rport"]).sort_index()
    numbers = by_ports[["tx_bytes", "rx_bytes", "err"]]
    for kind, client, server, up, down, here, there in log:
        assert numbers.loc[[(client, server)]].to_numpy().tolist() == [[up, down, here]], kind
        assert numbers.loc[[(server, client)]].to_numpy().tolist() == [[down, up, there]], kind
    ports = [(client, server) for _, client, server, *_ in log]
    assert len(lives) == 2 * len(log)
    assert list(zip(connects["lport"], connects["rport"], strict=True)) == ports
    assert set(connects["ret"]) == {"0"}
    assert list(zip(accepts["rport"], accepts["lport"], strict=True)) == ports
    assert set(lives["pid"]) == {worker.pid}
    dual = by_ports.loc[[ports[1]]]
    assert dual[["laddr", "raddr"]].to_numpy().tolist() == [["127.0.0.1", "127.0.0.1"]]
    for frame in (lives, connects, accepts):
        assert frame.attrs["bpfnb"]["complete"]


UDP = r"""
SEGMENT, GRO = 103, 104  # of include/uapi/linux/udp.h
cut = socket.socket(type=socket.SOCK_DGRAM); cut.bind(("127.0.0.1", 0))
whole = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); whole.bind(("::", 0))
whole.setsockopt(socket.IPPROTO_UDP, GRO, 1)
ports = [s.getsockname()[1] for s in (cut, whole)]
sender = socket.socket(type=socket.SOCK_DGRAM); sender.setsockopt(socket.IPPROTO_UDP, SEGMENT, 1000)
for port, size in zip(ports, (9500, 5000)):
    for _ in range(5):
        sender.sendto(b"x" * size, ("127.0.0.1", port))
        n = 0
        while n < size:
            n += len((cut if port == ports[0] else whole).recv(65536))
sender.sendto(b"y" * 10, ("127.0.0.1", ports[0])), cut.recv(10)
result = ports
"""


def test_datagrams_that_are_sent_or_received_several_at_once_are_counted_each():
    """UDP segmentation offload, to a socket that takes them apart and to one that takes them whole."""
    with Worker(netns=True) as worker, tools.udp(netns=f"/proc/{worker.pid}/ns/net") as udp:
        ports = worker.run(UDP)
        frame = udp.df.set_index(["port", "role"])[["tx", "tx_bytes", "rx", "rx_bytes"]]
    assert [frame.loc[(port, role)].tolist() for port in ports for role in ("client", "server")] == [
        [51, 47510, 0, 0],
        [0, 0, 51, 47510],
        [25, 25000, 0, 0],
        [0, 0, 25, 25000],
    ]


DNS = r"""
def packet(name, number, kind, answer=False):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    flags = 0x8180 if answer else 0x100
    return struct.pack(">6H", number, flags, 1, 0, 0, 0) + labels + struct.pack(">HH", kind, 1)

server = socket.socket(type=socket.SOCK_DGRAM); server.bind(("127.0.0.5", 53))
client = socket.socket(type=socket.SOCK_DGRAM); client.connect(("127.0.0.5", 53))
for name, kind, answered in QUESTIONS:
    client.send(packet(name, 7, kind))
    _, who = server.recvfrom(512)
    if answered:
        server.sendto(packet(name, 7, kind, True), who), client.recv(512)
"""


def test_a_questions_number_that_comes_again_is_another_question():
    questions = [
        ("lost.example.com", 1, False),
        ("lost.example.com", 28, False),  # another type
        ("first.example.com", 1, False),
        ("second.example.com", 1, False),
        ("second.example.com", 1, True),  # again
        ("third.example.com", 1, True),
    ]
    with Worker(netns=True) as worker, tools.dns(pid=worker.pid) as dns:
        worker.run(f"QUESTIONS = {questions}\n{DNS}")
        assert dns.wait(2, 30)
        frame = dns.df
    assert frame[["name", "type", "tries"]].to_numpy().tolist() == [
        ["second.example.com", "A", 2],
        ["third.example.com", "A", 1],
    ]
