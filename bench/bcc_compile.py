"""Compiles bcc programs in children, one each, and tells the bytecode of their functions or why there is none.

``python -m bench.bcc_compile`` reads ``[{"text", "cflags", "tree"}]`` as JSON and writes a list of
``{"functions": {name: hex}, "log": text, "seconds": s}`` in the same order.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfnb.bcc.find import module

__all__ = ["Compiled", "compile_all"]

LIMIT = 60  # seconds for one program


@dataclass(frozen=True)
class Compiled:
    """``functions`` is None where the program does not compile; then ``log`` says why."""

    functions: dict[str, str] | None
    log: str
    seconds: float


def compile_all(jobs: Sequence[tuple[str, Sequence[str], Path]]) -> list[Compiled]:
    """(text, cflags, tree) each; two at a time would spoil the times, so they go one by one."""
    request = json.dumps(
        [{"text": text, "cflags": list(flags), "tree": str(tree)} for text, flags, tree in jobs]
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.bcc_compile"],
        input=request,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [Compiled(**row) for row in json.loads(done.stdout)]


def _compile(job: dict[str, object]) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        log = Path(folder) / "log"
        start = time.perf_counter()
        child = os.fork()
        if not child:
            signal.alarm(LIMIT)
            fd = os.open(log, os.O_CREAT | os.O_WRONLY)
            os.dup2(fd, 1)
            os.dup2(fd, 2)
            os.close(fd)
            _child(job, answer)
            os._exit(0)
        os.waitpid(child, 0)
        seconds = time.perf_counter() - start
        functions = json.loads(answer.read_text()) if answer.exists() else None
        return {"functions": functions, "log": log.read_text(errors="replace"), "seconds": seconds}


def _child(job: dict[str, object], answer: Path) -> None:
    lib = module().lib
    os.environ["BCC_KERNEL_SOURCE"] = str(job["tree"])
    cflags = job["cflags"]
    assert isinstance(cflags, list)
    flags = (ctypes.c_char_p * len(cflags))(*(flag.encode() for flag in cflags))
    handle = lib.bpf_module_create_c_from_string(str(job["text"]).encode(), 0, flags, len(flags), True, None)
    if not handle:
        return
    found = {}
    for number in range(lib.bpf_num_functions(handle)):
        name = lib.bpf_function_name(handle, number)
        code = ctypes.string_at(lib.bpf_function_start(handle, name), lib.bpf_function_size(handle, name))
        found[name.decode()] = _without_descriptors(code).hex()
    answer.write_text(json.dumps(found))


def _without_descriptors(code: bytes) -> bytes:
    """Map descriptors differ from process to process: an immediate load with source register 1 names one."""
    out = bytearray(code)
    for at in range(0, len(out), 8):
        if out[at] == 0x18 and out[at + 1] >> 4 == 1:
            out[at + 4 : at + 8] = bytes(4)
    return bytes(out)


if __name__ == "__main__":
    module()
    json.dump([_compile(job) for job in json.load(sys.stdin)], sys.stdout)
