"""From ``BPF(text=...)`` to attached, in a process of its own: ``python -m bench.bcc_attach ours|headers``.

Reads ``{"tree", "texts"}`` as JSON: the tree of installed headers for the peer, and the programs to load one after the
other. Writes the seconds of each. What Python imports before is not counted, on either side; the hook's
``enable()`` is, in the first.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import bpfnb.bcc.hook
from bpfnb.bcc.find import module

__all__: list[str] = []


def _seconds(mode: str, job: dict[str, Any]) -> Iterator[float]:
    bcc = module()
    warnings.simplefilter("ignore")
    if mode == "headers":
        os.environ["BCC_KERNEL_SOURCE"] = job["tree"]
    for number, text in enumerate(job["texts"]):
        start = time.perf_counter()
        if mode == "ours" and not number:
            bpfnb.bcc.enable()
        b = bcc.BPF(text=text)
        yield time.perf_counter() - start
        b.cleanup()


if __name__ == "__main__":
    job = json.load(sys.stdin)
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # clang's remarks on the headers
    os.write(output, json.dumps(list(_seconds(sys.argv[1], job))).encode())
