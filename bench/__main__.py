"""``./run bench [ring perf map cell sustained ...]``: every benchmark, or the named ones."""

from __future__ import annotations

import os
import sys

from bench import cells, maps, report, rings, sustained

BENCHES = {
    "ring": rings.ring,
    "perf": rings.perf,
    "map": maps.hash_map,
    "cell": cells.cells,
    "sustained": sustained.sustained,
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
