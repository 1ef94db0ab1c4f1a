"""Why a load failed, from libbpf's messages and the errno: which program or map, and what the kernel lacks."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping

from bpfnb.btf import Btf
from bpfnb.errors import (
    AttachError,
    BpfnbError,
    KernelFeatureMissing,
    LoadError,
    NotPermitted,
    VerifierError,
    nearest,
)
from bpfnb.kernel.backend import MapInfo
from bpfnb.kernel.system import lockdown, missing_capabilities

__all__ = ["explain", "feature_missing", "not_an_object", "without_advice"]

_LOG = re.compile(r"-- BEGIN PROG LOAD LOG --\n(.*?)-- END PROG LOAD LOG --", re.DOTALL)
_PROGRAM = re.compile(r"prog '(.+?)': BPF program load failed")
_MAP = re.compile(r"map '(.+?)': failed to create: .*\((-?\d+)\)")
_PIN = re.compile(r"(?:couldn't reuse pinned map at '(.+?)'|failed to auto-pin at '(.+?)')")
_TARGET = re.compile(r"prog '(.+?)': failed to find (?:kernel BTF type ID of|kernel BTF type) '(.+?)'")
_EXTERN = re.compile(r"extern (?:\((.+?)\) )?'(.+?)'(?: \(strong\))?: not (?:resolved|found)")
_ULIMIT = re.compile(r".*(?:try raising 'ulimit -l'|RLIMIT_MEMLOCK).*\n?")
_TRACING = (
    "kprobe",
    "tracepoint",
    "raw_tracepoint",
    "tp",
    "raw_tp",
    "perf_event",
    "fentry",
    "fexit",
    "uprobe",
    "lsm",
    "usdt",
    "uretprobe",
    "kretprobe",
    "iter",
)
_NETWORK = ("xdp", "tc", "cgroup", "sock", "sk_", "flow", "netfilter", "classifier", "lwt", "netkit")


def without_advice(log: str) -> str:
    """libbpf's text without its advice on RLIMIT_MEMLOCK, which has not limited BPF since Linux 5.11."""
    return _ULIMIT.sub("", log)


def not_an_object(code: int, log: str) -> LoadError:
    """libbpf refused the ELF itself."""
    last = next((line for line in reversed(log.splitlines()) if line.startswith("libbpf:")), "")
    reason = last.removeprefix("libbpf:").strip() or os.strerror(code)
    return LoadError(
        f"this is not a loadable BPF object: {reason}",
        errno=code,
        log=without_advice(log),
        hints=["compile with `clang -O2 -g -target bpf -c`"],
    )


def explain(code: int, log: str, sections: Mapping[str, str], maps: Mapping[str, MapInfo]) -> BpfnbError:
    """The exception for a failed bpf_object__load: *code* is its positive errno, *log* what libbpf said."""
    log = without_advice(log)
    if found := _TARGET.search(log):
        return _no_target(found[1], sections.get(found[1], ""), found[2], log)
    if found := _PROGRAM.search(log):
        return _refused(code, found[1], sections.get(found[1], ""), log)
    if found := _PIN.search(log):
        return LoadError(
            f"the map cannot be pinned at '{found[1] or found[2]}': "
            + ("the one pinned there has another type or size" if found[1] else os.strerror(code)),
            errno=code,
            log=log,
            hints=["remove the old pin, or pin under another name"],
        )
    if found := _MAP.search(log):
        return _no_map(-int(found[2]), found[1], maps.get(found[1]), _missing(sections.values()), log)
    if found := _EXTERN.search(log):
        return _no_extern(code, found[2], log)
    lines = [line.removeprefix("libbpf: ").strip() for line in log.splitlines() if line.startswith("libbpf:")]
    missing = _missing(sections.values())
    if code == errno.EPERM and missing:
        return _not_permitted(missing, log)
    return LoadError(f"loading failed: {lines[0] if lines else os.strerror(code)}", errno=code, log=log)


def _missing(sections: Iterable[str]) -> list[str]:
    """The capabilities that this process lacks for programs in these sections."""
    names = list(sections)
    return missing_capabilities(
        network=any(name.startswith(_NETWORK) for name in names),
        tracing=any(name.startswith(_TRACING) for name in names),
    )


def _refused(code: int, program: str, section: str, log: str) -> BpfnbError:
    found = _LOG.search(log)
    verifier = found[1] if found else ""
    words = [line for line in verifier.splitlines() if line and not line.startswith("processed ")]
    if code == errno.EPERM and not words:
        missing = _missing([section])
        if missing:
            return _not_permitted(missing, log)
        return feature_missing(section, program, code, log)
    if not words and code in (errno.EINVAL, errno.EOPNOTSUPP, 524):
        return feature_missing(section, program, code, log)
    stop = next(
        (line for line in reversed(words) if not line.startswith(("verification time", "stack depth"))), ""
    )
    return VerifierError(
        f"the kernel's verifier refused '{program}'" + (f": {stop}" if stop else f": {os.strerror(code)}"),
        program=program,
        section=section,
        errno=code,
        reason=stop,
        log=verifier or log,
    )


def feature_missing(
    section: str, program: str, code: int, log: str, feature: str = ""
) -> KernelFeatureMissing:
    """This kernel has no such hook; the hints name what serves instead."""
    feature = feature or section.split("/")[0]
    verb, why = "has no", ""
    if code == errno.EPERM:
        verb = "does not allow"
        mode = lockdown()
        why = f" (lockdown mode is '{mode}')" if mode not in ("", "none") else " (it answers: not permitted)"
    return KernelFeatureMissing(
        f"this kernel {verb} {feature}, which program '{program}' (SEC(\"{section}\")) needs{why}",
        feature=feature,
        program=program,
        section=section,
        errno=code,
        log=log,
        hints=_instead(section),
    )


def _instead(section: str) -> list[str]:
    from bpfnb.kernel.features import missing_hook_hint

    hint = missing_hook_hint(section)
    return [hint] if hint else []


def _not_permitted(missing: list[str], log: str) -> NotPermitted:
    return NotPermitted(
        f"this process may not load BPF programs: it lacks {' and '.join(missing)}",
        missing=missing,
        log=log,
        hints=[
            "run as root, or give the interpreter the capabilities: `setcap cap_bpf,cap_perfmon,cap_net_admin+ep`"
        ],
    )


def _no_target(program: str, section: str, target: str, log: str) -> BpfnbError:
    """A BTF-typed hook (tp_btf, fentry, lsm, iter ...) that names something the kernel does not have."""
    kind, prefix, names = "function", "", "func"
    if section.startswith(("tp_btf", "raw_tp")):
        kind, prefix, names = "tracepoint", "btf_trace_", "typedef"
    elif section.startswith("iter"):
        # each iterator has a function bpf_iter_NAME and a context struct bpf_iter__NAME; other names share the former
        kind, prefix, names = "iterator", "bpf_iter__", "struct"
    elif section.startswith("lsm"):
        kind, prefix = "LSM hook", "bpf_lsm_"
    elif section.startswith("struct_ops"):
        kind, names = "struct", "struct"
    wanted = target.removeprefix(prefix).removeprefix("bpf_iter_")
    known = [n.removeprefix(prefix) for n in Btf.kernel().names(names) if n.startswith(prefix)]
    known = [n for n in known if "__" not in n or kind != "iterator"]
    close = nearest(wanted, known)
    hints = [f"the nearest it has: {', '.join(close)}"] if close else []
    if kind == "iterator":
        hints = [f"this kernel has: {', '.join(sorted(known))}"]
    return AttachError(
        f"this kernel has no {kind} '{wanted}' (program '{program}', SEC(\"{section}\"))",
        program=program,
        section=section,
        errno=errno.ENOENT,
        log=log,
        hints=hints,
    )


def _no_extern(code: int, name: str, log: str) -> LoadError:
    close = nearest(name, Btf.kernel().names("func"))
    return LoadError(
        f"this kernel has no '{name}', which the object declares as extern",
        errno=code,
        log=log,
        hints=[
            *([f"the nearest it has: {', '.join(close)}"] if close else []),
            "declare it `__weak` and test it with bpf_ksym_exists() where the program can do without",
        ],
    )


def _no_map(code: int, name: str, info: MapInfo | None, missing: list[str], log: str) -> BpfnbError:
    if code == errno.EPERM and missing:
        return _not_permitted(missing, log)
    facts = ""
    hints: list[str] = []
    if info is not None:
        sizes = f"key_size {info.key_size}, value_size {info.value_size}, max_entries {info.max_entries}"
        facts = f" ({info.kind}, {sizes})"
        hints = _map_hints(code, info)
    reason = {
        errno.EINVAL: "the kernel does not accept its type, sizes or flags",
        errno.E2BIG: "it is larger than the kernel allows",
        errno.ENOMEM: "the kernel has not enough memory for it",
        errno.EPERM: "the kernel does not permit it",
    }.get(code, os.strerror(code))
    return LoadError(f"map '{name}'{facts} cannot be made: {reason}", errno=code, log=log, hints=hints)


def _map_hints(code: int, info: MapInfo) -> list[str]:
    if code in (errno.E2BIG, errno.ENOMEM):
        return ["make max_entries or the value smaller"]
    if info.kind == "lpm_trie":
        return [
            "an LPM trie needs map_flags BPF_F_NO_PREALLOC and a key of a u32 prefix length and 1 to 256 bytes"
        ]
    if info.kind in ("ringbuf", "user_ringbuf"):
        return ["max_entries is the size in bytes: a power of two, and a multiple of the page size"]
    if info.kind in ("array", "percpu_array", "stack_trace", "prog_array") and info.key_size != 4:
        return ["the key of an array is a u32 index"]
    if info.kind.endswith("_storage"):
        return [
            "a storage map needs map_flags BPF_F_NO_PREALLOC, max_entries 0, an int key, and BTF of key and value"
        ]
    if not info.value_size or (not info.key_size and info.kind not in ("queue", "stack", "bloom_filter")):
        return ["give it a key and a value: __type(key, ...); __type(value, ...);"]
    return []
