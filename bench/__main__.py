"""``./run bench [ring perf map cell sustained views bcc overhead filtering symbols recording vm ...]``: every benchmark, or the named ones."""

from __future__ import annotations

import os
import sys

from bench import bcc, cells, maps, recording, replay, report, rings, sustained, symbols, tools, views, vm

BENCHES = {
    "ring": rings.ring,
    "perf": rings.perf,
    "map": maps.hash_map,
    "cell": cells.cells,
    "sustained": sustained.sustained,
    "views": views.views,
    "bcc": bcc.bcc,
    "overhead": tools.overhead,
    "filtering": tools.filtering,
    "symbols": symbols.symbols,
    "replay": replay.replay,
    "recording": recording.recording,
    "vm": vm.vm,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"bench: unknown: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    report.note(f"kernel {os.uname().release}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}")
    for name in names or BENCHES:
        BENCHES[name]()
    return 1 if report.shortfalls() else 0


raise SystemExit(main(sys.argv[1:]))
