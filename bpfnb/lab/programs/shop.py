"""The shop of lab 8 and its customer, in a network of their own whose way in loses some packets, always the same ones.

shop.py STEP SIZES      SIZES: JSON of the numbers that it works with

connect    ``connects`` connections to the shop, of which number ``every`` has its first packet lost; ``refused``
           connections to a port where nobody listens
orders     ``orders`` messages on one connection; every ``every``-th packet with data to the shop is lost
life       a connection for each number of ``bytes``, which it gets; where it is in ``hangs_up`` the shop closes first

It says that it is ready, waits for a line, does the step and says what became of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

SHOP, NOBODY = 8080, 8081
LOSS = """
struct counts { u32 segments, lost; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct counts);
} counted SEC(".maps");

SEC("tcx/ingress")
int lose(struct __sk_buff *skb)
{
    struct counts *counts;
    struct iphdr ip;
    struct tcphdr tcp;
    u32 zero = 0;

    if (bpf_skb_load_bytes(skb, 14, &ip, sizeof(ip)) || ip.version != 4 || ip.protocol != 6)
        return TCX_NEXT;
    if (bpf_skb_load_bytes(skb, 14 + ip.ihl * 4, &tcp, sizeof(tcp)) || tcp.dest != bpf_htons(8080))
        return TCX_NEXT;
    if (COUNT_SYN ? !tcp.syn : bpf_ntohs(ip.tot_len) <= ip.ihl * 4 + tcp.doff * 4)
        return TCX_NEXT; /* not what is counted: SYN, or segments with data */
    counts = bpf_map_lookup_elem(&counted, &zero);
    if (!counts || ++counts->segments % EVERY)
        return TCX_NEXT;
    counts->lost += 1;
    return TCX_DROP;
}
"""


def called(name: str) -> None:
    Path("/proc/self/comm").write_text(name)


def counted(name: str) -> int:
    """One of this network's TCP counters."""
    lines = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()]
    names, values = (line for line in lines if line[0] == "Tcp:")
    return int(values[names.index(name)])


def serve(listener: socket.socket) -> None:
    """The shop: it answers a line "more N" with N bytes; after "last N" it hangs up."""
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=answer, args=(peer,), daemon=True).start()


def answer(peer: socket.socket) -> None:
    with peer, peer.makefile("rb") as lines:
        for line in lines:
            word, number = line.split()
            peer.sendall(b"x" * int(number))
            if word == b"last":
                return


def ask(to: socket.socket, word: bytes, number: int) -> None:
    to.sendall(b"%s %d\n" % (word, number))
    while number:
        number -= len(to.recv(min(number, 65536)))


def customer() -> socket.socket:
    return socket.create_connection(("127.0.0.1", SHOP))


def connect(sizes: dict[str, Any]) -> None:
    for _ in range(sizes["connects"]):
        customer().close()
    for _ in range(sizes["refused"]):
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", NOBODY))


def orders(sizes: dict[str, Any]) -> None:
    with customer() as one:
        for _ in range(sizes["orders"]):
            ask(one, b"more", 100)


def life(sizes: dict[str, Any]) -> None:
    for number, size in enumerate(sizes["bytes"]):
        with customer() as one:
            last = number in sizes["hangs_up"]
            ask(one, b"last" if last else b"more", size)
            if last:
                one.recv(1)  # nothing comes: the shop has closed


def losing(*, syn: bool, every: int) -> Any:
    """Lose each SYN to the shop, or segment with data to it, whose number is a multiple of *every*.

    Below bpfnb.load, since pandas takes long to import.
    """
    from bpfnb.compile import Source, compile  # noqa: A004
    from bpfnb.kernel.local import LocalBackend

    source = Source(LOSS, name="loss", defines=(f"COUNT_SYN={int(syn)}", f"EVERY={every}"))
    loss = LocalBackend().load(compile(source).data)
    loss.attach("lose", interface="lo")
    return loss


def main(step: str, sizes: str) -> None:
    numbers: dict[str, Any] = json.loads(sizes)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody is left behind
    if libc.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "a network of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607
    listener = socket.create_server(("127.0.0.1", SHOP), backlog=64)
    child = os.fork()
    if not child:
        libc.prctl(1, signal.SIGKILL)
        called("shop")
        serve(listener)
    listener.close()
    called("customer")
    loss = losing(syn=step == "connect", every=numbers["every"]) if "every" in numbers else None
    print("ready", flush=True)
    if sys.stdin.readline():
        {"connect": connect, "orders": orders, "life": life}[step](numbers)
    if loss is not None:
        _, lost = struct.unpack("II", loss.lookup("counted", bytes(4)))
        print(json.dumps({"lost": lost, "retrans": counted("RetransSegs")}))
        loss.close()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


main(*sys.argv[1:])
