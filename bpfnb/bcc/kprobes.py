"""Scripts that look for kernel functions to probe (``BPF.get_kprobe_functions``), on kernels without kprobes.

bcc reads the kernel's list of functions that must not be probed, and where there is no such file says only that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfnb.bcc.missing import missing_hook

__all__ = ["explain", "restore"]

_replaced: list[tuple[Any, Callable[..., Any]]] = []


def explain(bpf_class: Any) -> None:
    """From now on KernelFeatureMissing is raised instead, with what serves, until :func:`restore`."""
    original = bpf_class.get_kprobe_functions

    def get_kprobe_functions(event_re: bytes) -> Any:
        try:
            return original(event_re)
        except FileNotFoundError:
            missing = missing_hook("kprobe", event_re.decode(errors="replace").strip("^$"))
            if missing is None:
                raise
            raise missing from None

    _replaced.append((bpf_class, original))
    bpf_class.get_kprobe_functions = staticmethod(get_kprobe_functions)


def restore() -> None:
    while _replaced:
        bpf_class, original = _replaced.pop()
        bpf_class.get_kprobe_functions = staticmethod(original)
