"""What this kernel lets this process do with BPF, found by trying, and which hook serves where one is missing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

from bpfnb.btf import Btf
from bpfnb.compile.cache import cache_dir, replace
from bpfnb.errors import BpfnbError, KernelFeatureMissing, MissingDependency, nearest
from bpfnb.kernel import hooks, libbpf, system
from bpfnb.kernel.names import MAP_TYPES, PROGRAM_TYPES
from bpfnb.kernel.replacements import replacement
from bpfnb.kernel.trials import UntriedError, try_helper, try_map, try_program
from bpfnb.kernel.trials_attach import ATTACH

__all__ = [
    "CAPABILITIES",
    "Features",
    "Trial",
    "attach_kind",
    "capabilities",
    "check_section",
    "features",
    "helper_programs",
    "missing_hook_hint",
]

_NAMES = """chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
    net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin
    sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override
    mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"""
CAPABILITIES = tuple(_NAMES.split())
"""Names of capabilities in the order of their numbers (linux/capability.h), without ``CAP_``."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of trying one thing: ``ok`` is None where it could not be tried. ``reason`` says why not."""

    ok: bool | None
    reason: str = ""
    errno: int = 0


@dataclass(frozen=True)
class Features:
    """What was found. ``attach`` has attach kinds by section prefix, and three other abilities."""

    release: str
    libbpf: str
    program_types: Mapping[str, Trial]
    map_types: Mapping[str, Trial]
    attach: Mapping[str, Trial]


def features() -> Features:
    """What this process may do. Tried once a boot, user, set of capabilities and libbpf; that takes 0.2 to 0.5 s.

    Where another system is meant (:func:`bpfnb.kernel.system.meaning`), what its kernel's types and configuration say
    of ways to attach, and nothing else.
    """
    other = system.meant()
    if other is not None:
        said = {
            kind: Trial(ok, "" if ok else "the kernel was built without it")
            for kind, ok in other.offers().items()
        }
        return Features(other.release, _libbpf_version(), {}, {}, said)
    return _features(_identity())


@lru_cache(maxsize=4)
def _features(identity: tuple[str, ...]) -> Features:
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    path = cache_dir() / f"features-{digest}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        saved = json.loads(path.read_text())
        kinds = {
            key: {k: Trial(**v) for k, v in saved[key].items()}
            for key in ("program_types", "map_types", "attach")
        }
        return Features(saved["release"], saved["libbpf"], **kinds)
    found = _try_all()
    with contextlib.suppress(OSError), replace(path) as part:
        part.write_text(json.dumps(asdict(found)))
    return found


def _identity() -> tuple[str, ...]:
    """What the outcomes depend on. ``1`` is the layout of the saved file."""
    return (*_boot(), str(os.getuid()), ",".join(capabilities()))


@lru_cache(maxsize=1)
def _boot() -> tuple[str, ...]:
    known = ",".join((*ATTACH, *MAP_TYPES, *PROGRAM_TYPES))
    return ("1", _read("/proc/sys/kernel/random/boot_id"), _libbpf_version(), system.lockdown(), known)


def _try_all() -> Features:
    # Detaching waits for the kernel's grace periods; threads let these overlap.
    with ThreadPoolExecutor(max_workers=12, thread_name_prefix="bpfnb trial") as pool:
        attach = {kind: pool.submit(_try, trial) for kind, trial in ATTACH.items()}
        programs = pool.submit(lambda: {kind: _try(partial(try_program, kind)) for kind in PROGRAM_TYPES[1:]})
        maps = pool.submit(lambda: {kind: _try(partial(try_map, kind)) for kind in MAP_TYPES[1:]})
        return Features(
            os.uname().release,
            _libbpf_version(),
            programs.result(),
            maps.result(),
            {kind: outcome.result() for kind, outcome in attach.items()},
        )


def _try(trial: Callable[[], None]) -> Trial:
    try:
        trial()
    except UntriedError as error:
        return Trial(None, str(error))
    except BpfnbError as error:
        return Trial(None, error.message)
    except OSError as error:
        if error.errno == errno.EBUSY:  # somebody else's program is attached: it can be done
            return Trial(True)
        return Trial(False, _reason(error), error.errno or 0)
    return Trial(True)


def _reason(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "not permitted"
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, 524):
        return "the kernel does not know it"
    return error.strerror or str(error)


def _libbpf_version() -> str:
    try:
        return libbpf.version()
    except MissingDependency:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def capabilities() -> tuple[str, ...]:
    """The effective capabilities of this thread, as ``CAP_BPF``, in the kernel's order."""
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return tuple(f"CAP_{name.upper()}" for bit, name in enumerate(CAPABILITIES) if effective >> bit & 1)


@cache
def helper_programs(helper: str) -> tuple[str, ...]:
    """The program types that may call *helper* (``bpf_...``) here, found by trying; empty if none or unknown."""
    number = hooks.helper_number(helper)
    if number is None:
        return ()
    return tuple(kind for kind in PROGRAM_TYPES[1:] if _offers(kind, number))


def _offers(kind: str, number: int) -> bool:
    try:
        return try_helper(kind, number)
    except (UntriedError, BpfnbError):
        return False


# Sections.

_KINDS = {
    "tracepoint": "tracepoint",
    "tp": "tracepoint",
    "raw_tp": "raw_tp",
    "raw_tracepoint": "raw_tp",
    "tp_btf": "tp_btf",
    "kprobe": "kprobe",
    "kretprobe": "kretprobe",
    "ksyscall": "kprobe",
    "kretsyscall": "kretprobe",
    "kprobe.multi": "kprobe.multi",
    "kretprobe.multi": "kprobe.multi",
    "kprobe.session": "kprobe.multi",
    "fentry": "fentry",
    "fexit": "fexit",
    "fmod_ret": "fmod_ret",
    "lsm": "lsm",
    "lsm_cgroup": "lsm",
    "uprobe": "uprobe",
    "uretprobe": "uretprobe",
    "uprobe.multi": "uprobe.multi",
    "uretprobe.multi": "uprobe.multi",
    "uprobe.session": "uprobe.session",
    "usdt": "usdt",
    "perf_event": "perf_event software",
    "xdp": "xdp",
    "tc": "tc",
    "classifier": "tc",
    "tcx": "tcx",
    "netfilter": "netfilter",
    "flow_dissector": "flow_dissector",
    "sk_lookup": "sk_lookup",
    "socket": "socket",
    "cgroup": "cgroup",
    "cgroup_skb": "cgroup",
    "sockops": "cgroup",
    "iter": "iter",
    "struct_ops": "struct_ops",
}
_FUNCTION_KINDS = frozenset({"kprobe", "kretprobe", "kprobe.multi", "fentry", "fexit", "fmod_ret", "lsm"})


def attach_kind(section: str) -> str:
    """The kind of :attr:`Features.attach` that *section* needs, empty for an unknown prefix."""
    prefix = section.lstrip("?").split("/")[0]
    for name in (prefix, prefix.removesuffix(".s"), prefix.split(".")[0]):
        if name in _KINDS:
            return _KINDS[name]
    return ""


def check_section(section: str) -> KernelFeatureMissing | None:
    """Why a program of *section* cannot be attached on this kernel, with the hook that would serve; None if it can.

    Where this process merely lacks the privilege, or the thing could not be tried, the answer is None: loading says
    more.
    """
    if section.startswith("?"):  # libbpf does not load these by itself
        return None
    kind = attach_kind(section)
    if not kind:
        return None
    trial = features().attach.get(kind)
    if (
        trial is not None
        and trial.ok is False
        and not system.missing_capabilities(network=True, tracing=True)
    ):
        hint = missing_hook_hint(section)
        what = {"lsm": "LSM programs", "perf_event software": "perf events"}.get(kind, kind)
        needed = f'{what}, which SEC("{section}") needs'
        refused = trial.errno == errno.EPERM
        mode = system.lockdown()
        why = f" (lockdown mode is {mode})" if refused and mode not in ("", "none") else ""
        return KernelFeatureMissing(
            f"This kernel does not permit {needed}{why}."
            if refused
            else f"This kernel has no {needed}: {trial.reason}.",
            feature=kind,
            section=section,
            errno=trial.errno,
            hints=[hint] if hint else [],
        )
    return _no_target(section, kind)


def _no_target(section: str, kind: str) -> KernelFeatureMissing | None:
    """The tracepoint, function or iterator that *section* names and this kernel does not have."""
    _, _, target = section.partition("/")
    if not target:
        return None
    if kind == "tracepoint":
        known: list[str] = hooks.tracepoints()
        what, wanted = "tracepoint", target.replace("/", ":")
    elif kind in ("tp_btf", "raw_tp"):
        what, wanted, known = "tracepoint", target, hooks.raw_tracepoints()
    elif kind == "iter":
        what, wanted, known = "iterator", target, hooks.iterators()
    else:
        return None
    if not known or wanted in known or any(letter in target for letter in "*?["):
        return None
    if kind == "tracepoint":  # as sections spell it
        known, wanted = [name.replace(":", "/") for name in known], target
    close = nearest(wanted, known)
    if not close:
        close = [name for name in known if wanted.rpartition("/")[2] in name][:3]
    prefix = section.partition("/")[0]
    hints = [f"Nearest: {_listed(f'{prefix}/{name}' for name in close)}."] if close else []
    word = wanted.rpartition("/")[2]
    hints.append(f'`%bpf find "*{word}*"` searches all hooks.')
    return KernelFeatureMissing(
        f"This kernel has no {what} {wanted}.", feature=what, section=section, errno=errno.ENOENT, hints=hints
    )


def missing_hook_hint(section: str) -> str:
    """One sentence that names what would serve instead of *section* on this kernel; empty where nothing is known."""
    kind = attach_kind(section)
    _, _, target = section.partition("/")
    # Compilers add ".isra.0", ".part.1" and the like to functions that they changed.
    function = target.split("+")[0].split(":")[-1].split(".")[0]
    if kind == "perf_event hardware":
        return 'Sample by time instead: SEC("perf_event") with event="cpu-clock".'
    if kind not in _FUNCTION_KINDS:
        return ""
    if section.startswith(("ksyscall/", "kretsyscall/")):
        way = "enter" if section.startswith("ksyscall/") else "exit"
        return f'Use the system call\'s tracepoint: SEC("tracepoint/syscalls/sys_{way}_{target}").'
    entry = replacement(function)
    if entry is not None:
        sections = [text for text in entry.sections if _exists(text)]
        if sections:
            note = f" ({entry.note})" if entry.note else ""
            return f"Instead of {function}: {_listed(sections, ' or ')}{note}."
    close = hooks.similar_tracepoints(function) if function else []
    if close:
        names = (f"tracepoint/{name.replace(':', '/')}" for name in close)
        return f"Tracepoints of this kernel with similar names: {_listed(names)}."
    return 'Use a tracepoint: `%bpf find "tracepoint:*"` lists this kernel\'s.'


def _listed(sections: Iterable[str], mark: str = ", ") -> str:
    return mark.join(f'SEC("{section}")' for section in sections)


def _exists(section: str) -> bool:
    prefix, _, target = section.partition("/")
    if prefix == "tracepoint":
        known = hooks.tracepoints()
        return not known or target.replace("/", ":") in known
    if prefix == "tp_btf":
        return Btf.kernel().get(f"btf_trace_{target}", "typedef") is not None
    if prefix == "iter":
        return target in hooks.iterators()
    return True
