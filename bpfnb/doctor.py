"""What bpfnb needs on this machine, what is there, and the remedy for what falls short."""

from __future__ import annotations

import errno
import html
import importlib.util
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpfnb.bcc import find
from bpfnb.bcc.installed import matching, mismatch
from bpfnb.bcc.kernel import Kernel
from bpfnb.btf import Btf
from bpfnb.compile.clang import find_clang
from bpfnb.errors import BpfnbError, NotPermitted
from bpfnb.kernel import libbpf, system
from bpfnb.kernel.features import Features, Trial, capabilities, features
from bpfnb.kernel.trials import UntriedError, try_helper, try_program

__all__ = ["Report", "Row", "permitted", "report"]

OK, WARN, MISSING = "ok", "warn", "missing"
_PROBE_READ_KERNEL = 113
_NEEDED = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN")
_EVERYDAY = (
    "tracepoint",
    "raw_tracepoint",
    "kprobe",
    "perf_event",
    "tracing",
    "xdp",
    "sched_cls",
    "socket_filter",
)
_INSTEAD = "use tracepoint, raw_tp or tp_btf; the error of a cell that needs one of these names which"
_INCLUDES = (Path("/usr/local/include"), Path("/usr/include"))
_BCC_AGAIN = "apt-get install --reinstall python3-bpfcc libbpfcc"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing: ``ok`` is "ok", "warn" (some things will not work) or "missing" (little will)."""

    what: str
    found: str
    ok: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole table, also as text and as HTML."""

    rows: tuple[Row, ...]

    def text(self, color: bool | None = None, width: int = 100) -> str:
        """Aligned columns; coloured only where standard output is a terminal, unless *color* says otherwise."""
        color = sys.stdout.isatty() if color is None else color
        codes = {OK: "32", WARN: "33", MISSING: "1;31"}
        left = max(len(row.what) for row in self.rows)
        lines = []
        for row in self.rows:
            mark = f"{row.ok:7}"
            mark = f"\x1b[{codes[row.ok]}m{mark}\x1b[0m" if color else mark
            body = textwrap.wrap(row.found, max(20, width - left - 10), break_on_hyphens=False) or [""]
            if row.remedy:
                for line in row.remedy.splitlines():
                    body += textwrap.wrap(
                        line, max(20, width - left - 12), initial_indent="-> ", subsequent_indent="   "
                    )
            lines.append(f"{mark} {row.what:{left}}  {body[0]}")
            lines += [" " * (left + 10) + line for line in body[1:]]
        return "\n".join(line.rstrip() for line in lines)

    def html(self) -> str:
        """A plain table; its colours follow the page."""
        marks = {OK: "✓", WARN: "!", MISSING: "✗"}
        rows = "".join(
            f'<tr><td title="{row.ok}">{marks[row.ok]} {row.ok}</td><th style="text-align:left">{html.escape(row.what)}'
            f'</th><td style="text-align:left">{html.escape(row.found)}'
            + (f"<br><em>{html.escape(row.remedy).replace(chr(10), '<br>')}</em>" if row.remedy else "")
            + "</td></tr>"
            for row in self.rows
        )
        return f'<table class="bpfnb-doctor"><tbody>{rows}</tbody></table>'

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()


def report() -> Report:
    """Look at everything. What cannot be read becomes a row, never an exception."""
    return Report(tuple(row for part in _PARTS for row in part()))


def permitted() -> NotPermitted | None:
    """Why this process may not use BPF, and how to change that; None if it may. Found by loading an empty program."""
    try:
        try_program("socket_filter")
        try_program("raw_tracepoint")
        reads = try_helper("raw_tracepoint", _PROBE_READ_KERNEL)
    except UntriedError:
        return None
    except OSError as error:
        return _refusal(error)
    if not reads and system.lockdown() == "confidentiality":
        return NotPermitted(
            "Kernel lockdown is in confidentiality mode, so BPF programs may not read kernel memory.",
            hints=[
                "Boot without lockdown=confidentiality (with Secure Boot some kernels set it), or use another machine."
            ],
        )
    return None


def _refusal(error: OSError) -> NotPermitted:
    missing = system.missing_capabilities(network=True, tracing=True)
    seccomp = _status("Seccomp") == "2"
    if error.errno == errno.ENOSYS:
        return NotPermitted(
            "The bpf system call is not there: the kernel is built without it, or a sandbox hides it.",
            hints=["The kernel needs CONFIG_BPF_SYSCALL=y; gVisor and similar sandboxes have no BPF."],
        )
    if missing:
        who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
        where = " in a container" if _container() else ""
        return NotPermitted(
            f"This process ({who}{where}) may not load BPF programs: it lacks {_and(missing)}.",
            missing=missing,
            hints=_how_to_get(missing),
        )
    if _user_namespace():
        return NotPermitted(
            "This process is root in a user namespace only, where capabilities do not count for BPF.",
            missing=list(_NEEDED),
            hints=[
                "Run outside the user namespace: as root on the host, or in a rootful container with --privileged."
            ],
        )
    if seccomp:
        return NotPermitted(
            "A seccomp filter forbids the bpf system call to this process.",
            hints=[
                (
                    "In Docker or Podman: --security-opt seccomp=unconfined (or a profile that allows bpf and "
                    "perf_event_open), with --cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN."
                ),
                "In Kubernetes: securityContext.seccompProfile.type: Unconfined.",
            ],
        )
    mode = system.lockdown()
    more = f" (lockdown mode {mode})" if mode not in ("", "none") else ""
    return NotPermitted(f"The kernel refuses to load a BPF program: {error.strerror}{more}.")


def _how_to_get(missing: list[str]) -> list[str]:
    names = ",".join(name.lower() for name in missing)
    added = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing)
    container = f"In a container: docker run {added} --security-opt seccomp=unconfined ... (or --privileged)."
    root = "Run it as root, for example: sudo -E .venv/bin/jupyter lab --allow-root"
    grant = f"Or give this Python the capabilities: sudo setcap {names}+ep {Path(sys.executable).resolve()}"
    return [container, root] if _container() else [root, grant]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _status(key: str) -> str:
    found = re.search(rf"^{key}:\s*(\S+)", _read("/proc/thread-self/status"), re.MULTILINE)
    return found[1] if found else ""


def _container() -> bool:
    return (
        any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
        or "KUBERNETES_PORT" in os.environ
    )


def _user_namespace() -> bool:
    return _read("/proc/self/uid_map").split() not in ([], ["0", "0", "4294967295"])


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


# The parts of the report.


def _kernel() -> Iterator[Row]:
    name = os.uname()
    yield Row("kernel", f"{name.sysname} {name.release} ({name.machine})", OK)
    try:
        btf = Btf.kernel()
        yield Row("kernel types (BTF)", f"{len(btf) - 1} types in /sys/kernel/btf/vmlinux", OK)
    except BpfnbError as error:
        yield Row("kernel types (BTF)", "none", MISSING, "\n".join(error.hints))


def _permission() -> Iterator[Row]:
    refused = permitted()
    if refused is None:
        yield Row("permission", "BPF programs may be loaded", OK)
    else:
        yield Row("permission", refused.message, MISSING, "\n".join(refused.hints))
    have = capabilities()
    missing = system.missing_capabilities(network=True, tracing=True)
    telling = [
        name for name in have if name in (*_NEEDED, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SYS_PTRACE")
    ]
    yield Row(
        "capabilities",
        f"{', '.join(telling) or 'none that matters'} ({len(have)} in all)",
        MISSING if missing else OK,
        f"lacks {_and(missing)}" if missing else "",
    )
    mode = system.lockdown()
    worst = {"": OK, "none": OK, "integrity": WARN}.get(mode, MISSING)
    effect = {
        "integrity": "bpf_probe_write_user is refused",
        "confidentiality": "kernel memory cannot be read",
    }
    unread = "off" if _mounted("securityfs") else "cannot be read: securityfs is not mounted"
    yield Row("lockdown", mode or unread, worst, effect.get(mode, ""))
    text = {"0": "allowed", "1": "off until reboot", "2": "off (the usual setting)"}
    setting = _read("/proc/sys/kernel/unprivileged_bpf_disabled")
    yield Row("unprivileged BPF", text.get(setting, "cannot be read"), OK)
    jit = _read("/proc/sys/net/core/bpf_jit_enable")
    yield Row(
        "JIT compiler",
        {"0": "off", "1": "on", "2": "on, with debug output"}.get(jit, "cannot be read"),
        WARN if jit == "0" else OK,
        "sysctl -w net.core.bpf_jit_enable=1: programs run several times faster" if jit == "0" else "",
    )


def _offers() -> Iterator[Row]:
    if permitted() is not None:
        yield Row("programs and maps", "not tried, since BPF is not permitted", MISSING)
        return
    found: Features = features()
    yield _types("program types", found.program_types, _EVERYDAY)
    yield _types("map types", found.map_types, ("hash", "array", "percpu_hash", "ringbuf"))
    yield Row("attach kinds", ", ".join(name for name, trial in found.attach.items() if trial.ok), OK)
    lacking: dict[tuple[str, bool], list[str]] = {}
    for name, trial in found.attach.items():
        if not trial.ok:
            lacking.setdefault((trial.reason, trial.ok is None), []).append(name)
    for (reason, untried), names in lacking.items():
        traced = any(name.startswith(("kprobe", "kretprobe", "fentry", "lsm")) for name in names)
        yield Row(
            "could not be tried" if untried else "cannot be attached",
            f"{', '.join(names)}: {reason}",
            WARN,
            _INSTEAD if traced else "",
        )


def _types(what: str, trials: Mapping[str, Trial], everyday: tuple[str, ...]) -> Row:
    lacking = [name for name, trial in trials.items() if not trial.ok]
    text = f"{len(trials) - len(lacking)} of {len(trials)}" + (
        f", without {', '.join(lacking)}" if lacking else ""
    )
    short = [name for name in everyday if name in lacking]
    return Row(what, text, MISSING if len(short) == len(everyday) else WARN if short else OK)


def _tools() -> Iterator[Row]:
    try:
        clang = find_clang()
        version = ".".join(str(part) for part in clang.version)
        yield Row("clang", f"{version} ({clang.origin}: {clang.path})", OK)
    except BpfnbError as error:
        yield Row("clang", error.message, MISSING, "\n".join(error.hints))
    try:
        yield Row("libbpf", libbpf.version(), OK)
    except BpfnbError as error:
        yield Row("libbpf", error.message, MISSING, "\n".join(error.hints))
    folder = next((path for path in _INCLUDES if (path / "bpf/bpf_helpers.h").is_file()), None)
    if folder is None:
        yield Row("libbpf headers", "not found", MISSING, "apt install libbpf-dev")
    else:
        numbers = re.findall(r"_VERSION (\d+)", _read(folder / "bpf/libbpf_version.h"))
        yield Row("libbpf headers", f"{'.'.join(numbers)} in {folder}/bpf", OK)


def _bcc() -> Iterator[Row]:
    """The BPF Compiler Collection, which is optional: for cells and scripts in its dialect."""
    if (other := find.other_project()) is not None:
        yield Row(
            "bcc of another project",
            f"{other} is PyPI's package of that name, which has nothing to do with BPF; `import bcc` means it until "
            "bpfnb.bcc.enable() or %bpf bcc",
            WARN,
            "pip uninstall bcc",
        )
    try:
        folder = find.find_package()
    except BpfnbError as error:
        yield Row(
            "bcc", "not installed; only cells and scripts in bcc's dialect need it", WARN, error.hints[0]
        )
        return
    try:
        version, library = find.attempt()
    except BpfnbError as error:
        yield Row("bcc", f"{folder}, which cannot be imported: {error.message}", WARN, _BCC_AGAIN)
        return
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Row("bcc", f"{version} in {folder.parent} with {library}; imports in this Python {python} too", OK)
    yield _bcc_headers()
    tools = find.packaged_tools()
    if tools:
        yield Row("bcc's tools", f"{len(tools)} in {tools[0].parent}, to run with %bpf script", OK)
    else:
        yield Row("bcc's tools", "not installed, nor needed", OK, "to run them: apt-get install bpfcc-tools")


def _bcc_headers() -> Row:
    what = "bcc's kernel headers"
    chosen = os.environ.get("BCC_KERNEL_SOURCE", "")
    try:
        kernel = Kernel.running()
    except BpfnbError:
        remedy = "install the headers of this kernel: apt-get install linux-headers-$(uname -r)"
        return Row(
            what, chosen or "as bcc finds them: without BTF none can be made", OK if chosen else WARN, remedy
        )
    if chosen:
        why = mismatch(Path(chosen), kernel)
        said = f"{chosen}, which BCC_KERNEL_SOURCE names"
        if why is None:
            return Row(what, f"{said}: they are this kernel's", OK)
        return Row(what, f"{said}: {why}", WARN, "unset BCC_KERNEL_SOURCE: they are then made from BTF")
    if matching(kernel):
        return Row(what, f"installed in /lib/modules/{kernel.release}: they are this kernel's", OK)
    return Row(what, "made from BTF for each program; none need be installed", OK)


def _optional() -> Iterator[Row]:
    path = shutil.which("bpftrace")
    yield Row(
        "bpftrace",
        f"{path}, for %%bpftrace cells" if path else "not installed; only %%bpftrace cells need it",
        OK,
    )
    found = importlib.util.find_spec("symbolic") is not None
    text = "by symbolic, for Symbolizer(lines=True)" if found else "not to be had; names are, without"
    yield Row("lines of stacks", text, OK, "" if found else "pip install 'bpfnb[lines]'")


def _mounts() -> Iterator[Row]:
    tracefs = next(
        (p for p in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing") if _lists(p, "events")), None
    )
    yield Row(
        "tracefs",
        tracefs or "not mounted or not readable",
        OK if tracefs else WARN,
        ""
        if tracefs
        else "as root: mount -t tracefs nodev /sys/kernel/tracing (tracepoints are found there)",
    )
    bpffs = _mounted("bpf")
    yield Row(
        "bpffs",
        bpffs or "not mounted",
        OK if bpffs else WARN,
        "" if bpffs else "as root: mount -t bpf bpf /sys/fs/bpf (bpfnb does so when a map is pinned)",
    )
    try:
        yield Row("cgroup v2", str(system.cgroup_root()), OK)
    except BpfnbError as error:
        yield Row("cgroup v2", "not mounted", WARN, "\n".join(error.hints))


def _lists(path: str, name: str) -> bool:
    try:
        return any(Path(path, name).iterdir())
    except OSError:
        return False


def _mounted(kind: str) -> str:
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[:1] == [kind]:
            return left.split()[4]
    return ""


_PARTS: tuple[Callable[[], Iterator[Row]], ...] = (
    _kernel,
    _permission,
    _offers,
    _tools,
    _bcc,
    _optional,
    _mounts,
)
