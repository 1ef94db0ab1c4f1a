"""What a guest sees of this machine: folders that were named, to read; no others, no network; limits that end it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import bpfnb
import bpfnb.vm
from bpfnb.compile.cache import cache_dir
from bpfnb.errors import BadValue, MissingDependency
from bpfnb.vm.folders import split

SYSTEM = [path for path in ("/usr", "/lib", "/lib64") if Path(path).exists()]
READ = """
u64 opened = 0;
SEC("tp/syscalls/sys_enter_openat") int go(struct trace_event_raw_sys_enter *ctx)
{
    char comm[16], name[8] = {};
    bpf_get_current_comm(comm, 16);
    bpf_probe_read_user_str(name, 8, (void *)ctx->args[1]);
    if (comm[0] == 'p' && comm[1] == 'y' && name[1] == 'g' && name[2] == 'i' && name[3] == 'v')
        opened++;
    return 0;
}
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "kept").write_text("words\n")
    (folder / "within").symlink_to("kept")
    secret = tmp_path_factory.mktemp("other") / "secret"
    secret.write_text("secret")
    (folder / "outside").symlink_to(secret)
    (folder / "above").symlink_to("..")
    return folder


@pytest.fixture(scope="module")
def vm(given: Path) -> Iterator[bpfnb.vm.Vm]:
    try:
        machine = bpfnb.vm.start("6.12", folders={given: "/given", **{path: path for path in SYSTEM}})
    except MissingDependency as error:
        pytest.skip(str(error))
    with machine:
        yield machine


def test_a_folder_is_read_in_the_guest_as_it_is_now(vm, given):
    assert vm.folders == {"/given": given, **{path: Path(path).resolve() for path in SYSTEM}}
    assert vm.run("cat /given/kept /given/within").stdout == "words\nwords\n"
    (given / "later").write_text("later")
    assert vm.run("cat /given/later").stdout == "later"
    (given / "later").write_text("changed")
    assert vm.run("cat /given/later").stdout == "changed"
    (given / "later").unlink()
    assert sorted(vm.run("ls /given").stdout.split()) == ["above", "kept", "outside", "within"]


def test_root_of_the_guest_cannot_write_to_a_folder(vm, given):
    before = (given / "kept").stat()
    attempts = "echo x > /given/{0}; rm -f /given/kept; mv /given/kept /given/{0}; chmod 777 /given/kept; mkdir /given/{0}; ln /given/kept /given/{0}"
    said = vm.run(f"id -u; {attempts.format('first')}").stderr
    assert said.count("Read-only file system") == 6
    # A mount that may write: qemu refuses all the same.
    device = vm.run("grep ' /given ' /proc/mounts | cut -d ' ' -f 1", check=True).stdout.strip()
    mounted = f"mount -t 9p -o trans=virtio,rw {device} /given"
    vm.run(f"umount /given && {mounted}", check=True)
    said = vm.run(attempts.format("second")).stderr
    assert said.count("Read-only file system") == 6
    assert sorted(os.listdir(given)) == ["above", "kept", "outside", "within"]
    after = (given / "kept").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_nlink) == (before.st_mode, before.st_mtime_ns, 1)
    assert (given / "kept").read_text() == "words\n"


def test_links_lead_to_places_of_the_guest(vm, given):
    done = vm.run("cat /given/outside")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No such file" in done.stderr
    names = vm.run("ls /given/above/ /given/..", check=True).stdout
    assert "proc" in names.split()
    assert given.name not in names


def test_the_python_of_this_machine_runs_in_the_guest_and_is_traced(vm):
    """With /usr, /lib and /lib64 of the host in the places of its own, the guest's programs still work."""
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no Python in /usr")
    script = "print(open('/given/kept').read() * 2)"
    with bpfnb.load(READ, name="read", on=vm) as read:
        assert vm.run(["/usr/bin/python3", "-c", script], check=True).stdout == "words\nwords\n\n"
        assert read.vars.opened == 1
    assert vm.run("ls -d /guest; id -u", check=True).stdout == "/guest\n0\n"


def test_other_guests_have_folders_of_their_own(vm, tmp_path):
    (tmp_path / "b").write_text("of the second")
    with bpfnb.vm.start("6.12", folders=[tmp_path]) as other:
        assert other.run(["cat", f"{tmp_path}/b"], check=True).stdout == "of the second"
        assert other.run("ls /given").returncode == 1
        assert vm.run(["ls", str(tmp_path)]).returncode == 1
        # The devices that the snapshot has for more folders show nothing else.
        for number in (1, 2, 3):
            other.run(f"mkdir -p /tmp/{number}; mount -t 9p -o trans=virtio given{number} /tmp/{number}")
            assert other.run(f"ls /tmp/{number}").stdout in ("b\n", "")


def test_what_must_not_be_seen_is_refused(tmp_path, monkeypatch):
    home = tmp_path / "home" / "me"
    (home / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "link").symlink_to(home)
    for path in ("/", "~", home, home.parent, tmp_path / "link", home / "project" / ".."):
        with pytest.raises(BadValue, match="holds your home folder"):
            bpfnb.vm.start("6.12", folders=[path])
    for path in ("/proc", "/sys/kernel", "/dev/shm"):
        with pytest.raises(BadValue, match="is of this machine's kernel"):
            bpfnb.vm.start("6.12", folders=[path])
    with pytest.raises(BadValue, match="absent does not exist"):
        bpfnb.vm.start("6.12", folders=["absent"])
    with pytest.raises(BadValue, match="/etc/passwd is no folder") as caught:
        bpfnb.vm.start("6.12", folders=["/etc/passwd"])
    assert "vm.put" in str(caught.value.hints)
    with pytest.raises(BadValue, match="a list"):
        bpfnb.vm.start("6.12", folders="/usr")
    for place in ("data", "/", "/guest/bin", "/sys/x", "/a/../proc"):
        with pytest.raises(BadValue, match=r"no place in the guest|nothing can be put over"):
            bpfnb.vm.start("6.12", folders={tmp_path / "home" / "me" / "project": place})
    with pytest.raises(BadValue, match="cannot both be at /x of the guest"):
        bpfnb.vm.start("6.12", folders={home / "project": "/x", "/usr": "/x"})
    assert bpfnb.vm.machines.keys() <= {"6.12"}


def test_folders_of_a_command_line():
    assert split("~/a:/b/c") == ("~/a", "/b/c")
    assert split("a:b") == ("a:b", "")
    assert split("/x:y:/z") == ("/x:y", "/z")


def test_a_folder_under_the_home_that_was_named_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    (tmp_path / "project, and: more").mkdir()
    (tmp_path / "project, and: more" / "script").write_text("echo $((6 * 7))")
    with bpfnb.vm.start("6.12", folders=[tmp_path / "project, and: more"]) as vm:
        assert vm.run(["sh", f"{tmp_path}/project, and: more/script"]).stdout == "42\n"


def test_the_guest_has_no_network_but_its_own(vm):
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        assert vm.run(f"nc -w 2 127.0.0.1 {port} < /dev/null").returncode == 1
        with pytest.raises(BlockingIOError):
            listener.accept()
    kinds = vm.run("cat /sys/bus/pci/devices/*/class").stdout.split()
    assert kinds
    assert not [kind for kind in kinds if kind.startswith("0x02")]  # network controllers
    assert vm.run("ip route").stdout == ""
    links = vm.run("ls /sys/class/net").stdout.split()
    assert "lo" in links
    assert not [name for name in links if name.startswith(("eth", "en"))]


def test_nobody_else_can_reach_a_guest(vm):
    """Its sockets are pairs, without a name; and its memory is in a folder that only the user may enter."""
    named = {
        line.split()[6]
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]
        if len(line.split()) > 7
    }
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == vm._machine.pid]
    held = [os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = {name[8:-1] for name in held if name.startswith("socket:")}
    assert len(sockets) >= 2
    assert not sockets & named
    templates = cache_dir() / "vm" / "templates"
    for folder in (templates, *(path for path in templates.iterdir() if path.is_dir())):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_memory_is_limited(vm):
    total = int(vm.run("grep MemTotal /proc/meminfo").stdout.split()[1])
    assert 400 << 10 < total < 512 << 10
    assert vm.run("dd if=/dev/zero of=/dev/null bs=100M count=1").returncode == 0
    done = vm.run("dd if=/dev/zero of=/dev/null bs=900M count=1")
    assert done.returncode == 1
    assert "memory" in done.stderr


@pytest.mark.parametrize(
    ("limit", "command", "reason"),
    [
        ({"cpu_hours": 4 / 3600}, "while :; do :; done", r"its processor time is used up \(4 s\)"),
        ({"hours": 5 / 3600}, "sleep 1000", r"its life time is over \(5 s\)"),
    ],
    ids=["processor", "life"],
)
def test_a_limit_ends_the_guest_and_is_said(limit, command, reason):
    with pytest.raises(bpfnb.vm.GuestGone, match=reason), bpfnb.vm.start("6.12", **limit) as vm:
        vm.run(command)
    with pytest.raises(BadValue, match="cannot live for 0 hours"):
        bpfnb.vm.start("6.12", hours=0)
