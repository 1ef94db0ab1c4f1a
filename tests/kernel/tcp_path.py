"""A path of known delay and loss between two sockets of one network namespace.

A packet to 10.9.0.2 comes back from there to 10.9.0.1 when its time has come: who sends to 10.9.0.2 is heard at 10.9.0.1,
by whoever listens there. It needs no qdisc and no second namespace, only a tun device.
"""

PATH = r"""
import fcntl, select

def ifconfig(request, name, address):
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s.fileno(), request, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address)))

tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF: packets without a header
ifconfig(0x8916, b"tun0", "10.9.0.1")
ifconfig(0x891C, b"tun0", "255.255.255.0")
up("tun0")

delay = 0.0
dropped = []
drop = lambda packet: False

def relay():
    queue = []
    while True:
        wait = max(0, queue[0][0] - time.monotonic()) if queue else None
        if select.select([tun], [], [], wait)[0]:
            packet = os.read(tun, 65536)
            if packet[0] >> 4 == 4:
                if drop(packet):
                    dropped.append(packet)
                else:
                    back = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                    queue.append((time.monotonic() + delay, back))
        while queue and queue[0][0] <= time.monotonic():
            os.write(tun, queue.pop(0)[1])

threading.Thread(target=relay, daemon=True).start()

def flags(packet):
    return packet[20 + 13]

def size(packet):
    return len(packet) - 20 - (packet[20 + 12] >> 4) * 4

def connected(host="10.9.0.2"):
    # a listening socket, a connection to it, and its other end
    server = socket.create_server(("0.0.0.0", 0))
    client = socket.create_connection((host, server.getsockname()[1]))
    peer, _ = server.accept()
    for one in (client, peer):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client, peer

def take(s, n):
    while n:
        got = len(s.recv(min(n, 65536)))
        assert got
        n -= got

def tcp_info(s):
    # round-trip time (us), ssthresh, congestion window: struct tcp_info of linux/tcp.h
    words = struct.unpack_from("=20I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 8)
    return words[15], words[17], words[18]
"""
"""Code for a ``Worker(netns=True)``: ``delay`` (seconds, each way) and ``drop`` (what asks of a packet) may be set."""
