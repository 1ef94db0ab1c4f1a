"""What Binder does, in a clean directory: build by ``binder/`` as an ordinary user, then all labs without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nobody
import pytest

from bpfnb.errors import MissingDependency
from bpfnb.lab import labs
from bpfnb.vm import kernels

ROOT = Path(__file__).parents[2]
SOLUTIONS = ROOT / "notebooks/labs/solutions"
KNOWN = (
    "npm_config_",
    "PIP_",
    "UV_",
    "SSL_",
    "NODE_",
    "REQUESTS_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Of the environment what says where packages come from."""
IN_PARALLEL = 2
SECONDS = 400

pytestmark = pytest.mark.timeout(2 * SECONDS)


class Binder:
    """A copy of what git knows, in a home of an ordinary user."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said = ""
        self.repository = home / "repository"
        self.python = home / "environment"
        self.environment = {
            **{key: value for key, value in os.environ.items() if key.startswith(KNOWN)},
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "PATH": f"{self.python}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "VIRTUAL_ENV": str(self.python),
        }
        if npm := shutil.which("npm"):
            registry = subprocess.run(
                [npm, "config", "get", "registry"], capture_output=True, text=True
            ).stdout
            self.environment["npm_config_registry"] = registry.strip()

    def give_kernel(self) -> None:
        """The kernel as it was unpacked before, where it was: what it takes to fetch one is tested elsewhere."""
        with suppress(MissingDependency):
            kernel = kernels.find("6.12")
            cache = self.home / ".cache/bpfnb/vm/kernels"
            shutil.copytree(kernel.folder, cache / kernel.folder.name)
            subprocess.run(
                ["chown", "-R", f"{nobody.NOBODY}:{nobody.NOBODY}", self.home / ".cache"], check=True
            )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """*words* in the repository as nobody, without capabilities; what is started there has no network but ``lo``."""
        command = nobody.command(*words)
        if words[0] == "binder/start":
            command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
        return subprocess.Popen(
            command,
            cwd=self.repository,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> str:
        done = self.start(*words)
        said, _ = done.communicate(timeout=SECONDS)
        assert done.returncode == 0, f"{' '.join(words)}\n{said}"
        return said


@pytest.fixture(scope="module")
def binder() -> Iterator[Binder]:
    """Built by the steps of repo2docker: requirements.txt, then postBuild; apt.txt has nothing that replay needs."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user, in a network namespace")
    with nobody.folder() as home:
        made = Binder(home)
        made.repository.mkdir()
        (home / "tmp").mkdir()
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            target = made.repository / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # removed and not yet committed
                shutil.copy(ROOT / name, target)
        subprocess.run(["chown", "-R", f"{nobody.NOBODY}:{nobody.NOBODY}", home], check=True)
        python = Path(sys.executable).resolve()
        beside = Path(sys.base_prefix, "bin/uv")  # which pyenv's uv, a script, would start
        uv = str(beside) if beside.exists() else shutil.which("uv")
        if uv:
            made.run(uv, "venv", "--quiet", "--python", str(python), str(made.python))
            made.run(uv, "pip", "install", "--quiet", "--no-cache", "-r", "binder/requirements.txt")
        else:
            made.run(str(python), "-m", "venv", str(made.python))
            made.run("pip", "install", "--quiet", "--no-cache-dir", "-r", "binder/requirements.txt")
        made.give_kernel()
        made.said = made.run("binder/postBuild")
        yield made


def test_every_lab_is_solved_in_replay_without_privileges_and_network(binder: Binder) -> None:
    solutions = sorted(f"notebooks/labs/solutions/{path.name}" for path in SOLUTIONS.glob("*.ipynb"))
    reports = [f"grades{part}.json" for part in range(IN_PARALLEL)]
    running = [
        binder.start("binder/start", "bpfnb", "lab", "grade", *solutions[part::IN_PARALLEL], "--to", report)
        for part, report in enumerate(reports)
    ]
    said = [process.communicate(timeout=SECONDS)[0] for process in running]
    grades = [one for report in reports for one in json.loads((binder.repository / report).read_text())]
    assert [one for one in grades if not one["passed"]] == [], said
    assert {(one["lab"], one["task"]) for one in grades} == {
        (lab.name, task) for lab in labs() for task in lab.tasks
    }
    assert [process.returncode for process in running] == [0] * IN_PARALLEL


IN_A_GUEST = """
import os
from IPython.core.interactiveshell import InteractiveShell
assert os.getuid() == 65534 and "CapEff:\\t0000000000000000" in open("/proc/self/status").read()
shell = InteractiveShell.instance()
for cell in (
    "%load_ext bpfnb\\nimport bpfnb, time",
    "%bpf vm start 6.12",
    '''%%bpf io --on 6.12
struct event { pid_t pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } events SEC(".maps");
SEC("kprobe/vfs_unlink") int go(void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, 16);
    bpf_ringbuf_submit(e, 0);
    return 0;
}''',
    "%%bpf vm sh\\ntouch /tmp/a /tmp/b\\nrm /tmp/a /tmp/b",
    "print(io.events.frame().comm.tolist(), io.origin)",
    "%bpf vm stop",
):
    shell.run_cell(cell).raise_error()
"""


def test_a_cell_is_run_in_a_disposable_kernel_without_privileges_and_network(binder: Binder) -> None:
    if "no disposable kernel in this image" in binder.said:
        assert "qemu" in binder.said or "apt" in binder.said, binder.said
        pytest.skip("no kernel or no qemu for the image")
    templates = binder.home / ".cache/bpfnb/vm/templates"
    before = sorted(templates.iterdir())
    said = binder.run("binder/start", "python", "-P", "-c", IN_A_GUEST)
    assert "['rm', 'rm'] virtual machine, Linux 6.12" in said
    assert sorted(templates.iterdir()) == before  # it resumed from what was made while the image was


def test_an_image_is_built_without_a_kernel_too(binder: Binder, tmp_path: Path) -> None:
    """Where neither qemu nor a mirror is."""
    empty = binder.home / "empty"
    empty.mkdir()
    os.chown(empty, nobody.NOBODY, nobody.NOBODY)
    said = binder.run("env", f"HOME={empty}", "BPFNB_QEMU=/nonexistent", "binder/postBuild")
    assert "no disposable kernel in this image" in said
    assert "lab01" in said
