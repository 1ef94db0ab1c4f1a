"""Calls of Python functions in a running CPython, counted by function; with latency also how long they took.

``pid`` names the process. It must keep a perf map: CPython 3.12 and newer, started as ``python -X perf`` or with
PYTHONPERFSUPPORT=1, or, while it runs, ``sys.activate_stack_trampoline("perf")``. Then every call is seen, and each
time that a generator goes on; functions written in C are not. A row for each function with its ``file``; ``total`` and
``mean`` of ``latency`` are from call to return, all that it calls included. Without a perf map there is nothing that
tells the functions apart: since 3.11 the interpreter calls Python from Python without a call in C, and its USDT probes
function__entry and function__return (``--with-dtrace``) work up to 3.10 only; the tool usdt traces those. Linux 5.11.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bpfnb.errors import BadValue, MissingDependency
from bpfnb.kernel.binaries import Binary
from bpfnb.kernel.system import path, readable
from bpfnb.symbols.perfmap import PerfMap
from bpfnb.tools.distribution import NS
from bpfnb.tools.probed import one_pid
from bpfnb.tools.tool import Load, Option, Tool
from bpfnb.tools.usdt import mapped

_EVALUATE = "_PyEval_EvalFrameDefault"


class PyCalls(Tool):
    family = "user space"
    options = (Option("latency", bool, "also how long the calls took", variable=False),)
    stream = "counts"

    def prepare(self) -> Load:
        pid = one_pid(self.filters)
        if pid is None:
            raise BadValue("of which process?", hints=["pid= of one CPython"])
        self._pid, self._map = pid, PerfMap()
        self._known: dict[int, tuple[str, str]] = {}
        binary = _interpreter(pid)
        self._path, self._owner = _map_of(pid)
        self._learn([])
        if not len(self._map):
            raise _unsupported(pid, binary)
        self._latency = bool(self.given.get("latency"))
        where = {"binary": str(binary.path), "pid": pid}
        return Load(defines=("LATENCY",) if self._latency else (), attach=where)

    def _learn(self, addresses: list[int]) -> None:
        """The functions of new addresses, by what the process has written to its map since."""
        while self._map.update(self._path, self._owner):
            pass
        fresh = np.array([address for address in addresses if address not in self._known], np.uint64)
        frames = self._map.find(fresh, np.ones(len(fresh), np.uint64))
        for address, frame in zip(fresh.tolist(), frames, strict=True):
            if frame is not None and frame.kind == "python":
                self._known[address] = frame.function or "", frame.file or ""

    def frame(self, raw: pd.DataFrame) -> pd.DataFrame:
        addresses = raw["address"].tolist()
        self._learn(addresses)
        named = raw[np.array([address in self._known for address in addresses], bool)]
        both = [self._known[address] for address in named["address"].tolist()]
        named = named.assign(function=[name for name, _ in both], file=[file for _, file in both])
        keys = ["comm", "pid", "function", "file"]
        frame = named.groupby(keys, observed=True)[["count", "total"]].sum().reset_index()
        order = ["total", "count"] if self._latency else ["count"]
        frame = frame.sort_values(
            [*order, "function"], ascending=[False] * len(order) + [True], kind="stable"
        )
        frame = frame.astype({"function": "category", "file": "category"})
        totals = frame.pop("total")
        if self._latency:
            frame = frame.assign(total=totals, mean=totals // frame["count"].clip(lower=1))
        frame.attrs["bpfnb_columns"] = {**raw.attrs.get("bpfnb_columns", {}), "total": NS, "mean": NS}
        return frame


def _interpreter(pid: int) -> Binary:
    """The file in which the process's interpreter is. Raises BadValue where it is no CPython."""
    for file in mapped(pid):
        if "python" not in file.name:
            continue
        try:
            binary = Binary(readable(file))
        except (OSError, ValueError):
            continue
        if binary.offset(_EVALUATE) is not None:
            return binary
    raise BadValue(
        f"the process {pid} is no CPython whose symbols are known",
        hints=[f"its program or libpython has to have the function {_EVALUATE}"],
    )


def _map_of(pid: int) -> tuple[Path, int]:
    """Where a process's perf map is, by the number that the process itself goes by, and its user."""
    lines = path(f"/proc/{pid}/status").read_text().splitlines()
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    inner = about.get("NStgid", str(pid)).split()[-1]
    return path(f"/proc/{pid}/root/tmp/perf-{inner}.map"), int(about["Uid"].split()[0])


def _unsupported(pid: int, binary: Binary) -> MissingDependency:
    hints = [
        "start it as python -X perf, or with PYTHONPERFSUPPORT=1 (CPython 3.12)",
        "or let it call sys.activate_stack_trampoline('perf')",
    ]
    if any(probe.name == "function__entry" for probe in binary.probes()):
        hints.append(
            f"it has the probe function__entry, which CPython up to 3.10 passes: "
            f'bpfnb.tools.usdt("{binary.path}:python:function__*", pid={pid})'
        )
    hints.append(f"its C functions can be traced: bpfnb.tools.funccount('{binary.path}:Py*', pid={pid})")
    return MissingDependency(
        f"the process {pid} keeps no perf map, so nothing tells its Python functions apart", hints=hints
    )
