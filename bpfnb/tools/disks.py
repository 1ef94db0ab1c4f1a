"""What tools of disks have in common: names of devices and operations, and the hook that tells who wanted a request.

Columns ``dev`` (the kernel's device number) and ``type`` (the number of a REQ_OP) become ``disk`` and ``type``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd

from bpfnb.errors import UnknownName
from bpfnb.kernel.features import check_section
from bpfnb.kernel.system import path
from bpfnb.tools.flagnames import named
from bpfnb.tools.tool import Load, Option, Tool

__all__ = ["OPERATIONS", "DiskTool", "disk_number", "disks", "operation"]

OPERATIONS: Mapping[int, str] = {
    0: "read",
    1: "write",
    2: "flush",
    3: "discard",
    5: "secure_erase",
    7: "zone_append",
    9: "write_zeroes",
    11: "zone_open",
    13: "zone_close",
    15: "zone_finish",
    17: "zone_reset",
    19: "zone_reset_all",
    34: "driver_in",
    35: "driver_out",
}
"""REQ_OP_* of include/linux/blk_types.h. (Zone operations had other numbers before Linux 6.9.)"""


def disks() -> dict[int, str]:
    """The disks and partitions there are, by the kernel's device number (major << 20 | minor)."""
    found = {}
    for place in path("/sys/class/block").glob("*/dev"):
        major, _, minor = place.read_text().strip().partition(":")
        found[int(major) << 20 | int(minor)] = place.parent.name
    return found


def disk_number(value: Any) -> int:
    """The device number of ``vda``, ``/dev/vda`` or a number itself. Raises UnknownName."""
    name = str(value).removeprefix("/dev/")
    by_name = {name: number for number, name in disks().items()}
    if name.isdigit():
        return int(name)
    if name not in by_name:
        raise UnknownName.among(sorted(by_name), name, f"there is no disk '{name}' here")
    return by_name[name]


def operation(number: int) -> str:
    return OPERATIONS.get(number, f"REQ_OP {number}")


class DiskTool(Tool):
    """A tool whose program includes ``bpfnb/disk.h``."""

    disk = Option("disk", disk_number, "only this disk, such as vda", "DISK")
    options: ClassVar[tuple[Option, ...]] = (disk,)
    _disks: Mapping[int, str] = {}

    def prepare(self) -> Load:
        load = super().prepare()
        if check_section("tp_btf/block_io_start") is not None:
            load.defines = (*load.defines, "BPFNB_NO_IO_START")
        return load

    def with_names(self, raw: pd.DataFrame) -> pd.DataFrame:
        """*raw* with ``disk`` instead of ``dev``, and names of operations. Disks that are gone keep their names."""
        frame = raw.assign(type=named(raw["type"], operation))
        if "dev" in raw:
            if not set(raw["dev"].unique()) <= self._disks.keys():
                self._disks = {**self._disks, **disks()}
            frame["disk"] = named(
                raw["dev"], lambda dev: self._disks.get(dev, f"{dev >> 20}:{dev & 0xFFFFF}")
            )
        return frame
