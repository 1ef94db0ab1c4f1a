"""Every cgroup section fires for the processes of its cgroup, and for nobody else."""

from __future__ import annotations

import errno
import os

import pytest
from workloads import Worker, WorkFailed, await_true, left_over, load, new_cgroup, object_ids, u64

from bpfnb.errors import AttachError, KernelFeatureMissing
from bpfnb.kernel.system import cgroup_root

PROGRAM = """
u64 seen;
SEC("{section}") int prog({context} *ctx) {{ __sync_fetch_and_add(&seen, 1); return 1; }}
"""
SOCKET = "s = socket.socket(); s.close()"
CONNECTED = "import contextlib; tcp(1)"

# section: context, code, how often that code meets the hook
HOOKS = {
    "cgroup_skb/ingress": ("struct __sk_buff", "udp(10)", 10),
    "cgroup_skb/egress": ("struct __sk_buff", "udp(10)", 10),
    "cgroup/skb": ("struct __sk_buff", "udp(10)", 10),
    "cgroup/sock": ("struct bpf_sock", f"for _ in range(10): {SOCKET}", 10),
    "cgroup/sock_create": ("struct bpf_sock", f"for _ in range(10): {SOCKET}", 10),
    "cgroup/sock_release": ("struct bpf_sock", f"for _ in range(10): {SOCKET}", 10),
    "cgroup/connect4": ("struct bpf_sock_addr", "tcp(10)", 10),
    "cgroup/connect6": ("struct bpf_sock_addr", "tcp(10, '::1')", 10),
    "cgroup/bind4": ("struct bpf_sock_addr", "for _ in range(10): udp(0)", 10),
    "cgroup/bind6": ("struct bpf_sock_addr", "for _ in range(10): tcp(0, '::1')", 10),
    "cgroup/post_bind4": ("struct bpf_sock", "for _ in range(10): udp(0)", 10),
    "cgroup/post_bind6": ("struct bpf_sock", "for _ in range(10): tcp(0, '::1')", 10),
    "cgroup/sendmsg4": ("struct bpf_sock_addr", "udp(10)", 10),
    "cgroup/recvmsg4": ("struct bpf_sock_addr", "udp(10)", 10),
    "cgroup/sendmsg6": ("struct bpf_sock_addr", "udp6(10)", 10),
    "cgroup/recvmsg6": ("struct bpf_sock_addr", "udp6(10)", 10),
    "cgroup/getsockname4": ("struct bpf_sock_addr", "names('127.0.0.1', 10)", 10),
    "cgroup/getpeername4": ("struct bpf_sock_addr", "names('127.0.0.1', 10)", 10),
    "cgroup/getsockname6": ("struct bpf_sock_addr", "names('::1', 10)", 10),
    "cgroup/getpeername6": ("struct bpf_sock_addr", "names('::1', 10)", 10),
    "cgroup/connect_unix": ("struct bpf_sock_addr", "unix(10)", 10),
    "cgroup/getsockopt": (
        "struct bpf_sockopt",
        "s = socket.socket()\nfor _ in range(10): s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)",
        10,
    ),
    "cgroup/setsockopt": (
        "struct bpf_sockopt",
        "s = socket.socket()\nfor _ in range(10): s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)",
        10,
    ),
    "cgroup/sysctl": (
        "struct bpf_sysctl",
        "for _ in range(10): open('/proc/sys/kernel/pid_max').read(4)",
        10,
    ),
    "cgroup/dev": ("struct bpf_cgroup_dev_ctx", "opens('/dev/null', 10)", 10),
    "sockops": ("struct bpf_sock_ops", "tcp(10)", None),
}
MORE = """
def udp6(n):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.bind(("::1", 0))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
            for _ in range(n):
                client.sendto(b"x", server.getsockname()[:2])
                server.recvfrom(1)

def names(host, n):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((host, 0))
        server.listen(1)
        raw = ctypes.create_string_buffer(28)
        libc.getsockname(server.fileno(), raw, ctypes.byref(ctypes.c_uint(28)))
        port = struct.unpack_from(">H", raw.raw, 2)[0]
        client.connect((host, port))
        for _ in range(n - 1):
            client.getsockname()
        for _ in range(n):
            client.getpeername()

def unix(n):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\\0bpfnb-test-%d" % os.getpid())
        server.listen(n)
        for _ in range(n):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.getsockname())
"""


@pytest.fixture
def cgroup():
    with new_cgroup() as path:
        yield path


@pytest.fixture
def worker(cgroup):
    with Worker(cgroup=cgroup) as made:
        made.run(MORE)
        yield made


@pytest.mark.parametrize("section", HOOKS)
def test_fires_in_its_cgroup_only(cgroup, worker, section):
    context, code, expected = HOOKS[section]
    with load(PROGRAM.format(section=section, context=context)) as obj, Worker() as outsider:
        assert obj.programs["prog"].auto_attach  # by default the root
        link = obj.attach("prog", cgroup=str(cgroup))
        worker.run(code)
        seen = u64(obj.read_bytes(".bss", 0, 8))
        assert seen == expected if expected else seen >= 30  # sockops: several calls a connection
        outsider.run(MORE + code)
        assert u64(obj.read_bytes(".bss", 0, 8)) == seen
        held = object_ids(obj)
        obj.detach(link)
        worker.run(code)
        assert u64(obj.read_bytes(".bss", 0, 8)) == seen
    assert not left_over(held)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_direction_of_cgroup_skb(cgroup, worker, direction):
    source = PROGRAM.format(section="cgroup/skb", context="struct __sk_buff").replace("return 1", "return 0")
    with load(source) as obj:
        obj.attach("prog", cgroup=str(cgroup), direction=direction)
        # dropped on the way out, sending fails; on the way in, it does not
        code = "s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', 9))"
        if direction == "egress":
            with pytest.raises(WorkFailed) as failed:
                worker.run(code)
            assert failed.value.errno == errno.EPERM
        else:
            worker.run(code)


def test_a_program_denies(cgroup, worker):
    source = PROGRAM.format(section="cgroup/connect4", context="struct bpf_sock_addr").replace(
        "return 1", "return 0"
    )
    with load(source) as obj:
        obj.attach("prog", cgroup=cgroup.name)  # relative to the root
        with pytest.raises(WorkFailed) as failed:
            worker.run("tcp(1)")
        assert failed.value.errno == errno.EPERM
    worker.run("tcp(1)")


def test_the_default_is_the_root(worker):
    source = """
    const volatile u32 wanted;
    u64 seen;
    SEC("cgroup/sock_create") int prog(struct bpf_sock *ctx)
    {
        if (bpf_get_current_pid_tgid() >> 32 == wanted)
            __sync_fetch_and_add(&seen, 1);
        return 1;
    }
    """
    with load(source, wanted=worker.pid) as obj:
        obj.attach("prog")
        worker.run(f"for _ in range(10): {SOCKET}")
        assert u64(obj.read_bytes(".bss", 0, 8)) == 10


def test_unknown_cgroup_names_the_nearest(cgroup):
    with load(PROGRAM.format(section="cgroup/connect4", context="struct bpf_sock_addr")) as obj:
        with pytest.raises(AttachError, match=cgroup.name):
            obj.attach("prog", cgroup=str(cgroup)[:-1])
        with pytest.raises(AttachError, match="no cgroup"):
            obj.attach("prog", cgroup="/nowhere/at/all")
        assert obj.link_ids() == []


def test_replace_swaps_without_a_gap(cgroup, worker, tmp_path):
    """Connections go on all the while; each is seen by exactly one of the two programs."""
    source = PROGRAM.format(section="cgroup/connect4", context="struct bpf_sock_addr")
    with load(source) as old, load(source) as new:
        link = old.attach("prog", cgroup=str(cgroup))
        kernel_link = old.link_ids(link)
        enough = tmp_path / "enough"
        worker.start(f"result = until({str(enough)!r}, tcp)")
        await_true(lambda: u64(old.read_bytes(".bss", 0, 8)) >= 100)
        moved = old.replace(link, new, "prog")
        await_true(lambda: u64(new.read_bytes(".bss", 0, 8)) >= 100)
        enough.touch()
        made = worker.finish()
        counts = [u64(obj.read_bytes(".bss", 0, 8)) for obj in (old, new)]
        assert sum(counts) == made
        assert new.link_ids(moved) == kernel_link
        assert old.link_ids() == []
        old.close()
        worker.run("tcp(10)")
        assert u64(new.read_bytes(".bss", 0, 8)) == counts[1] + 10


def test_replace_refuses_another_kind_and_keeps_the_old(cgroup, worker):
    one = load(PROGRAM.format(section="cgroup/connect4", context="struct bpf_sock_addr"))
    other = load(PROGRAM.format(section="cgroup/sock_create", context="struct bpf_sock"))
    with one, other:
        link = one.attach("prog", cgroup=str(cgroup))
        with pytest.raises(AttachError):
            one.replace(link, other, "prog")
        worker.run("tcp(3)")
        assert u64(one.read_bytes(".bss", 0, 8)) == 3


def test_lsm_cgroup_fires_or_is_missing(cgroup, worker):
    source = """
    u64 seen;
    SEC("lsm_cgroup/socket_create") int BPF_PROG(prog, int family) { seen++; return 1; }
    """
    missing = None
    try:
        obj = load(source)
    except KernelFeatureMissing as error:
        missing = error
    if missing is not None:
        assert missing.feature == "lsm_cgroup"
        assert missing.hints
        return
    with obj:
        obj.attach("prog", cgroup=str(cgroup))
        worker.run(f"for _ in range(10): {SOCKET}")
        assert u64(obj.read_bytes(".bss", 0, 8)) == 10


def test_the_root_is_a_cgroup_v2_mount():
    root = cgroup_root()
    assert (root / "cgroup.procs").exists()
    assert os.path.ismount(root)
