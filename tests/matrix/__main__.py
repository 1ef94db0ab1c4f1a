"""``python -m tests.matrix [KERNEL ...]``: the cases on each kernel, as a table. Exit code 1 where one fails.

Without kernels those that continuous integration runs, as far as they can be had there; ``all`` for every version that is
said to be supported.
"""

from __future__ import annotations

import sys
import time

import bpfnb.vm
from bpfnb.errors import BpfnbError, KernelFeatureMissing, MissingDependency
from bpfnb.views.plain import Table
from tests.matrix.cases import CASES, NotOfferedError

ORDINARY = ("6.1", "6.12")
ALL = ("5.10", "6.1", "6.12", "6.18", "newest")


class Guest:
    """The machine of a column: another one takes the place of one whose kernel panicked or hung."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.vm = bpfnb.vm.start(kernel)

    def outcome(self, name: str) -> str:
        """What became of a case. One that fails has a second try, which is told of; timers under emulation come late."""
        began = time.monotonic()
        for again in (False, True):
            if not self.vm.running:
                self.vm.stop()
                self.vm = bpfnb.vm.start(self.kernel)
            try:
                CASES[name](self.vm)
                return f"passed {time.monotonic() - began:.1f} s" + " (second try)" * again
            except (NotOfferedError, KernelFeatureMissing) as error:
                self._say(f"{name}: {error}")
                return "not offered"
            except (AssertionError, BpfnbError, OSError) as error:
                self._say(f"{name}: {type(error).__name__}: {error}")
        return f"FAILED {time.monotonic() - began:.1f} s"

    def _say(self, text: str) -> None:
        print(f"{self.kernel}: {text}", file=sys.stderr, flush=True)


def run(kernel: str, only: str) -> dict[str, str]:
    """The outcome of each case on one kernel."""
    guest = Guest(kernel)
    try:
        print(f"{guest.vm}", file=sys.stderr, flush=True)
        outcomes = {}
        for name in CASES:
            if only in name:
                outcomes[name] = guest.outcome(name)
                print(f"{kernel}: {name}: {outcomes[name]}", file=sys.stderr, flush=True)
        return outcomes
    finally:
        guest.vm.stop()


def main(words: list[str]) -> int:
    only = next((word.removeprefix("--only=") for word in words if word.startswith("--only=")), "")
    asked = [word for word in words if not word.startswith("--")]
    kernels = list(ALL) if asked == ["all"] else asked or list(ORDINARY)
    columns: dict[str, dict[str, str]] = {}
    for kernel in kernels:
        try:
            columns[kernel] = run(kernel, only)
        except MissingDependency as error:
            if asked:
                raise
            print(f"{kernel} is left out: {error}", file=sys.stderr)
    if not columns:
        print("no kernel to test on")
        return 0
    kernels = list(columns)
    cases = [name for name in CASES if only in name]
    rows = [(name, *(columns[kernel][name] for kernel in kernels)) for name in cases]
    print(Table(("case", *kernels), rows).text())
    bad = sum("FAILED" in cell for row in rows for cell in row[1:])
    print(f"{bad} failed" if bad else "all passed, or not offered by that kernel")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
