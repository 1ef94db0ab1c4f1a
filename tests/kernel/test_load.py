"""Loading: settings, pins, errors with their cause, threads, forks, capabilities; nothing left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from workloads import Worker, await_true, left_over, load, new_cgroup, object_ids, u64

from bpfnb.compile import Source
from bpfnb.compile import compile as compile_source
from bpfnb.errors import AttachError, LoadError, MapTypeError, ObjectClosed, UnknownName, VerifierError
from bpfnb.kernel import ids, syscall
from bpfnb.kernel.binaries import find_binary
from bpfnb.kernel.libbpf import capture, version
from bpfnb.kernel.local import LocalBackend
from bpfnb.kernel.sections import known_sections

HASH = """
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u64); __uint(max_entries, %d); } m SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx) { return &m == 0; }
"""


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def k32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def test_initial_values_of_globals():
    source = """
    const volatile u64 constant = 1;
    u32 initialised = 2;
    u16 zero;
    char text[8] = "abc";
    struct { u64 sum; char first; } out;
    SEC("syscall") int prog(void *ctx)
    { out.sum = constant * 1000000 + initialised * 1000 + zero; out.first = text[0]; return 0; }
    """
    values = {
        "constant": (7).to_bytes(8, "little"),
        "initialised": k32(8),
        "zero": b"\x09\0",
        "text": b"z\0\0\0\0\0\0\0",
    }
    with load(source, globals=values) as obj:
        obj.test_run("prog")
        data = obj.read_bytes(".bss", 0, obj.maps[".bss"].value_size)
        assert (7_008_009).to_bytes(8, "little") + b"z" in data
    with pytest.raises(UnknownName, match="initialised"):
        load(source, globals={"initialized": k32(8)})
    with pytest.raises(MapTypeError, match="8 bytes, not 4"):
        load(source, globals={"constant": k32(8)})


def test_kernel_configuration_is_filled_in():
    source = """
    extern int LINUX_KERNEL_VERSION __kconfig;
    extern bool CONFIG_NO_SUCH_OPTION __kconfig __weak;
    SEC("syscall") int prog(void *ctx) { return CONFIG_NO_SUCH_OPTION ? 0 : LINUX_KERNEL_VERSION >> 16; }
    """
    with load(source) as obj:
        assert obj.maps[".kconfig"].internal == ".kconfig"
        assert obj.test_run("prog")[0] == int(os.uname().release.split(".")[0])


def test_max_entries_are_settled_before_loading():
    with load(HASH % 16, max_entries={"m": 123}) as obj:
        assert obj.maps["m"].max_entries == 123
        assert obj.warnings == ()
    with load(HASH % 0) as obj:
        assert obj.maps["m"].max_entries == 10240
        assert "'m' has max_entries 0" in obj.warnings[0]
    with pytest.raises(UnknownName, match="no map 'n'"):
        load(HASH % 16, max_entries={"n": 1})


def test_a_ring_buffer_may_name_its_record_and_no_size():
    source = """
    struct event { u64 a, b; };
    struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __type(value, struct event); } events SEC(".maps");
    SEC("syscall") int prog(void *ctx)
    {
        struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
        if (!e) return 1;
        e->a = e->b = 5;
        bpf_ringbuf_submit(e, 0);
        return 0;
    }
    """
    with load(source) as obj:
        assert obj.maps["events"].max_entries == 1 << 20
        assert obj.maps["events"].value_size == 0
        assert obj.maps["events"].value_type > 0
        assert "bytes" in obj.warnings[0]
        assert obj.test_run("prog")[0] == 0


def test_skipped_programs_are_not_loaded():
    source = HASH % 4 + 'SEC("tp/no/such") int broken(void *ctx) { return *(int *)0; }'
    with pytest.raises(VerifierError):
        load(source)
    with load(source, skip=frozenset({"broken"})) as obj:
        assert list(obj.programs) == ["prog"]
        with pytest.raises(UnknownName):
            obj.attach("broken")


def test_a_function_without_a_section_is_told_to_say_where_it_runs():
    with pytest.raises(LoadError, match="nothing says where 'count' runs") as caught:
        load("int count(void *ctx) { return 0; }")
    assert "SEC(" in caught.value.hints[0]


def test_a_map_is_shared_by_descriptor():
    with load(HASH % 16) as first, load(HASH % 16, reuse={"m": first.maps["m"].fd}) as second:
        first.update("m", k32(1), bytes(8))
        assert second.maps["m"].id == first.maps["m"].id
        assert second.lookup("m", k32(1)) == bytes(8)
        with pytest.raises(LoadError, match="cannot serve as map 'm'"):
            load(HASH % 16, reuse={"m": 10_000})


@pytest.fixture
def pin():
    path = Path("/sys/fs/bpf/bpfnb-test") / str(os.getpid())
    yield path
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def test_pinned_maps_outlive_and_are_found_again(pin):
    with load(HASH % 16, pins={"m": str(pin)}) as obj:
        number = obj.maps["m"].id
        obj.update("m", k32(3), (33).to_bytes(8, "little"))
    assert pin.exists()
    assert ids.exists(syscall.OBJ_MAP, number)
    with load(HASH % 16, pins={"m": str(pin)}) as obj:
        assert obj.maps["m"].id == number
        assert u64(obj.lookup("m", k32(3))) == 33
    with pytest.raises(LoadError, match="another type or size") as caught:
        load(HASH % 17, pins={"m": str(pin)})
    assert str(pin) in caught.value.message


def test_pins_need_a_bpf_file_system(tmp_path):
    from bpfnb.errors import NotPermitted

    with pytest.raises(NotPermitted, match="BPF file system"):
        load(HASH % 16, pins={"m": str(tmp_path / "m")})


def test_verifier_log_is_complete():
    before = {p.id for p in ids.programs()}
    with pytest.raises(VerifierError) as caught:
        load(
            """
            SEC("tp/syscalls/sys_enter_getppid") int good(void *ctx) { return 0; }
            SEC("tp_btf/sched_switch") int BPF_PROG(bad_deref, bool p, struct task_struct *prev)
            { u64 x = (u64)prev->comm; return *(u64 *)(x * 8); }
            """
        )
    error = caught.value
    assert (error.program, error.section, error.errno) == ("bad_deref", "tp_btf/sched_switch", 13)
    assert error.reason
    assert error.reason in error.log
    assert error.log.startswith("0: R1=ctx()")
    assert "processed" in error.log.splitlines()[-1]
    assert not [p for p in ids.programs() if p.id not in before and p.name in ("good", "bad_deref")]


def test_a_huge_verifier_log_is_not_cut():
    body = "\n".join(f"if (bpf_get_prandom_u32() > {n}) sum += {n};" for n in range(1500))
    with pytest.raises(VerifierError) as caught:
        load(
            f'SEC("tp/syscalls/sys_enter_getppid") int prog(void *ctx) {{ u64 sum = 0; {body}\nreturn *(u64 *)sum; }}'
        )
    assert len(caught.value.log) > 100_000
    assert "processed" in caught.value.log.splitlines()[-1]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ('SEC("tp_btf/sched_swich") int BPF_PROG(prog) { return 0; }', AttachError, "sched_switch"),
        ('SEC("iter/tasks") int prog(void *ctx) { return 0; }', AttachError, "no iterator 'tasks'"),
        ('SEC("xpd") int prog(void *ctx) { return 0; }', LoadError, "did you mean xdp"),
        ('SEC("fentry/do_sys_openat") int BPF_PROG(prog) { return 0; }', AttachError, "do_sys_openat2"),
        (
            'extern int bpf_no_such_kfunc(void) __ksym;\nSEC("tc") int prog(void *c) { return bpf_no_such_kfunc(); }',
            LoadError,
            "no 'bpf_no_such_kfunc'",
        ),
        ((HASH % 16).replace("_HASH", "_LPM_TRIE"), LoadError, "BPF_F_NO_PREALLOC"),
        (
            HASH % 2_000_000_000,
            LoadError,
            r"map 'm' \(hash, key_size 4, value_size 8, max_entries 2000000000\)",
        ),
    ],
)
def test_refusals_name_the_cause(source, error, message, capfd):
    with pytest.raises(error, match=message) as caught:
        load(source)
    assert "ulimit" not in str(caught.value) + caught.value.log
    assert capfd.readouterr() == ("", "")  # libbpf prints nothing


def test_not_an_elf():
    with pytest.raises(LoadError, match="not a loadable BPF object"):
        LocalBackend().load(b"hello")
    with pytest.raises(LoadError):
        LocalBackend().load(b"\x7fELF" + bytes(100))


def test_sections_known_here():
    assert {"xdp", "tc", "tcx/ingress", "kprobe", "iter", "cgroup/connect4", "netfilter"} <= set(
        known_sections()
    )
    assert version().split(".")[0].isdigit()


def test_messages_of_two_threads_stay_apart():
    sources = [f'SEC("tp_btf/no_such_{n}") int BPF_PROG(prog) {{ return 0; }}' for n in range(2)]
    elfs = [compile_source(Source(source, "cell")).data for source in sources]
    wrong: list[str] = []

    def work(n: int) -> None:
        for _ in range(20):
            try:
                LocalBackend().load(elfs[n])
            except AttachError as error:
                if f"no_such_{n}" not in error.log or f"no_such_{1 - n}" in error.log:
                    wrong.append(error.log)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with capture() as said:
        pass
    assert said == []


def test_closing_leaves_nothing_and_descriptors_return():
    with load(HASH % 16):
        pass
    before = open_descriptors()
    held = []
    for _ in range(5):
        obj = load(HASH % 16)
        obj.attach("prog")
        obj.attach("prog", tracepoint="syscalls:sys_exit_getppid")
        held.append(object_ids(obj))
        obj.close()
    assert open_descriptors() == before
    for objects in held:
        assert len(objects["link"]) == 2
        assert not left_over(objects)


def test_failed_loads_leave_no_descriptor():
    with contextlib.suppress(LoadError):
        load((HASH % 16).replace("_HASH", "_LPM_TRIE"))
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(LoadError):
            load((HASH % 16).replace("_HASH", "_LPM_TRIE"))
    assert open_descriptors() == before


def test_an_unreachable_object_detaches():
    import gc

    obj = load(HASH % 16)
    obj.attach("prog")
    held = object_ids(obj)
    del obj
    gc.collect()
    assert not left_over(held)


def test_a_forked_child_neither_ends_nor_keeps_the_attachment():
    obj = load(HASH % 16)
    obj.attach("prog")
    obj.attach("prog", tracepoint="syscalls:sys_exit_getppid")
    held = object_ids(obj)
    go_read, go_write = os.pipe()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"?"
        try:
            obj.close()
            try:
                obj.lookup("m", k32(1))
            except ObjectClosed:
                answer = b"closed"
        finally:
            os.write(told_write, answer)
            os.read(go_read, 1)
            os._exit(0)
    assert os.read(told_read, 16) == b"closed"
    assert all(ids.exists(syscall.OBJ_LINK, number) for number in held["link"])
    assert obj.lookup("m", k32(1)) is None
    obj.close()
    assert not left_over({"link": held["link"]})  # although the child is still there
    os.write(go_write, b"x")
    os.waitpid(child, 0)
    assert not left_over(held)
    for fd in (go_read, go_write, told_read, told_write):
        os.close(fd)


def test_a_killed_process_leaves_nothing():
    with Worker() as worker:
        worker.run("from bpfnb.compile import compile, Source\nfrom bpfnb.kernel.local import LocalBackend")
        worker.run(f"obj = LocalBackend().load(compile(Source({HASH % 16!r}, 'cell')).data)")
        worker.run("obj.attach('prog')")
        held = {
            "link": worker.call("obj.link_ids()"),
            "program": worker.call("[p.id for p in obj.programs.values()]"),
            "map": worker.call("[m.id for m in obj.maps.values()]"),
        }
        assert all(ids.exists(kind, number) for kind, numbers in held.items() for number in numbers)
    assert not left_over(held)


def test_statistics_count_runs_exactly():
    source = """
    SEC("cgroup/sock_create") int prog(struct bpf_sock *ctx) { return 1; }
    """
    backend = LocalBackend()
    with new_cgroup() as cgroup, Worker(cgroup=cgroup) as worker, load(source) as obj:
        obj.attach("prog", cgroup=str(cgroup))
        create = "for _ in range(500): socket.socket().close()"
        with backend.statistics() as outer:
            with backend.statistics():
                pass  # the inner handle's end does not turn them off
            worker.run(create)
            outer.close()
            outer.close()
        stats = obj.stats()["prog"]
        assert stats.run_count == 500
        assert 0 < stats.run_time_ns < 500_000_000
        details = obj.details()["prog"]
        assert details.xlated_size > 0
        assert details.jited_size > 0
        assert details.verified_instructions > 0
        assert details.name == "prog"


def test_the_kernel_lists_what_is_loaded():
    with load(HASH % 16) as obj:
        obj.attach("prog")
        program = obj.programs["prog"].id
        assert program in {p.id for p in ids.programs()}
        assert obj.maps["m"].id in {m.id for m in ids.maps()}
        link = next(found for found in ids.links() if found.id == obj.link_ids()[0])
        assert (link.kind, link.program) == ("perf_event", program)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )


DROP = """
import ctypes, struct, sys
from bpfnb.errors import NotPermitted
from bpfnb.kernel.local import LocalBackend
libc = ctypes.CDLL(None, use_errno=True)
elf = open({elf!r}, "rb").read()
keep = sum(1 << number for number in {keep})
header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
low, high = keep & 0xffffffff, keep >> 32
data = ctypes.create_string_buffer(struct.pack("=IIIIII", low, low, 0, high, high, 0))
assert libc.capset(header, data) == 0
try:
    obj = LocalBackend().load(elf)
    obj.attach("prog", **{options})
except NotPermitted as error:
    print(*error.missing)
    assert error.hints and "ulimit" not in str(error) + error.log and "MEMLOCK" not in str(error) + error.log
else:
    print("loaded")
"""
NET_ADMIN, SYS_ADMIN, PERFMON, BPF = 12, 21, 38, 39


@pytest.mark.parametrize(
    ("section", "keep", "missing"),
    [
        ("tp/syscalls/sys_enter_getppid", [], "CAP_BPF CAP_PERFMON"),
        ("tp/syscalls/sys_enter_getppid", [BPF], "CAP_PERFMON"),
        ("xdp", [BPF], "CAP_NET_ADMIN"),
        ("xdp", [], "CAP_BPF CAP_NET_ADMIN"),
        ("raw_tp/sched_switch", [BPF, PERFMON], "loaded"),
        ("raw_tp/sched_switch", [SYS_ADMIN], "loaded"),
    ],
)
def test_missing_capabilities_are_named(tmp_path, section, keep, missing):
    elf = tmp_path / "prog.o"
    elf.write_bytes(
        compile_source(Source(f'SEC("{section}") int prog(void *ctx) {{ return 0; }}', "cell")).data
    )
    done = run_python(DROP.format(elf=str(elf), keep=keep, options={}))
    assert done.stdout.strip() == missing, done.stderr


def test_missing_libbpf_names_the_package():
    library = find_binary("libbpf.so.1")
    done = run_python(
        f"""
        import ctypes, sys
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(0x20000) == 0
        if libc.mount(None, b"/", None, ctypes.c_ulong(0x44000), None):  # without this others would see the next mount
            sys.exit("no private mounts")
        assert libc.mount(b"/dev/null", {os.fsencode(library.resolve())!r}, None, ctypes.c_ulong(4096), None) == 0
        from bpfnb.errors import MissingDependency
        from bpfnb.kernel.local import LocalBackend
        try:
            LocalBackend().load(b"")
        except MissingDependency as error:
            print(error)
        """
    )
    if "no private mounts" in done.stderr:
        pytest.skip("mounts cannot be made private here (a chroot)")
    assert "libbpf.so.1 was not found" in done.stdout, done.stderr
    assert "apt install libbpf1" in done.stdout


def test_detaching_many_at_once():
    with load(HASH % 16) as obj:
        calls = ("getppid", "getpid", "getuid")
        links = [
            obj.attach("prog", tracepoint=f"syscalls:sys_{end}_{call}")
            for end in ("enter", "exit")
            for call in calls
        ]
        with pytest.raises(AttachError, match="attached there already"):
            obj.attach("prog")
        held = obj.link_ids()
        assert len(held) == 6
        obj.detach(*links)
        assert not left_over({"link": held})
        obj.detach(*links)
        await_true(lambda: obj.link_ids() == [])
