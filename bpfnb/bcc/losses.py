"""Counters of what a program in bcc's dialect could not deliver, kept by the program itself.

A ring buffer does not count the records for which it had no room, and a full map drops the newcomer with an error code
that bcc's own rewriting ignores (``counts.increment(key)``). Of a perf buffer the kernel counts what found no room, but
not what failed otherwise: sent from within another record's sending, or on a CPU that came later than the reader.

So C is put in front of the program (see ``losses.h``) by which each of its tables gets a hidden neighbour, an array of
one u64 named ``__bpfnb_lost_`` and the table's name. The program's text and its lines stay as they are. A program that
does not compile with the counters is compiled without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from bpfnb.bcc.scan import Text
from bpfnb.bcc.virtual import identity_of_library, own_headers
from bpfnb.compile.events import Counter

__all__ = ["HIDDEN", "counters", "counting", "hidden_name", "kind_of"]

HIDDEN = "__bpfnb_"
"""How the names of tables begin that are no part of the program."""

_COUNTER = f"{HIDDEN}lost_"
_MOST = 28
"""Tables in a program that is counted: the verifier allows 64 maps with their counters."""

_SENDS = frozenset({"ringbuf_output", "ringbuf_reserve"})
_SUBMITS = frozenset({"perf_submit", "perf_submit_skb"})
_UPDATES = frozenset(
    {"update", "insert", "increment", "atomic_increment", "lookup_or_init", "lookup_or_try_init", "push"}
)
# Helpers that bcc's rewriter writes. Where a program calls one by itself, the map can be any.
_HELPERS = frozenset(
    {
        "bpf_ringbuf_output",
        "bpf_ringbuf_reserve",
        "bpf_perf_event_output",
        "bpf_map_update_elem",
        "bpf_map_push_elem",
    }
)
# Kinds of tables that can be updated and are not declared through the macros that are changed here.
_OTHERS = re.compile(r"\bBPF_(?:SOCKMAP|SOCKHASH|CGROUP_STORAGE|PERCPU_CGROUP_STORAGE)\b")
_TABLES = {
    "rings": ("BPF_RINGBUF_OUTPUT",),
    "perf": ("BPF_PERF_OUTPUT",),
    "maps": ("BPF_F_TABLE", "BPF_QUEUESTACK"),
}
_CALLS = {
    "rings": """
#define bpf_ringbuf_output(map, ...) ({ int __bpfnb_result = (bpf_ringbuf_output)(map, __VA_ARGS__); \\
	if (__bpfnb_result < 0) __BPFNB_COUNT(__BPFNB_NUMBER(map)); __bpfnb_result; })
#define bpf_ringbuf_reserve(map, ...) ({ void *__bpfnb_result = (bpf_ringbuf_reserve)(map, __VA_ARGS__); \\
	if (!__bpfnb_result) __BPFNB_COUNT(__BPFNB_NUMBER(map)); __bpfnb_result; })
""",
    # -ENOSPC is what the kernel counts itself.
    "perf": """
#define bpf_perf_event_output(context, map, ...) ({ \\
	int __bpfnb_result = (bpf_perf_event_output)(context, map, __VA_ARGS__); \\
	if (__bpfnb_result < 0 && __bpfnb_result != -28) __BPFNB_COUNT(__BPFNB_NUMBER(map)); __bpfnb_result; })
""",
    # A preallocated map that is full answers -E2BIG, any other -ENOMEM.
    "maps": """
#define __BPFNB_CHECKED(call, number) ({ int __bpfnb_result = call; \\
	if (__bpfnb_result == -7 || __bpfnb_result == -12) __BPFNB_COUNT(number); __bpfnb_result; })
#define bpf_map_update_elem_(map, ...) \\
	__BPFNB_CHECKED((bpf_map_update_elem_)(map, __VA_ARGS__), __BPFNB_NUMBER_OF(map))
#define bpf_map_update_elem(map, ...) \\
	__BPFNB_CHECKED((bpf_map_update_elem)(map, __VA_ARGS__), __BPFNB_NUMBER(map))
#define bpf_map_push_elem(map, ...) \\
	__BPFNB_CHECKED((bpf_map_push_elem)(map, __VA_ARGS__), __BPFNB_NUMBER(map))
""",
}


def counting(texts: Sequence[Text]) -> str | None:
    """C to put in front of a program that counts what it loses; empty where there is nothing that it could lose.

    *texts* are the program and the headers of its own that it includes. None for a program that cannot be counted: it
    calls helpers by itself, or declares tables in ways of its own, beside which there is no counter, or too many.
    """
    words = frozenset().union(*(text.words for text in texts))
    code = "\n".join(text.code for text in texts)
    what = [
        kind
        for kind, calls in (("rings", _SENDS), ("perf", _SUBMITS), ("maps", _UPDATES))
        if words & calls and (kind == "maps" or words.intersection(_TABLES[kind]))
    ]
    if words & _HELPERS:
        return None
    if not what:
        return ""
    macros = frozenset().union(*(text.defines for text in texts))
    ours = {name for names in _TABLES.values() for name in names} | {"BPF_TABLE"}
    if macros & ours or any('"maps/' in text.source.code for text in texts):
        return None
    if len(re.findall(r"\bBPF_[A-Z_]+\s*\(", code)) > _MOST or ("maps" in what and _OTHERS.search(code)):
        return None
    return _front(identity_of_library(), tuple(what))


@cache
def _front(_identity: str, what: tuple[str, ...]) -> str | None:
    """The C for some kinds of tables; None where bcc's macros are not as they are known."""
    helpers = own_headers().get("bcc/helpers.h", "")
    out = [Path(__file__).with_name("losses.h").read_text()]
    counter = _renamed(helpers, "BPF_F_TABLE")
    if counter is None:
        return None
    out.append(counter[0])
    for name in (name for one in what for name in _TABLES[one]):
        renamed = _renamed(helpers, name)
        if renamed is None:
            return None
        definition, parameters = renamed
        if definition not in out:
            out.append(definition)
        out.append(
            f"#undef {name}\n#define {name}({parameters}) __BPFNB_{name}({parameters}); "
            f'__BPFNB_BPF_F_TABLE("array", int, u64, {_COUNTER}##_name, 1, 0)\n'
        )
    return "".join([*out, *(_CALLS[one].lstrip("\n") for one in what)])


def _renamed(helpers: str, name: str) -> tuple[str, str] | None:
    """bcc's definition of a macro under another name, and its parameters."""
    match = re.search(rf"^#define {name}\(([\w, ]*)\)((?:[^\n]*\\\n)*[^\n]*\n)", helpers, re.M)
    if match is None or "_name" not in match[1].replace(",", " ").split():
        return None
    return f"#define __BPFNB_{name}({match[1]}){match[2]}", match[1]


def hidden_name(table: str) -> str:
    """The name of the counter that stands beside a table."""
    return _COUNTER + table


def kind_of(map_kind: str) -> str:
    """What a counter counts for a kind of map: records ``"lost"``, or updates that found the map ``"full"``."""
    return "lost" if map_kind in ("ringbuf", "perf_event_array") else "full"


def counters(kinds: Iterable[tuple[str, str]]) -> dict[str, tuple[Counter, ...]]:
    """The counters of an object's tables, as :attr:`bpfnb.compile.elf.BpfElf.counters` has them.

    *kinds* are the names of all its maps, hidden ones too, and their kinds. Each counter is the one value of an array
    of its own: the ``section`` is that hidden map's name.
    """
    known = dict(kinds)
    return {
        name: (Counter(hidden_name(name), 0, kind_of(kind)),)
        for name, kind in known.items()
        if not name.startswith(HIDDEN) and hidden_name(name) in known
    }
