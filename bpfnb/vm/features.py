"""What a kernel offers: read from its types and configuration without booting it, and tried in a guest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bpfnb.kernel.names import MAP_TYPES, PROGRAM_TYPES
from bpfnb.vm.kernels import Kernel

if TYPE_CHECKING:
    from bpfnb.vm.system import GuestSystem

__all__ = ["features", "offers"]

# Hook: (what its kernel's types have, the option that it was configured with). A type's word is an enumerator's or a
# function's name.
_HOOKS: dict[str, tuple[str, str]] = {
    "kprobe": ("", "CONFIG_KPROBES"),
    "kprobe.multi": ("BPF_TRACE_KPROBE_MULTI", "CONFIG_FPROBE"),
    "kprobe.session": ("BPF_TRACE_KPROBE_SESSION", "CONFIG_FPROBE"),
    "fentry": ("bpf_fentry_test1", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"),
    "lsm": ("BPF_LSM_MAC", "CONFIG_BPF_LSM"),
    "uprobe": ("", "CONFIG_UPROBE_EVENTS"),
    "uprobe.multi": ("BPF_TRACE_UPROBE_MULTI", "CONFIG_UPROBE_EVENTS"),
    "uprobe.session": ("BPF_TRACE_UPROBE_SESSION", "CONFIG_UPROBE_EVENTS"),
    "iter": ("BPF_TRACE_ITER", ""),
    "xdp": ("BPF_XDP", ""),
    "tcx": ("BPF_TCX_INGRESS", ""),
    "netkit": ("BPF_NETKIT_PRIMARY", "CONFIG_NETKIT"),
    "netfilter": ("BPF_NETFILTER", "CONFIG_NETFILTER_BPF_LINK"),
    "struct_ops.link": ("BPF_F_LINK", ""),
    "sched_ext": ("sched_ext_ops", "CONFIG_SCHED_CLASS_EXT"),
    "ringbuf": ("BPF_MAP_TYPE_RINGBUF", ""),
    "user_ringbuf": ("BPF_MAP_TYPE_USER_RINGBUF", ""),
    "cgrp_storage": ("BPF_MAP_TYPE_CGRP_STORAGE", ""),
    "arena": ("BPF_MAP_TYPE_ARENA", ""),
}


def offers(kernel: Kernel) -> dict[str, bool]:
    """Hooks and maps of a kernel that has not booted, by its types and, where it is known, its configuration."""
    words = kernel.btf.read_bytes()
    path = kernel.folder / "config"
    options = (
        set(re.findall(r"^(CONFIG_\w+)=[ym]$", path.read_text(), re.MULTILINE)) if path.exists() else None
    )
    return {
        hook: (not word or b"\0" + word.encode() + b"\0" in words)
        and (not option or options is None or option in options)
        for hook, (word, option) in _HOOKS.items()
    }


def features(system: GuestSystem) -> Mapping[str, Any]:
    """Program and map types tried in the guest by its libbpf; ``attach`` as :func:`offers`, with LSM only where the
    guest's kernel has ``bpf`` among its active modules.
    """
    remote = system.remote

    def tried(function: str, names: tuple[str, ...]) -> dict[str, bool]:
        return {
            name: remote.call(function, number, 0).value == 1 for number, name in enumerate(names) if number
        }

    return {
        "release": system.kernel.release,
        "program_types": tried("libbpf_probe_bpf_prog_type", PROGRAM_TYPES),
        "map_types": tried("libbpf_probe_bpf_map_type", MAP_TYPES),
        "attach": dict(system.offers()),
    }
