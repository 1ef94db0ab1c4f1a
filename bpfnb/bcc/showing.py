"""A tool's output in a notebook cell as it comes, and the cell's interrupts handed to the tool."""

from __future__ import annotations

import re
import sys

from bpfnb.bcc.scripts import Script
from bpfnb.views.display import in_notebook

__all__ = ["show"]

# What `clear` prints, with which tools that redraw themselves begin each time.
_CLEAR = re.compile(r"\x1b\[H\x1b\[2?J(?:\x1b\[3J)?")


def show(script: Script) -> int:
    """Prints until the tool ends; returns its exit code.

    The first interrupt is the tool's, as Ctrl-C in a terminal: many print what they have measured then. The second
    ends it.
    """
    interrupts = 0
    with script:
        while True:
            try:
                for piece in script:
                    _print(piece)
                break
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 2:  # somebody else holds its output open
                    raise
                script.interrupt() if interrupts == 1 else script.stop()
    code = script.returncode or 0
    if code and not interrupts:
        ended = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        print(f"{script.path.name}: {ended}", file=sys.stderr)
    return code


def _print(piece: str) -> None:
    before, *redrawn = _CLEAR.split(piece) if in_notebook() else [piece]
    print(before, end="", flush=True)
    for text in redrawn:
        from IPython.display import clear_output

        clear_output(wait=True)
        print(text, end="", flush=True)
