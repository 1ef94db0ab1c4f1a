"""Macros whose value this kernel's BTF gives away, or that changed between versions: they go before the pack's."""

from __future__ import annotations

from collections.abc import Mapping

from bpfnb.bcc.kernel import Kernel
from bpfnb.btf import Array, Composite, fields

__all__ = ["derived"]

# The length of an array that is declared with the macro: by the struct's member, in the first struct that has it.
_LENGTHS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "DNAME_INLINE_LEN": (("dentry", "d_iname"), ("dentry", "d_shortname")),
    "TASK_COMM_LEN": (("task_struct", "comm"),),
    "MAX_SKB_FRAGS": (("skb_shared_info", "frags"),),
    "DISK_NAME_LEN": (("gendisk", "disk_name"),),
    "IFNAMSIZ": (("net_device", "name"),),
    "MAX_ADDR_LEN": (("net_device", "perm_addr"),),
    "NR_OPEN_DEFAULT": (("files_struct", "fd_array"),),
}


def derived(kernel: Kernel, name: str) -> str | None:
    """What stands for the macro on this kernel, None where the pack's line is right for all."""
    for struct, member in _LENGTHS.get(name, ()):
        if (length := _length(kernel, struct, member)) is not None:
            return str(length)
    if name == "TASK_TRACED" and kernel.version < 0x051300:
        return "(TASK_WAKEKILL | __TASK_TRACED)"
    return None


def _length(kernel: Kernel, struct: str, member: str) -> int | None:
    """How many elements a member has: of an array, or of the text in a union (dentry's short name)."""
    found = kernel.tag("struct", struct)
    if found is None:
        return None
    btf, number = found
    for one in fields(btf, number):
        if one.name == member:
            type_ = btf.resolve(one.type)
            if isinstance(type_, Composite):
                type_ = btf.resolve(type_.members[0].type)
            return type_.count if isinstance(type_, Array) else None
    return None
