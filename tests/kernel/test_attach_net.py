"""XDP, tc, netfilter, socket and namespace sections, each with an exact count, in a network namespace of the test."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, load, new_cgroup, object_ids, u64

from bpfnb.errors import AttachError, KernelFeatureMissing
from bpfnb.kernel import attach_net

N = 200

# Counts the frames of worker.packets(), by their ether type.
PACKET = """
u64 seen;
SEC("{section}") int prog({context} *ctx)
{{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    if (data + sizeof(*eth) <= end && eth->h_proto == bpf_htons(0x88B5))
        __sync_fetch_and_add(&seen, 1);
    return {verdict};
}}
"""


@pytest.fixture(scope="module")
def worker():
    with Worker(netns=True) as made:
        made.run("veth('bnb0', 'bnb1')")
        yield made


def seen(obj) -> int:
    return u64(obj.read_bytes(".bss", 0, 8))


def packet_program(section: str):
    if section.startswith("xdp"):
        return load(PACKET.format(section=section, context="struct xdp_md", verdict="XDP_PASS"))
    return load(PACKET.format(section=section, context="struct __sk_buff", verdict="0"))


@pytest.mark.parametrize("mode", ["generic", "native", None])
@pytest.mark.parametrize("section", ["xdp", "xdp.frags"])
def test_xdp_counts_packets(worker, section, mode):
    with packet_program(section) as obj:
        assert not obj.programs["prog"].auto_attach
        with worker.netns():
            link = obj.attach("prog", interface="bnb1", mode=mode)
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        held = object_ids(obj)
        obj.detach(link)
        worker.run(f"packets('bnb0', {N})")
        assert seen(obj) == N
        assert held["link"]
        assert not left_over({"link": held["link"]})


def test_xdp_in_another_network_namespace(worker):
    home = Path("/proc/thread-self/ns/net").readlink()
    with packet_program("xdp") as obj:
        obj.attach("prog", interface="bnb1", netns=worker.pid)
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        with pytest.raises(AttachError, match="bnb"):
            obj.attach("prog", interface="bnb", netns=f"/proc/{worker.pid}/ns/net")
        with pytest.raises(AttachError, match="network namespace"):
            obj.attach("prog", interface="bnb1", netns="/run/netns/nowhere")
        assert seen(obj) == N
    assert Path("/proc/thread-self/ns/net").readlink() == home


@pytest.mark.parametrize(
    ("section", "interface", "options"),
    [
        ("tc", "bnb1", {}),
        ("tc", "bnb0", {"direction": "egress"}),
        ("classifier", "bnb1", {"direction": "ingress"}),
        ("tc/ingress", "bnb1", {}),
        ("tc/egress", "bnb0", {}),
        ("tcx/ingress", "bnb1", {}),
        ("tcx/egress", "bnb0", {}),
    ],
)
def test_tc_counts_packets(worker, section, interface, options):
    with packet_program(section) as obj:
        with worker.netns():
            link = obj.attach("prog", interface=socket.if_nametoindex(interface), **options)
        assert len(obj.link_ids(link)) == 1
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        obj.detach(link)
        worker.run(f"packets('bnb0', {N})")
        assert seen(obj) == N


def test_tc_without_tcx_is_a_clsact_filter(worker):
    with packet_program("tc") as obj, worker.netns():
        program = obj._program("prog", {})
        link = attach_net.clsact(program, socket.if_nametoindex("bnb1"), "ingress")
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        link.close()
        worker.run(f"packets('bnb0', {N})")
        assert seen(obj) == N


def test_two_tc_programs_share_a_hook(worker):
    with packet_program("tcx/ingress") as one, packet_program("tcx/ingress") as two:
        with worker.netns():
            one.attach("prog", interface="bnb1")
            two.attach("prog", interface="bnb1")
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(one) >= N)
        assert seen(one) == N


@pytest.mark.parametrize("section", ["xdp", "tcx/ingress"])
def test_replace_loses_no_packet(worker, section):
    with packet_program(section) as old, packet_program(section) as new:
        with worker.netns():
            link = old.attach("prog", interface="bnb1")
        worker.start(f"packets('bnb0', {20 * N})")
        await_true(lambda: seen(old) >= N // 10)
        old.replace(link, new, "prog")
        worker.finish()
        await_true(lambda: seen(old) + seen(new) >= 20 * N)
        assert seen(old) + seen(new) == 20 * N
        old.close()
        before = seen(new)
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(new) >= before + N)


@pytest.mark.parametrize("section", ["xdp", "tc"])
def test_interface_errors(worker, section):
    with packet_program(section) as obj:
        with pytest.raises(AttachError, match="needs the option 'interface'"):
            obj.attach("prog")
        with worker.netns(), pytest.raises(AttachError, match="bnb"):
            obj.attach("prog", interface="bnb")
        with pytest.raises(AttachError, match="9999"):
            obj.attach("prog", interface=9999)
        with pytest.raises(AttachError, match="takes no option 'cgroup'"):
            obj.attach("prog", cgroup="/")
        assert obj.link_ids() == []


def test_xdp_mode_errors(worker):
    with packet_program("xdp") as obj, packet_program("xdp") as second, worker.netns():
        with pytest.raises(AttachError, match="generic, native, offload"):
            obj.attach("prog", interface="lo", mode="fast")
        with pytest.raises(AttachError, match="generic"):
            obj.attach("prog", interface="lo", mode="native")
        obj.attach("prog", interface="lo", mode="generic")
        with pytest.raises(AttachError, match="another XDP program"):
            second.attach("prog", interface="lo", mode="generic")


def test_netfilter_counts_local_datagrams(worker):
    source = """
    u64 seen;
    SEC("netfilter") int prog(struct bpf_nf_ctx *ctx)
    {
        struct sk_buff *skb = ctx->skb;
        if (skb->len > 1000) __sync_fetch_and_add(&seen, 1);
        return NF_ACCEPT;
    }
    """
    missing = None
    with load(source) as obj:
        with pytest.raises(AttachError, match="option 'hook'"):
            obj.attach("prog")
        with pytest.raises(AttachError, match="prerouting"):
            obj.attach("prog", hook="inputs")
        with worker.netns():
            try:
                link = obj.attach("prog", hook="input", priority=-100)
            except KernelFeatureMissing as error:
                missing = error
        if missing is not None:
            assert "netfilter" in missing.feature
            return
        worker.run(f"udp({N}, size=1200)")
        assert seen(obj) == N
        obj.detach(link)
        worker.run(f"udp({N}, size=1200)")
        assert seen(obj) == N


def test_socket_filter_on_an_interface(worker):
    source = """
    u64 seen;
    SEC("socket") int prog(struct __sk_buff *ctx)
    {
        if (ctx->protocol == bpf_htons(0x88B5)) __sync_fetch_and_add(&seen, 1);
        return 0;
    }
    """
    with load(source) as obj:
        with pytest.raises(AttachError, match="interface"):
            obj.attach("prog")
        with worker.netns():
            link = obj.attach("prog", interface="bnb1")
        worker.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        obj.detach(link)
        worker.run(f"packets('bnb0', {N})")
        assert seen(obj) == N


def test_socket_filter_on_a_socket():
    source = """
    u64 seen;
    SEC("socket") int prog(struct __sk_buff *ctx)
    {
        __sync_fetch_and_add(&seen, 1);
        return seen & 1 ? ctx->len : 0;
    }
    """
    with (
        load(source) as obj,
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        link = obj.attach("prog", socket=server)
        for number in range(10):
            client.sendto(bytes([number]), server.getsockname())
        assert [server.recv(10)[0] for _ in range(5)] == [0, 2, 4, 6, 8]
        with pytest.raises(BlockingIOError):
            server.recv(10)
        assert seen(obj) == 10
        obj.detach(link)
        client.sendto(b"free", server.getsockname())
        assert server.recv(10) == b"free"
        assert seen(obj) == 10
        with pytest.raises(AttachError, match="no open socket"):
            obj.attach("prog", socket="lo")


def test_sk_reuseport_chooses_the_socket():
    source = """
    u64 seen;
    struct { __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY); __type(key, u32); __type(value, u64);
             __uint(max_entries, 2); } sockets SEC(".maps");
    SEC("sk_reuseport") int prog(struct sk_reuseport_md *ctx)
    {
        u32 second = 1;
        __sync_fetch_and_add(&seen, 1);
        bpf_sk_select_reuseport(ctx, &sockets, &second, 0);
        return SK_PASS;
    }
    """
    servers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(2)]
    with load(source) as obj, servers[0], servers[1], socket.socket(type=socket.SOCK_DGRAM) as client:
        for server in servers:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.setblocking(False)
        servers[0].bind(("127.0.0.1", 0))
        servers[1].bind(servers[0].getsockname())
        for index, server in enumerate(servers):
            obj.update("sockets", index.to_bytes(4, "little"), server.fileno().to_bytes(8, "little"))
        obj.attach("prog", socket=servers[0].fileno())
        for _ in range(20):
            client.sendto(b"x", servers[0].getsockname())
        assert sum(1 for _ in range(20) if servers[1].recv(1)) == 20
        with pytest.raises(BlockingIOError):
            servers[0].recv(1)
        assert seen(obj) == 20


def test_sk_lookup_steers_connections(worker):
    source = """
    u64 seen;
    struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __type(key, u32); __type(value, u64);
             __uint(max_entries, 1); } server SEC(".maps");
    SEC("sk_lookup") int prog(struct bpf_sk_lookup *ctx)
    {
        u32 zero = 0;
        if (ctx->local_port != 7007) return SK_PASS;
        struct bpf_sock *sk = bpf_map_lookup_elem(&server, &zero);
        if (!sk) return SK_PASS;
        __sync_fetch_and_add(&seen, 1);
        long error = bpf_sk_assign(ctx, sk, 0);
        bpf_sk_release(sk);
        return error ? SK_DROP : SK_PASS;
    }
    """
    with load(source) as obj:
        assert obj.programs["prog"].auto_attach
        with worker.netns():
            server = socket.create_server(("127.0.0.1", 0))
        with server:
            obj.update("server", bytes(4), server.fileno().to_bytes(8, "little"))
            link = obj.attach("prog", netns=worker.pid)
            worker.run("for _ in range(10): socket.create_connection(('127.0.0.1', 7007)).close()")
            assert seen(obj) == 10
            assert obj.link_ids(link)
            with pytest.raises(AttachError, match="no network namespace"):
                obj.attach("prog", netns="/run/netns/no-such")


def test_flow_dissector(worker):
    source = """
    u64 seen;
    SEC("flow_dissector") int prog(struct __sk_buff *ctx)
    {
        __sync_fetch_and_add(&seen, 1);
        return BPF_FLOW_DISSECTOR_CONTINUE;
    }
    """
    with load(source) as obj, load(source) as second:
        obj.attach("prog", netns=worker.pid)
        with pytest.raises(AttachError):
            second.attach("prog", netns=worker.pid)
        # hashing a packet needs its flow: a packet socket in a fanout group asks for it
        worker.run(
            "with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:\n"
            "    s.bind(('lo', 3))\n"
            "    s.setsockopt(263, 18, os.getpid() & 0xffff)\n"
            "    udp(10)"
        )
        assert seen(obj) >= 10


SOCKMAP = """
u64 seen, bytes;
struct {{ __uint(type, BPF_MAP_TYPE_SOCKHASH); __type(key, u32); __type(value, u64); __uint(max_entries, 4); }}
    sockets SEC(".maps");
SEC("{section}") int prog({context} *ctx)
{{
    __sync_fetch_and_add(&seen, 1);
    __sync_fetch_and_add(&bytes, {length});
    return {verdict};
}}
"""


@pytest.mark.parametrize(
    ("section", "context", "length", "verdict"),
    [
        ("sk_msg", "struct sk_msg_md", "ctx->size", "SK_PASS"),
        ("sk_skb/stream_verdict", "struct __sk_buff", "ctx->len", "SK_PASS"),
        ("sk_skb/verdict", "struct __sk_buff", "ctx->len", "SK_PASS"),
        ("sk_skb/stream_parser", "struct __sk_buff", "ctx->len", "ctx->len"),
    ],
)
def test_socket_map_programs_see_each_message(section, context, length, verdict):
    source = SOCKMAP.format(section=section, context=context, length=length, verdict=verdict)
    if section.endswith("parser"):  # a parser works only with a verdict beside it
        source += 'SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *ctx) { return SK_PASS; }'
    with load(source) as obj, socket.create_server(("127.0.0.1", 0)) as server:
        links = [obj.attach(name) for name in obj.programs]
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
            member = client if section == "sk_msg" else peer
            obj.update("sockets", bytes(4), member.fileno().to_bytes(8, "little"))
            for _ in range(10):
                client.sendall(b"y" * 100)
                assert peer.recv(100, socket.MSG_WAITALL) == b"y" * 100
            assert seen(obj) == 10
            assert u64(obj.read_bytes(".bss", 8, 8)) == 1000
            obj.delete("sockets", bytes(4))
        for link in links:
            obj.detach(link)


def test_socket_map_option():
    source = SOCKMAP.format(section="sk_msg", context="struct sk_msg_md", length="0", verdict="SK_PASS")
    two = source + source[source.index("struct {") : source.index('SEC("sk_msg')].replace("sockets", "others")
    with load(two) as obj:
        with pytest.raises(AttachError, match="sockets, others"):
            obj.attach("prog")
        with pytest.raises(AttachError, match="others"):
            obj.attach("prog", map="other")
        obj.attach("prog", map="others")


def test_sockops_see_the_handshake(worker):
    source = """
    u64 active, passive;
    SEC("sockops") int prog(struct bpf_sock_ops *ctx)
    {
        if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) __sync_fetch_and_add(&active, 1);
        if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) __sync_fetch_and_add(&passive, 1);
        return 1;
    }
    """
    with new_cgroup() as cgroup, Worker(cgroup=cgroup) as inside, load(source) as obj:
        obj.attach("prog", cgroup=str(cgroup))
        inside.run("tcp(25)")
        assert u64(obj.read_bytes(".bss", 0, 8)) == 25
        assert u64(obj.read_bytes(".bss", 8, 8)) == 25
        obj.close()
