"""eBPF C to BPF objects: clang, the running kernel's types, diagnostics at the cell's own lines, and a cache."""

from bpfnb.compile.build import compile  # noqa: A004
from bpfnb.compile.cache import cache_dir
from bpfnb.compile.clang import Clang, find_clang
from bpfnb.compile.elf import BpfElf
from bpfnb.compile.events import Counter, Event
from bpfnb.compile.source import Source, dialect
from bpfnb.compile.vmlinux import vmlinux_h

__all__ = [
    "BpfElf",
    "Clang",
    "Counter",
    "Event",
    "Source",
    "cache_dir",
    "compile",
    "dialect",
    "find_clang",
    "vmlinux_h",
]
