"""Makes what is kept of the labs beside their solutions: students' notebooks, and recordings.

python notebooks/labs/make.py student [NN ...]
python notebooks/labs/make.py record [NN ...]      # on a machine that may load programs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bpfnb.demo import execute
from bpfnb.lab.notebooks import write
from bpfnb.lab.results import read

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("student", "record"))
    parser.add_argument("numbers", nargs="*", metavar="NN", help="labs by number; all without it")
    args = parser.parse_args()
    for solution in sorted((HERE / "solutions").glob("*.ipynb")):
        if not args.numbers or solution.name[:2] in args.numbers:
            make(args.what, solution)
    return 0


def make(what: str, solution: Path) -> None:
    """Make one lab's student notebook, or its recordings."""
    if what == "student":
        write(solution, HERE / solution.name)
        print(HERE / solution.name)
        return
    folder = HERE / "recordings" / solution.name[:2]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # What a lab's own processes are given is made up, so its notebook may name columns that are else left out.
    metadata = json.loads(solution.read_text())["metadata"]["bpfnb"]
    os.environ["BPFNB_RECORD_INCLUDE"] = ",".join(metadata.get("include", ()))
    os.environ["BPFNB_RECORD"] = str(folder)
    with tempfile.TemporaryDirectory() as elsewhere:
        results = Path(elsewhere) / "results.json"
        os.environ["BPFNB_RESULTS"] = str(results)
        execute(solution)
        unsolved = [f"{entry['task']}: {entry['hint']}" for entry in read(results) if not entry["passed"]]
    if unsolved:
        sys.exit(f"{solution.name}: not to be kept, as not all checks passed\n" + "\n".join(unsolved))
    files = sorted(folder.iterdir())
    for file in files:
        print(f"{file}: {file.stat().st_size / 1000:.0f} KB")
    print(f"{folder}: {sum(file.stat().st_size for file in files) / 1000:.0f} KB")


if __name__ == "__main__":
    sys.exit(main())
