"""Programs that bcc made attach by their descriptors in every way that libbpf's do: the same counts, the same errors."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, load, new_cgroup, object_ids, probe_library, u64

import bpfnb.bcc
from bpfnb.bcc.engine import compile_cell
from bpfnb.bcc.object import BccObject
from bpfnb.bcc.programs import attach_name, kind_name, load_function
from bpfnb.compile import Source
from bpfnb.errors import AttachError, BpfnbError, KernelFeatureMissing
from bpfnb.kernel import ids, syscall
from bpfnb.kernel.attach import attach
from bpfnb.kernel.attach_common import Program
from bpfnb.kernel.backend import ProgramInfo
from bpfnb.kernel.names import attach_type

pytestmark = [
    pytest.mark.usefixtures("bcc_installed"),
    pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning"),  # bcc's, of itself
]

N = 300

# Slot 0: how often, slot 1: a sum; of one process, where its id is in slot 2.
COUNT = """
BPF_ARRAY(seen, u64, 3);
static inline int count(u64 more) {
    int two = 2;
    u64 *wanted = seen.lookup(&two);
    if (!wanted || (*wanted && bpf_get_current_pid_tgid() >> 32 != *wanted)) return 0;
    seen.increment(0);
    seen.increment(1, more);
    return 0;
}
"""
# Counts the frames of worker.packets(), by their ether type.
PACKET = """
BPF_ARRAY(seen, u64, 2);
int prog(struct %s *ctx) {
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    if (data + sizeof(*eth) <= end && eth->h_proto == htons(0x88B5)) seen.increment(0);
    return %s;
}
"""
UPROBE = "int prog(struct pt_regs *ctx) { return count(PT_REGS_PARM1(ctx)); }"
TOTAL = N * (N - 1) // 2


@pytest.fixture(scope="module")
def library() -> Path:
    return probe_library()


@pytest.fixture
def worker(library):
    with Worker() as made:
        made.run(f"lib = ctypes.CDLL({str(library)!r})")
        yield made


@pytest.fixture(scope="module")
def network():
    with Worker(netns=True) as made:
        made.run("veth('bnb0', 'bnb1')")
        yield made


def made(text: str, places: Mapping[str, Sequence[str]] | str, wanted: int = 0) -> BccObject:
    """A loaded program; *places* for a function ``prog`` alone may be its section."""
    if isinstance(places, str):
        places = {"prog": [places]}
    obj = compile_cell(Source(text, "test"), places).load("test")
    if wanted:
        obj.update("seen", (2).to_bytes(4, "little"), wanted.to_bytes(8, "little"))
    return obj


def counter(program: str, places: Mapping[str, Sequence[str]] | str, wanted: int) -> BccObject:
    return made(COUNT + program, places, wanted)


def seen(obj: BccObject, slot: int = 0) -> int:
    return u64(obj.lookup("seen", slot.to_bytes(4, "little")) or b"")


def ends(obj: BccObject, link: int, run) -> None:
    """Detaching ends the counting, and leaves no link."""
    held = obj.link_ids(link)
    before = seen(obj)
    obj.detach(link)
    run()
    assert seen(obj) == before
    assert not left_over({"link": held})


# The kernel


@pytest.mark.parametrize(
    ("name", "program"),
    [
        (
            "tracepoint__syscalls__sys_enter_getppid",
            "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { return count(args->__syscall_nr); }",
        ),
        (
            "raw_tracepoint__sys_enter",
            "RAW_TRACEPOINT_PROBE(sys_enter) { return ctx->args[1] == 110 ? count(ctx->args[1]) : 0; }",
        ),
    ],
)
def test_names_of_bcc_fire_once_a_call(worker, name, program):
    with counter(program, {}, worker.pid) as obj:
        assert list(obj.programs) == [name]
        assert obj.programs[name].auto_attach
        link = obj.attach(name)
        assert len(obj.link_ids(link)) == 1
        worker.run(f"getppid({N})")
        assert (seen(obj), seen(obj, 1)) == (N, N * 110)
        ends(obj, link, lambda: worker.run(f"getppid({N})"))


@pytest.mark.parametrize("section", ["tracepoint", "tp", "raw_tp", "raw_tracepoint"])
def test_the_tracepoint_may_come_as_an_option(worker, section):
    target = "syscalls:sys_exit_getppid" if section in ("tp", "tracepoint") else "sys_exit"
    with counter("int prog(void *ctx) { return count(0); }", section, worker.pid) as obj:
        assert not obj.programs["prog"].auto_attach
        obj.attach("prog", tracepoint=target)
        worker.run(f"getppid({N})")
        assert seen(obj) == N if target != "sys_exit" else seen(obj) >= N


COOKIE = """
int prog(void *ctx) {
    u64 (*cookie)(void *) = (void *)174;  // bpf_get_attach_cookie
    return count(cookie(ctx));
}
"""


def test_cookies_tell_attachments_apart(worker, library):
    places = {"prog": ["tracepoint", f"uprobe/{library}:bpfnb_step"]}
    with counter(COOKIE, places, worker.pid) as obj:
        obj.attach("prog", tracepoint="syscalls:sys_enter_getppid", cookie=1)
        obj.attach("prog", tracepoint="syscalls:sys_exit_getppid", cookie=1000)
        obj.attach("prog#2", cookie=10**6)
        worker.run("getppid(7)\nlib.work(3)")
        assert seen(obj, 1) == 3_007_007


def test_perf_event_counts_the_page_faults_of_a_process(worker):
    program = "int prog(struct bpf_perf_event_data *ctx) { return count(0); }"
    with counter(program, "perf_event", 0) as obj:
        worker.run("faults(8)")
        link = obj.attach("prog", event="page-faults", period=1, pid=worker.pid)
        worker.run("faults(1000)")
        assert (
            1000 <= seen(obj) <= 1040
        )  # besides the pages asked for, the interpreter touches a few of its own
        ends(obj, link, lambda: worker.run("faults(1000)"))


def test_without_links_of_perf_events(worker, monkeypatch):
    """As on Linux before 5.15: the perf event itself holds the program."""
    create = syscall.link_create

    def refuse(fd: int, target: int, kind: int, *rest) -> int:
        if kind == attach_type("perf_event"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return create(fd, target, kind, *rest)

    monkeypatch.setattr(syscall, "link_create", refuse)
    with counter("int prog(void *ctx) { return count(0); }", "tracepoint", worker.pid) as obj:
        descriptors = len(os.listdir("/proc/self/fd"))
        link = obj.attach("prog", tracepoint="syscalls:sys_enter_getppid")
        assert obj.link_ids(link) == []
        worker.run(f"getppid({N})")
        assert seen(obj) == N
        ends(obj, link, lambda: worker.run(f"getppid({N})"))
        with pytest.raises(AttachError, match="Invalid argument"):
            obj.attach("prog", tracepoint="syscalls:sys_enter_getppid", cookie=7)
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_an_iterator_runs_when_it_is_read(worker):
    program = """
    BPF_ITER(task) {
        int two = 2;
        u64 *wanted = seen.lookup(&two);
        struct task_struct *task = ctx->task;
        if (task && wanted && task->tgid == *wanted) seen.increment(0);
        return 0;
    }"""
    with counter(program, {}, worker.pid) as obj:
        assert obj.programs["bpf_iter__task"].section == "iter/task"
        obj.run_iter("bpf_iter__task")
        assert seen(obj) == 1


# Programs and libraries


def test_uprobe_with_its_argument(worker, library):
    with counter(UPROBE, f"uprobe/{library}:bpfnb_step", worker.pid) as obj:
        link = obj.attach("prog")
        worker.run(f"lib.work({N})")
        assert (seen(obj), seen(obj, 1)) == (N, TOTAL)
        ends(obj, link, lambda: worker.run(f"lib.work({N})"))


def test_uretprobe_with_what_is_returned(worker, library):
    program = "int prog(struct pt_regs *ctx) { return count((int)PT_REGS_RC(ctx)); }"
    with counter(program, f"uretprobe/{library}:bpfnb_step", worker.pid) as obj:
        obj.attach("prog")
        worker.run(f"lib.work({N})")
        assert (seen(obj), seen(obj, 1)) == (N, 3 * TOTAL)


def test_pid_leaves_other_processes_out(worker, library):
    with Worker() as other, counter(UPROBE, "uprobe", 0) as obj:
        other.run(f"lib = ctypes.CDLL({str(library)!r})")
        obj.attach("prog", binary=str(library), symbol="bpfnb_step", pid=worker.pid)
        other.run(f"lib.work({5 * N})")
        worker.run(f"lib.work({N})")
        assert (seen(obj), seen(obj, 1)) == (N, TOTAL)


def test_one_function_at_several_places(worker, library):
    places = {"prog": [f"uprobe/{library}:bpfnb_step", f"uprobe/{library}:bpfnb_stride"]}
    with counter(UPROBE, places, worker.pid) as obj:
        links = [obj.attach(name) for name in obj.programs]
        worker.run(f"lib.work({N})")
        assert (seen(obj), seen(obj, 1)) == (2 * N, 2 * TOTAL)
        obj.detach(links[0])
        worker.run(f"lib.work({N})")
        assert seen(obj) == 3 * N


def test_all_functions_of_a_pattern_under_one_link(worker, library):
    with counter(UPROBE, f"uprobe.multi/{library}:bpfnb_st*", worker.pid) as obj:
        link = obj.attach("prog")
        assert [ids.link_of(fd).kind for fd in obj._links[link].fds] == ["uprobe_multi"]
        worker.run(f"lib.work({N})")
        assert (seen(obj), seen(obj, 1)) == (2 * N, 2 * TOTAL)


# The network


@pytest.mark.parametrize(
    ("section", "interface", "options"),
    [
        ("xdp", "bnb1", {}),
        ("xdp", "bnb1", {"mode": "generic"}),
        ("tc", "bnb1", {}),
        ("tc", "bnb0", {"direction": "egress"}),
        ("tcx/ingress", "bnb1", {}),
        ("tcx/egress", "bnb0", {}),
    ],
)
def test_packets_of_an_interface(network, section, interface, options):
    xdp = section == "xdp"
    with made(PACKET % (("xdp_md", "XDP_PASS") if xdp else ("__sk_buff", "0")), section) as obj:
        with network.netns():
            link = obj.attach("prog", interface=interface, **options)
        network.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        assert seen(obj) == N
        ends(obj, link, lambda: network.run(f"packets('bnb0', {N})"))


@pytest.mark.parametrize(
    ("section", "context", "verdict"), [("xdp", "xdp_md", "XDP_PASS"), ("tcx/ingress", "__sk_buff", "0")]
)
def test_replace_loses_no_packet(network, section, context, verdict):
    text = PACKET % (context, verdict)
    with made(text, section) as old, made(text, section) as new:
        with network.netns():
            link = old.attach("prog", interface="bnb1")
        network.start(f"packets('bnb0', {10 * N})")
        await_true(lambda: seen(old) >= N // 10)
        old.replace(link, new, "prog")
        network.finish()
        await_true(lambda: seen(old) + seen(new) >= 10 * N)
        assert seen(old) + seen(new) == 10 * N


@pytest.mark.parametrize(
    ("section", "options"),
    [
        ("cgroup_skb/ingress", {}),
        ("cgroup_skb/egress", {}),
        ("cgroup/skb", {"direction": "egress"}),
    ],
)
def test_packets_of_a_cgroup(section, options):
    program = "BPF_ARRAY(seen, u64, 2); int prog(struct __sk_buff *skb) { seen.increment(0); return 1; }"
    with made(program, section) as obj, new_cgroup() as cgroup, Worker(cgroup=cgroup) as worker:
        link = obj.attach("prog", cgroup=str(cgroup), **options)
        worker.run("udp(10)")
        assert seen(obj) == 10
        ends(obj, link, lambda: worker.run("udp(10)"))


@pytest.mark.parametrize(
    ("section", "code"),
    [("cgroup/connect4", "tcp(10)"), ("cgroup/sock_create", "udp(0)\nudp(0)\nudp(0)\nudp(0)\nudp(0)")],
)
def test_calls_in_a_cgroup(section, code):
    with (
        made("BPF_ARRAY(seen, u64, 2); int prog(void *ctx) { seen.increment(0); return 1; }", section) as obj,
        new_cgroup() as cgroup,
        Worker(cgroup=cgroup) as worker,
    ):
        link = obj.attach("prog", cgroup=str(cgroup))
        worker.run(code)
        assert seen(obj) == 10
        ends(obj, link, lambda: worker.run(code))


FILTER = "BPF_ARRAY(seen, u64, 2); int prog(struct __sk_buff *skb) { seen.increment(0); return %s; }"


def test_a_socket_filter_decides_on_each_datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        with made(FILTER % "0", "socket") as obj:
            link = obj.attach("prog", socket=receiver)
            for _ in range(10):
                sender.sendto(b"x", receiver.getsockname())
            assert seen(obj) == 10
            with pytest.raises(BlockingIOError):
                receiver.recv(1)
            obj.detach(link)
            sender.sendto(b"y", receiver.getsockname())
            assert receiver.recv(1) == b"y"
            assert seen(obj) == 10


def test_a_socket_filter_sees_an_interface(network):
    program = """
    BPF_ARRAY(seen, u64, 2);
    int prog(struct __sk_buff *skb) { if (skb->protocol == htons(0x88B5)) seen.increment(0); return 0; }"""
    with made(program, "socket") as obj:
        with network.netns():
            link = obj.attach("prog", interface="bnb1")
        network.run(f"packets('bnb0', {N})")
        await_true(lambda: seen(obj) >= N)
        assert seen(obj) == N
        obj.detach(link)
        network.run(f"packets('bnb0', {N})")
        assert seen(obj) == N


def test_listening_sockets_are_looked_up_in_a_namespace(network):
    with made(
        "BPF_ARRAY(seen, u64, 2); int prog(void *ctx) { seen.increment(0); return 1; }", "sk_lookup"
    ) as obj:
        link = obj.attach("prog", netns=network.pid)
        network.run("tcp(10)")
        assert seen(obj) == 10
        ends(obj, link, lambda: network.run("tcp(10)"))


def test_a_netfilter_hook_counts_local_datagrams(network):
    program = "BPF_ARRAY(seen, u64, 2); int prog(void *ctx) { seen.increment(0); return 1; }"
    with made(program, "netfilter") as obj:
        try:
            with network.netns():
                link = obj.attach("prog", hook="output", pf="ipv4")
        except KernelFeatureMissing as error:
            pytest.skip(error.message)
        network.run("udp(10)")
        assert seen(obj) == 10
        ends(obj, link, lambda: network.run("udp(10)"))


@pytest.mark.parametrize(
    ("section", "context", "length"),
    [("sk_msg", "sk_msg_md", "size"), ("sk_skb/stream_verdict", "__sk_buff", "len")],
)
def test_programs_of_a_socket_map_see_each_message(section, context, length):
    program = """
    BPF_ARRAY(seen, u64, 2);
    BPF_SOCKHASH(sockets, u32, 4);
    int prog(struct %s *ctx) { seen.increment(0); seen.increment(1, ctx->%s); return SK_PASS; }"""
    with made(program % (context, length), section) as obj, socket.create_server(("127.0.0.1", 0)) as server:
        link = obj.attach("prog")
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
            member = client if section == "sk_msg" else peer
            obj.update("sockets", bytes(4), member.fileno().to_bytes(4, "little"))
            for _ in range(10):
                client.sendall(b"y" * 100)
                assert peer.recv(100, socket.MSG_WAITALL) == b"y" * 100
            assert (seen(obj), seen(obj, 1)) == (10, 1000)
            obj.delete("sockets", bytes(4))
        obj.detach(link)


def test_sockops_see_the_handshakes_of_a_cgroup():
    program = """
    BPF_ARRAY(seen, u64, 2);
    int prog(struct bpf_sock_ops *ctx) {
        if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB) seen.increment(0);
        if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) seen.increment(1);
        return 1;
    }"""
    with made(program, "sockops") as obj, new_cgroup() as cgroup, Worker(cgroup=cgroup) as inside:
        obj.attach("prog", cgroup=str(cgroup))
        inside.run("tcp(25)")
        assert (seen(obj), seen(obj, 1)) == (25, 25)


def test_a_reuseport_program_is_asked_for_each_datagram():
    with (
        made("BPF_ARRAY(seen, u64, 2); int prog(void *ctx) { seen.increment(0); return SK_PASS; }", "sk_reuseport") as obj,
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):  # fmt: skip
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        link = obj.attach("prog", socket=server)
        for _ in range(10):
            client.sendto(b"x", server.getsockname())
        assert seen(obj) == 10
        obj.detach(link)
        client.sendto(b"x", server.getsockname())
        assert seen(obj) == 10


# Lives


def test_a_killed_process_leaves_nothing(library):
    child = f"""
import json, sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from workloads import object_ids
from test_attach_fd import COUNT, made, UPROBE
places = {{"prog": ["uprobe/{library}:bpfnb_step", "perf_event", "tracepoint/syscalls/sys_enter_getppid", "raw_tp/sys_enter"]}}
obj = made(COUNT + UPROBE.replace("PT_REGS_PARM1(ctx)", "0"), places)
for name in obj.programs:
    obj.attach(name, **({{"frequency": 49}} if name == "prog#2" else {{}}))
print(json.dumps(object_ids(obj)), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        held = json.loads(process.stdout.readline())
        assert len(held["link"]) == 3 + os.cpu_count()
        assert len(held["program"]) == 4
        assert all(ids.exists("link", number) for number in held["link"])
        process.kill()
        process.wait()
    assert not left_over(held)


def test_closing_leaves_nothing(library):
    descriptors = set(os.listdir("/proc/self/fd"))
    obj = counter(UPROBE, f"uprobe/{library}:bpfnb_step", 0)
    obj.attach("prog")
    held = object_ids(obj)
    assert held["link"]
    obj.close()
    assert not left_over(held)
    assert set(os.listdir("/proc/self/fd")) == descriptors


# Errors

ERRORS = [
    ("tracepoint/syscalls/sys_enter_getppidd", {}),
    ("tracepoint", {}),
    ("tracepoint", {"tracepoint": "sched:sched_swich"}),
    ("raw_tp/sched_swich", {}),
    ("kprobe/do_sys_openat2", {}),
    ("kretprobe/no_such_function", {}),
    ("ksyscall/getppid", {}),
    ("kprobe.multi/do_sys_open*", {}),
    ("uprobe", {"symbol": "bpfnb_stepp"}),
    ("uprobe", {"symbol": "bpfnb_step", "pid": 2**22 + 1}),
    ("uprobe", {}),
    ("uprobe", {"binary": "libnosuchthing", "symbol": "x"}),
    ("uprobe", {"binary": "/etc/passwd", "symbol": "x"}),
    ("uprobe", {"offset": 10**12}),
    ("uprobe.multi", {"symbol": "nothing_like_*"}),
    ("usdt", {"provider": "bpfnb", "probe": "tock"}),
    ("usdt", {"provider": "bpfnb", "probe": "tick", "pid": 2**22 + 1}),
    ("perf_event", {"event": "cpu-clok"}),
    ("perf_event", {"pid": 2**22 + 1}),
    ("perf_event", {"event": "cycles"}),
    ("xdp", {}),
    ("xdp", {"interface": "nosuch0"}),
    ("xdp", {"interface": "lo", "mode": "native"}),
    ("tcx/ingress", {"interface": "nosuch0"}),
    ("cgroup_skb/ingress", {"cgroup": "no/such"}),
    ("cgroup_skb/ingress", {"interface": "lo"}),
    ("cgroup/connect4", {"cgroup": "nosuch"}),
    ("sk_lookup", {"netns": "/run/netns/nosuch"}),
    ("sk_msg", {}),
    ("socket", {}),
    ("socket", {"socket": 9999}),
    ("action", {}),
    ("lwt_in", {}),
]


@pytest.fixture(scope="module")
def plain():
    """A bcc.BPF whose function ``prog`` can be loaded as anything."""
    bpf = bpfnb.bcc.compile("int prog(void *ctx) { return 1; }", attach=False)
    yield bpf
    bpf.cleanup()


@pytest.mark.parametrize(("section", "options"), ERRORS, ids=lambda value: str(value))
def test_errors_are_those_of_libbpf_programs(plain, library, section, options):
    if section.split("/")[0] in ("uprobe", "uprobe.multi", "usdt"):
        options = {"binary": str(library), **options}
    found: list[BpfnbError] = []
    with load(f'SEC("{section}") int prog(void *ctx) {{ return 1; }}') as obj:
        with pytest.raises((AttachError, KernelFeatureMissing)) as caught:
            obj.attach("prog", **options)
        found.append(caught.value)
    fd = load_function(plain, "prog", section)
    info = ProgramInfo("prog", section, kind_name(section), attach_name(section), 0, auto_attach=True)
    with pytest.raises((AttachError, KernelFeatureMissing)) as caught:
        attach(Program(info, 0, fd, options, {}, {}, []))
    os.close(fd)
    found.append(caught.value)
    by_libbpf, by_fd = found
    assert (type(by_fd), by_fd.message, by_fd.hints, by_fd.errno) == (
        type(by_libbpf),
        by_libbpf.message,
        by_libbpf.hints,
        by_libbpf.errno,
    )
