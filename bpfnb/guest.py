"""The guest of a session: where programs are loaded that are not told where.

``BPFNB_ON=6.12`` (or :func:`use`): from then on ``%%bpf``, :func:`bpfnb.load` and tools load into a guest with that
kernel, started when it is first needed. Recordings that are replayed (``BPFNB_REPLAY``) come before it.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfnb.vm.kernels import Kernel
    from bpfnb.vm.machine import Vm

__all__ = ["bring_back", "chosen", "current", "meaning", "prepared", "set_aside", "use", "wanted"]

_lock = threading.RLock()
_asked = os.environ.get("BPFNB_ON") or None
_guest: Vm | None = None
_aside: tuple[str | None, Vm | None] = (None, None)


def wanted() -> str | None:
    """The kernel of this session's guest, as :func:`bpfnb.vm.start` takes it, also before that is started and when it
    has ended; None where the session has none.
    """
    return _asked if _guest is None else _guest.kernel.wanted


def current() -> Vm | None:
    """The guest of this session as far as it was started."""
    return _guest


def use(vm: Vm | None) -> None:
    """Load what is not told where into this guest from now on; None: into this machine's kernel."""
    global _asked, _guest, _aside
    with _lock:
        _asked, _guest, _aside = None, vm, (None, None)


def set_aside() -> bool:
    """Load into this machine's kernel until :func:`bring_back`, or until another is used; whether there was a guest."""
    global _asked, _guest, _aside
    with _lock:
        if wanted() is None:
            return False
        _asked, _guest, _aside = None, None, (_asked, _guest)
        return True


def bring_back() -> None:
    """The guest that was set aside is the session's again."""
    global _asked, _guest, _aside
    with _lock:
        if _aside != (None, None):
            (_asked, _guest), _aside = _aside, (None, None)


def chosen() -> Vm | None:
    """The guest of this session, None where there is none. What :func:`bpfnb.vm.start` raises, where it starts one.

    One that has ended stays the session's: what was meant for it is refused rather than loaded into this machine's
    kernel.
    """
    if _asked is None:
        return _guest
    from bpfnb.vm.machine import start

    with _lock:
        if _asked is not None:
            use(start(_asked))
        return _guest


def meaning() -> AbstractContextManager[None]:
    """Within it, facts of the kernel (its types, functions, tracepoints) are those of the session's guest."""
    from bpfnb.kernel.system import meaning

    vm = chosen()
    return meaning(None if vm is None else vm.system)


def prepared() -> Kernel | None:
    """The kernel in which a session can be without fetching anything: 6.12, or the next newer one that is there."""
    from bpfnb.vm import kernels, qemu

    fit = [kernel for kernel in kernels.cached() if kernel.version >= (6, 12)] if qemu.present() else []
    return fit[0] if fit else None
