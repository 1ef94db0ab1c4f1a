"""Explore a running Linux kernel with eBPF from a notebook.

>>> import bpfnb
>>> with bpfnb.load('''
...     struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1024);
...              __type(key, u32); __type(value, u64); } calls SEC(".maps");
...     SEC("tp_btf/sys_enter") int count(void *ctx) {
...         u32 pid = bpf_get_current_pid_tgid() >> 32; u64 one = 1, *n = bpf_map_lookup_elem(&calls, &pid);
...         if (n) __sync_fetch_and_add(n, 1); else bpf_map_update_elem(&calls, &pid, &one, BPF_ANY);
...         return 0;
...     }''', name="io") as io:
...     io.calls.df  # doctest: +SKIP
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb import lab, tools, views, vm
    from bpfnb.exports import export
    from bpfnb.loading import close_all, load
    from bpfnb.object import BpfObject, objects
    from bpfnb.recording.chosen import record
    from bpfnb.recording.reader import Recording
    from bpfnb.recording.replay import replay
    from bpfnb.recording.session import replaying

__all__ = [
    "BpfObject",
    "Recording",
    "close_all",
    "export",
    "lab",
    "load",
    "objects",
    "record",
    "replay",
    "replaying",
    "tools",
    "views",
    "vm",
]

try:
    __version__ = version("bpfnb")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0"

_HOMES = {
    "load": "bpfnb.loading",
    "close_all": "bpfnb.loading",
    "BpfObject": "bpfnb.object",
    "objects": "bpfnb.object",
    "export": "bpfnb.exports",
    "record": "bpfnb.recording.chosen",
    "replay": "bpfnb.recording.replay",
    "replaying": "bpfnb.recording.session",
    "Recording": "bpfnb.recording.reader",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``import bpfnb`` is quick and needs no libbpf."""
    from importlib import import_module

    if name in ("guest", "lab", "tools", "views", "vm"):
        return import_module(f"bpfnb.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'bpfnb' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def load_ipython_extension(ip: Any) -> None:
    """``%load_ext bpfnb``: registers ``%%bpf``, ``%bpf`` and their completion."""
    from bpfnb.magics import load_ipython_extension

    load_ipython_extension(ip)


def unload_ipython_extension(ip: Any) -> None:
    """``%unload_ext bpfnb``: detaches and closes what the magics made, and removes them."""
    from bpfnb.magics import unload_ipython_extension

    unload_ipython_extension(ip)
