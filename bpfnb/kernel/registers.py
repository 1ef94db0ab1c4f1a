"""What the verifier knew about a register, in words: ``scalar(umax=255)`` is "a number between 0 and 255".

The notation is that of ``print_verifier_state`` in kernel/bpf/log.c: ``name(key=value,...)``, where equal bounds
are chained (``smin=smin32=0``); kernels before 5.18 wrote ``inv`` for scalars and always gave ``id`` and ``off``.
"""

from __future__ import annotations

import re

__all__ = ["parse_state", "words"]

_REGISTER = re.compile(r"(?:^|\s)(R\d+|fp-\d+|refs)(?:_[a-z]+)?=")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)$")
_VALUE = re.compile(r"(?P<name>[a-z_A-Z]\w*?)(?P<offset>[+-]?\d+)?(?:\((?P<args>.*)\))?$")

_POINTERS = {
    "ctx": "the program's context (its own argument)",
    "fp": "a pointer to this function's stack",
    "map_ptr": "{map} itself",
    "map_value": "a pointer to a value of {map}{size}",
    "map_key": "a pointer to a key of {map}",
    "pkt": "a pointer into the packet",
    "pkt_meta": "a pointer to the packet's metadata",
    "pkt_end": "the end of the packet (data_end)",
    "flow_keys": "a pointer to the flow keys",
    "ringbuf_mem": "a pointer to a reserved ring buffer record{size}",
    "alloc_mem": "a pointer to a reserved ring buffer record{size}",
    "mem": "a pointer to memory{size}",
    "buf": "a pointer to a buffer",
    "sock": "a pointer to a socket",
    "sock_common": "a pointer to a socket (struct sock_common)",
    "tcp_sock": "a pointer to a TCP socket",
    "xdp_sock": "a pointer to an AF_XDP socket",
    "tp_buffer": "a pointer to the tracepoint's buffer",
    "func": "a function of this program",
    "dynptr_ptr": "a dynptr",
    "arena": "a pointer into an arena",
}
_ADJECTIVES = {
    "rdonly_": "read-only",
    "user_": "user-space",
    "percpu_": "per-CPU",
    "rcu_": "RCU-protected",
    "untrusted_": "untrusted",
    "trusted_": "trusted",
    "non_own_ref_": "borrowed",
}
_U32, _S64, _U64 = 0xFFFFFFFF, 1 << 63, 1 << 64


def parse_state(text: str) -> dict[str, str]:
    """``"R0=scalar(umax=7) R10=fp0 fp-8=ctx()"`` as a mapping of register or stack slot to its state."""
    marks = list(_REGISTER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    out = {}
    for mark, end in zip(marks, ends, strict=False):
        out[mark[1]] = text[mark.end() : end].strip().removesuffix(" cb")
    return out


def words(state: str) -> str:
    """*state* as a noun phrase: "a number between 0 and 255", "a pointer to a value of map m that may be NULL"."""
    state = state.strip()
    if _NUMBER.match(state.removeprefix("P")):
        return f"the number {int(state.removeprefix('P'), 0)}"
    match = _VALUE.match(state)
    if not match:
        return f"{state}"
    args = _arguments(match["args"] or "")
    name = match["name"].removeprefix("P")
    if name in ("scalar", "inv", "invP"):
        if match["offset"]:
            return f"the number {int(match['offset'])}"
        return _scalar(args)
    return _pointer(name, match["offset"], args)


def _arguments(text: str) -> dict[str, str]:
    out = {}
    for part in re.split(r",(?![^(]*\))", text):
        *keys, value = part.split("=") if "=" in part else ("",)
        for key in keys:
            out[key.removesuffix("_value")] = value
    return out


def _signed(text: str) -> int:
    value = int(text, 0)
    return value - _U64 if value >= _S64 else value


def _scalar(args: dict[str, str]) -> str:
    low, high = bounds(args)
    if low is None and high is None:
        return "an unknown number (it may be negative, and as large as 64 bits allow)"
    if low == 0 and high == _U32:
        return "an unknown 32-bit number (0 to 4294967295)"
    if low is not None and low == high:
        return f"the number {low}"
    if low is not None and high is not None:
        return f"a number between {low} and {high}"
    if low is None:
        return f"a number of at most {high}, which may be negative"
    return f"a number of at least {low}, without an upper bound"


def bounds(args: dict[str, str]) -> tuple[int | None, int | None]:
    """The smallest and largest signed value that the bounds allow; None for the 64-bit type's own limit."""
    if "imm" in args and args["imm"] not in ("0", ""):
        return (int(args["imm"], 0),) * 2
    low = _signed(args["smin"]) if "smin" in args else -_S64
    high = _signed(args["smax"]) if "smax" in args else _S64 - 1
    umax = int(args["umax"], 0) if "umax" in args else _U64 - 1
    if umax < _S64:
        low, high = max(low, int(args.get("umin", "0"), 0)), min(high, umax)
    limit = 1 << 62  # what arithmetic leaves just inside the type's own limits bounds nothing
    return (low if low > -limit else None), (high if high < limit else None)


def _pointer(name: str, offset: str | None, args: dict[str, str]) -> str:
    maybe_null = "or_null" in name
    name = name.replace("_or_null", "").replace("or_null_", "")
    adjectives = []
    while prefix := next((p for p in _ADJECTIVES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
        adjectives.append(_ADJECTIVES[prefix])
    size = args.get("sz") or args.get("mem_size") or args.get("vs")
    fields = {
        "map": f"map {args['map']}" if args.get("map") else "a map",
        "size": f" ({size} byte{'' if size == '1' else 's'})" if size else "",
    }
    if name in _POINTERS:
        text = _POINTERS[name].format(**fields)
    elif name.startswith("ptr_"):
        text = f"a pointer to struct {name[4:]}" if name != "ptr_" else "a pointer to a kernel structure"
    else:
        text = f"a pointer ({name})"
    if adjectives and text.startswith("a "):
        text = f"{'an' if adjectives[0][0] in 'aeiou' else 'a'} {' '.join(adjectives)} {text[2:]}"
    checked = _range(args) if name in ("pkt", "pkt_meta") else ""
    return f"{text}{_offset(name, offset, args)}{checked}" + (" that may be NULL" if maybe_null else "")


def _range(args: dict[str, str]) -> str:
    checked = int(args.get("r", "0"), 0)
    return f"; {checked} bytes were compared with data_end" if checked else ""


def _offset(name: str, offset: str | None, args: dict[str, str]) -> str:
    fixed = int(offset or args.get("off") or "0", 0)
    text = ""
    if name == "fp":
        text = f" at offset {fixed}" if fixed else ""
    elif fixed:
        text = f" plus {fixed}" if fixed > 0 else f" minus {-fixed}"
    if any(key in args for key in ("smin", "smax", "umin", "umax", "var_off")):
        low, high = bounds(args)
        text += (
            f" plus {low} to {high}" if low is not None and high is not None else " plus an unknown number"
        )
    return text
