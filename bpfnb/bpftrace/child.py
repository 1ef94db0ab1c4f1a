"""``python child.py LIFELINE COMMAND...``: runs a command that ends when LIFELINE, a pipe of the parent's, does.

Nothing of bpfnb is imported: this process is there for as long as the command. Both are a process group, which is
killed as a whole when the parent is gone, however it went.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main(lifeline: int, command: list[str]) -> int:
    libc = ctypes.CDLL(None)
    # The command gets the group's signals itself; this process only passes its end on. Ignoring is inherited.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: None)
    process = subprocess.Popen(
        command,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    os.write(1, b'{"type": "pid", "data": %d}\n' % process.pid)
    ended = os.pidfd_open(process.pid)
    while True:
        ready, _, _ = select.select([lifeline, ended], [], [])
        if lifeline in ready:
            os.killpg(0, signal.SIGKILL)
        code = process.wait()
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
