"""Attachments, each with how to end it. A link's program is detached when its descriptor closes, also
when the process dies.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bpfnb.kernel.libbpf import library
from bpfnb.kernel.syscall import close

__all__ = ["Link", "close_all", "fd_link", "group", "libbpf_link"]


def _nothing() -> None:
    """A descriptor's closing is enough."""


@dataclass(slots=True)
class Link:
    """One attachment: the BPF link descriptors that hold it, and what else must be undone.

    ``fds`` are closed by ``release`` where libbpf owns them (``owned`` false), else by :meth:`close`.
    """

    fds: list[int] = field(default_factory=list)
    owned: bool = True
    release: Callable[[], None] = _nothing
    program: str = ""

    def close(self) -> None:
        """Detach. Harmless when done before."""
        release, self.release = self.release, _nothing
        fds, self.fds = self.fds, []
        release()
        if self.owned:
            for fd in fds:
                close(fd)

    def abandon(self) -> None:
        """In a forked child: give up the copies of the descriptors, so that the parent alone keeps the attachment."""
        fds, self.fds, self.release = self.fds, [], _nothing
        for fd in fds:
            with contextlib.suppress(OSError):
                close(fd)


def fd_link(fd: int) -> Link:
    """A link that BPF_LINK_CREATE made."""
    return Link([fd])


def libbpf_link(pointer: int) -> Link:
    """A link that libbpf made."""
    lib = library()

    def destroy() -> None:
        lib.bpf_link__destroy(pointer)

    fd = lib.bpf_link__fd(pointer)
    return Link([fd] if fd >= 0 else [], owned=False, release=destroy)


def group(links: Sequence[Link]) -> Link:
    """Several attachments of one program under one number."""
    return Link([fd for link in links for fd in link.fds], owned=False, release=lambda: close_all(links))


def close_all(links: Sequence[Link]) -> None:
    """Detach several at once: the kernel waits for its readers at each tracepoint or uprobe (some 40 ms), and waits
    that overlap take the time of one or two.
    """

    def close(some: Sequence[Link]) -> None:
        for link in some:
            link.close()

    waiting = []
    for start in range(1, min(len(links), 16)):
        thread = threading.Thread(target=close, args=(links[start::16],), name="bpfnb-detach")
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            close(links[start::16])
        else:
            waiting.append(thread)
    close(links[::16])
    for thread in waiting:
        thread.join()
