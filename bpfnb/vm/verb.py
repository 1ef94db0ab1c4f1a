"""``vm`` in a notebook and in a terminal: what it does is a verb of its own, with its own options."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
from typing import Any

from bpfnb.commandline import UsageProblem, Verb, run
from bpfnb.views.plain import Preformatted, Table
from bpfnb.vm import kernels, machine
from bpfnb.vm.folders import split

__all__ = ["NOTEBOOK", "TERMINAL", "in_guest", "in_notebook", "in_terminal"]

_LINE = re.compile(
    r"\s*vm\s+sh\b(?P<options>(?:\s+(?:--name[=\s]\s*\S+|--help|-h)(?=\s|$))*)\s*(?P<command>.*)", re.DOTALL
)
_HOOKS = ("kprobe.multi", "lsm", "uprobe.multi", "tcx", "netfilter", "arena", "sched_ext", "kprobe.session")


def in_notebook(args: argparse.Namespace) -> Any:
    """``%bpf vm ...``"""
    return run(args.words or ["list"], NOTEBOOK, "%bpf vm")


def in_terminal(args: argparse.Namespace) -> Any:
    """``bpfnb vm ...``"""
    return run(args.words, TERMINAL, "bpfnb vm", NOTEBOOK)


def in_guest(line: str, body: str = "") -> None:
    """``vm sh COMMAND``, or the cell below ``vm sh``: as it stands, with its quotes, for the guest's shell."""
    match = _LINE.fullmatch(line)
    assert match is not None
    if body and match["command"]:
        raise UsageProblem(f"%%bpf vm sh: the commands are those of the cell, not '{match['command']}'")
    args = _SH.parser("%%bpf vm" if body else "%bpf vm").parse(match["options"].replace("=", " ").split())
    args.command = [body or match["command"]]
    _sh(args)


def _start(args: argparse.Namespace) -> Preformatted:
    vm = machine.start(args.kernel, name=args.name, **_settings(args))
    lines = [f"{vm}", f"%%bpf NAME --on {vm.name} traces it; times in it are emulated"]
    lines += [f"{place} there is {path} here, to read" for place, path in vm.folders.items()]
    return Preformatted("\n".join(lines), "virtual machine")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "folders": dict(map(split, args.folder)),
        "memory": args.memory,
        "hours": args.hours,
        "cpu_hours": args.cpu_hours,
    }


def _stop(args: argparse.Namespace) -> Table:
    for vm in [machine.get(name) for name in args.names] or list(machine.machines.values()):
        vm.stop()
    return machine_table()


def _list(args: argparse.Namespace) -> Table:
    del args
    return machine_table()


def _sh(args: argparse.Namespace) -> None:
    """The output is shown as it comes, and so is an exit code that tells of a failure."""
    if not "".join(args.command).strip():
        raise UsageProblem("%bpf vm sh: what is to be run? For example: %bpf vm sh ls /sys/fs/bpf")
    code = machine.get(args.name or "").sh(" ".join(args.command))
    if code:
        print(f"exit code {code}", file=sys.stderr)


def _sh_in_terminal(args: argparse.Namespace) -> int:
    """A guest for one command (a single word is for its shell) or for a shell; the exit code is the command's."""
    while args.command and args.command[0].startswith("-"):  # options behind the kernel
        if args.command[0] == "--":
            del args.command[0]
            break
        _OPTIONS.parser("bpfnb vm").parse(args.command, args)
    with contextlib.suppress(KeyboardInterrupt), machine.start(args.kernel, **_settings(args)) as vm:
        if args.command:
            code = vm.sh(args.command if len(args.command) > 1 else args.command[0])
        elif sys.stdin.isatty():
            print(f"{vm}; exit or Ctrl-D ends it", flush=True)
            code = vm.shell()
        else:
            code = vm.sh(sys.stdin.read())
        return code if code >= 0 else 128 - code
    return 128 + signal.SIGINT


def _kernels(args: argparse.Namespace) -> Table:
    return kernel_table(cached_only=args.cached)


def _prepare(args: argparse.Namespace) -> Table:
    """Fetch kernels and make their snapshots, so that the first start is quick, too."""
    for wanted in args.kernels or [None]:
        machine.start(wanted, **_settings(args)).stop()
    return kernel_table(cached_only=True)


def machine_table() -> Table:
    """One row a running guest."""
    rows = [
        (vm.name, vm.kernel.release, "running" if vm.running else "ended") for vm in machine.machines.values()
    ]
    return Table(("name", "kernel", "state"), rows, empty="no virtual machine runs")


def kernel_table(*, cached_only: bool = False) -> Table:
    """One row a version: whether it is in the cache, and the hooks in which kernels differ."""
    here = {kernel.release: kernel for kernel in kernels.cached()}
    releases = list(here)
    if not cached_only:
        newest: dict[str, str] = {}
        for release in kernels.offered():
            newest[".".join(release.split(".")[:2])] = release
        known = {".".join(release.split(".")[:2]) for release in here}
        releases += [release for version, release in newest.items() if version not in known]
    from bpfnb.vm.features import offers

    rows = []
    for release in sorted(releases, key=kernels.order):
        found = offers(here[release]) if release in here else {}
        hooks = ["yes" if found.get(hook) else "no" if found else "" for hook in _HOOKS]
        version = ".".join(release.split(".")[:2])
        rows.append((version, release, "yes" if release in here else "no", *hooks))
    return Table(
        ("version", "release", "fetched", *_HOOKS),
        rows,
        empty="no kernel was fetched",
        footer="A kernel that was not fetched comes from the mirror when it is first started.",
    )


_KERNEL = (
    ("kernel",),
    {"nargs": "?", "metavar": "KERNEL", "help": "6.12, 6.1, newest, or the path of a vmlinux or bzImage"},
)
_OF = (("--name",), {"metavar": "NAME", "help": "of the guest, where several run (the newest)"})
_COMMAND = (
    ("command",),
    {"nargs": argparse.REMAINDER, "metavar": "COMMAND", "help": "for the guest's shell"},
)
_SETTINGS = (
    (
        ("--folder",),
        {
            "action": "append",
            "default": [],
            "metavar": "PATH[:PLACE]",
            "help": "a folder of this machine that the guest may read, at its own place there or at PLACE. Repeatable",
        },
    ),
    (("--memory",), {"type": int, "default": 512, "metavar": "MIB", "help": "of the guest (512)"}),
    (("--hours",), {"type": float, "default": 12.0, "metavar": "H", "help": "after which it is ended (12)"}),
    (("--cpu-hours",), {"type": float, "metavar": "H", "help": "of the processor's time (as --hours)"}),
)
_SH = Verb(
    "sh",
    "run a command in a guest, with its output as it comes; as %%bpf vm sh, the cell is its script",
    _sh,
    (_OF, _COMMAND),
    ("cat /proc/version", "--name 6.1 uname -a"),
)
_OPTIONS = Verb("sh", "options behind the kernel", _sh_in_terminal, (*_SETTINGS, _COMMAND))
_EVERYWHERE = (
    Verb(
        "kernels",
        "the kernels that there are, with the hooks in which they differ",
        _kernels,
        ((("--cached",), {"action": "store_true", "help": "only those that were fetched"}),),
        ("", "--cached"),
    ),
    Verb(
        "prepare",
        "fetch kernels and make their snapshots, so that the first start is quick, too",
        _prepare,
        ((("kernels",), {"nargs": "*", "metavar": "KERNEL", "help": "6.12, 6.1, newest ..."}), *_SETTINGS),
        ("6.12 6.1",),
    ),
)
NOTEBOOK: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "start",
            "start a guest; %%bpf NAME --on KERNEL traces it",
            _start,
            (
                _KERNEL,
                (("--name",), {"metavar": "NAME", "help": "by which --on finds it (its kernel's version)"}),
                *_SETTINGS,
            ),
            ("6.12", "6.1 --name old --folder ~/project:/project"),
        ),
        _SH,
        Verb("list", "the guests that run", _list),
        Verb(
            "stop",
            "end guests and all that runs in them",
            _stop,
            ((("names",), {"nargs": "*", "metavar": "NAME", "help": "of guests (all)"}),),
            ("", "6.12"),
        ),
        *_EVERYWHERE,
    )
}
TERMINAL: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "sh",
            "a shell in a new guest, or one command; the guest ends with it",
            _sh_in_terminal,
            (_KERNEL, *_SETTINGS, _COMMAND),
            (
                "6.12",
                "6.1 uname -a",
                "6.12 --folder /usr --folder ~/project:/project /usr/bin/python3 /project/run.py",
            ),
        ),
        *_EVERYWHERE,
    )
}
