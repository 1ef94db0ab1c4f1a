"""What completes in a cell in bcc's dialect: tracepoints and their fields, tables' methods, macros."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

__all__ = ["MACROS", "fields", "methods", "probes"]

# fmt: off
MACROS = (
    "BPF_HASH(", "BPF_ARRAY(", "BPF_HISTOGRAM(", "BPF_PERF_OUTPUT(", "BPF_RINGBUF_OUTPUT(", "BPF_STACK_TRACE(",
    "BPF_PERCPU_HASH(", "BPF_PERCPU_ARRAY(", "BPF_LPM_TRIE(", "BPF_QUEUE(", "BPF_STACK(", "BPF_PROG_ARRAY(",
    "BPF_TABLE(", "TRACEPOINT_PROBE(", "RAW_TRACEPOINT_PROBE(", "KFUNC_PROBE(", "KRETFUNC_PROBE(", "LSM_PROBE(",
    "BPF_ITER(",
)
_METHODS = (
    "lookup(", "lookup_or_try_init(", "increment(", "atomic_increment(", "update(", "insert(", "delete(",
    "perf_submit(", "ringbuf_output(", "ringbuf_reserve(", "ringbuf_submit(", "ringbuf_discard(", "get_stackid(",
    "push(", "pop(", "peek(", "call(",
)
# fmt: on
_TABLE = re.compile(r"\bBPF_(?!TABLE)[A-Z_]+\s*\(\s*(\w+)|\bBPF_TABLE\w*\s*\((?:[^,;]*,){3}\s*(\w+)")
_METHOD = re.compile(r"\b(\w+)\.(\w*)$")
_PROBE = re.compile(r"\bTRACEPOINT_PROBE\(\s*(?:(\w+)\s*,\s*)?(\w*)$")
_RAW = re.compile(r"\bRAW_TRACEPOINT_PROBE\(\s*(\w*)$")
_DEFINED = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)")
_ARGUMENT = re.compile(r"\bargs->(\w*)$")


def methods(before: str, body: str) -> tuple[str, Iterable[str]] | None:
    """After ``counts.``: the methods of bcc's tables, and what of them is written; None where no table stands there."""
    match = _METHOD.search(before)
    if match is None or match[1] not in {name for pair in _TABLE.findall(body) for name in pair}:
        return None
    return match[2], _METHODS


def fields(before: str, above: str) -> tuple[str, Iterable[str]] | None:
    """After ``args->``: the fields of the tracepoint whose probe it is in."""
    from bpfnb.kernel.system import mount_tracefs

    match, probes = _ARGUMENT.search(before), _DEFINED.findall(above)
    if match is None or not probes:
        return None
    category, event = probes[-1]
    try:
        text = (mount_tracefs() / "events" / category / event / "format").read_text()
    except OSError:
        return None
    found = re.findall(r"\tfield:[^;]*?(\w+)(?:\[[^\]]*\])?;", text)
    return match[1], [name for name in found if not name.startswith("common_")]


def probes(before: str, tracepoints: Callable[[], dict[str, list[str]]]) -> tuple[str, Iterable[str]] | None:
    """In ``TRACEPOINT_PROBE(``: categories, then events; in ``RAW_TRACEPOINT_PROBE(`` what this kernel has."""
    if match := _RAW.search(before):
        from bpfnb.kernel.hooks import raw_tracepoints

        return match[1], raw_tracepoints()
    match = _PROBE.search(before)
    if match is None:
        return None
    known = tracepoints()
    return match[2], known.get(match[1], []) if match[1] else sorted(known)
