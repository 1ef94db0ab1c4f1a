"""Calls that change what is mounted: mount, umount, pivot_root, and the newer ones that mount in steps.

A row for each call, those that failed too. The newer calls are fsopen, fsconfig, fsmount, fspick, open_tree, move_mount
and mount_setattr. ``flags`` are the call's own (of fsconfig the command, of fsmount and mount_setattr the attributes
that are set), ``fd`` the descriptor that it made, ``mntns`` the caller's mount namespace. ``data`` is what the file
system is told. Where move_mount moves a descriptor's mount, ``source`` and ``fs`` are that mount's. Linux 5.17.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from bpfnb.tools.flagnames import named, of_bits
from bpfnb.tools.tool import Option, Tool

# include/uapi/linux/mount.h
_MOUNT = (
    *(
        "rdonly",
        "nosuid",
        "nodev",
        "noexec",
        "synchronous",
        "remount",
        "mandlock",
        "dirsync",
        "nosymfollow",
        "",
    ),
    *("noatime", "nodiratime", "bind", "move", "rec", "silent", "posixacl", "unbindable", "private", "slave"),
    *("shared", "relatime", "kernmount", "i_version", "strictatime", "lazytime"),
)
MOUNT = {f"MS_{name.upper()}": 1 << bit for bit, name in enumerate(_MOUNT) if name}
UMOUNT = {"MNT_FORCE": 1, "MNT_DETACH": 2, "MNT_EXPIRE": 4, "UMOUNT_NOFOLLOW": 8}
ATTRIBUTES = {
    "MOUNT_ATTR_RDONLY": 0x1,
    "MOUNT_ATTR_NOSUID": 0x2,
    "MOUNT_ATTR_NODEV": 0x4,
    "MOUNT_ATTR_NOEXEC": 0x8,
    "MOUNT_ATTR_NOATIME": 0x10,
    "MOUNT_ATTR_STRICTATIME": 0x20,
    "MOUNT_ATTR_NODIRATIME": 0x80,
    "MOUNT_ATTR_IDMAP": 0x100000,
    "MOUNT_ATTR_NOSYMFOLLOW": 0x200000,
}
FSPICK = {
    "FSPICK_CLOEXEC": 1,
    "FSPICK_SYMLINK_NOFOLLOW": 2,
    "FSPICK_NO_AUTOMOUNT": 4,
    "FSPICK_EMPTY_PATH": 8,
}
OPEN_TREE = {
    "OPEN_TREE_CLONE": 1,
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "AT_RECURSIVE": 0x8000,
    "OPEN_TREE_CLOEXEC": 0o2000000,
}
MOVE = {
    "MOVE_MOUNT_F_SYMLINKS": 0x1,
    "MOVE_MOUNT_F_AUTOMOUNTS": 0x2,
    "MOVE_MOUNT_F_EMPTY_PATH": 0x4,
    "MOVE_MOUNT_T_SYMLINKS": 0x10,
    "MOVE_MOUNT_T_AUTOMOUNTS": 0x20,
    "MOVE_MOUNT_T_EMPTY_PATH": 0x40,
    "MOVE_MOUNT_SET_GROUP": 0x100,
    "MOVE_MOUNT_BENEATH": 0x200,
}
COMMANDS = (
    *("FSCONFIG_SET_FLAG", "FSCONFIG_SET_STRING", "FSCONFIG_SET_BINARY", "FSCONFIG_SET_PATH"),
    *("FSCONFIG_SET_PATH_EMPTY", "FSCONFIG_SET_FD", "FSCONFIG_CMD_CREATE", "FSCONFIG_CMD_RECONFIGURE"),
    "FSCONFIG_CMD_CREATE_EXCL",
)
FLAGS: Mapping[str, Mapping[str, int]] = {
    "mount": MOUNT,
    "umount": UMOUNT,
    "pivot_root": {},
    "fsopen": {"FSOPEN_CLOEXEC": 1},
    "fsmount": ATTRIBUTES,
    "fspick": FSPICK,
    "open_tree": OPEN_TREE,
    "move_mount": MOVE,
    "mount_setattr": ATTRIBUTES,
}
MS_MAGIC = 0xC0ED0000  # which old programs put into the upper half of mount's flags


def flags_of(call: str, flags: int) -> str:
    """The flags of one call by name, joined by ``|``."""
    if call == "fsconfig":
        return COMMANDS[flags] if flags < len(COMMANDS) else str(flags)
    if call == "mount" and flags & 0xFFFF0000 == MS_MAGIC:
        flags &= 0xFFFF
    return of_bits(flags, FLAGS[call])


class Mounts(Tool):
    family = "files"
    rowwise = True
    options = (Option("failed", bool, "only calls that failed"),)
    columns = (
        *(
            "time",
            "comm",
            "pid",
            "uid",
            "mntns",
            "call",
            "fs",
            "source",
            "target",
            "flags",
            "data",
            "fd",
            "err",
        ),
    )

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        flags = pd.Series("", index=raw.index, dtype=object)
        for call, its in raw.groupby("call", observed=True)["flags"]:
            flags[its.index] = named(its, partial(flags_of, str(call))).astype(object)
        return raw.assign(flags=flags.astype("category"))[list(self.columns)]
