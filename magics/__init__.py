"""``%load_ext bpfnb``: the ``%%bpf`` cell, the ``%bpf`` line and their completion. Importing changes nothing."""

from __future__ import annotations

from typing import Any

__all__ = ["load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(ip: Any) -> None:
    """Register the magics and the completer with a shell."""
    from .completion import matcher
    from .magic import BpfMagics

    ip.register_magics(BpfMagics(ip))
    if matcher not in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.append(matcher)


def unload_ipython_extension(ip: Any) -> None:
    """Close every object of this process and take the magics and the completer out of the shell again."""
    from bpfnb import close_all

    from .completion import matcher
    from .magic import BpfMagics

    close_all()
    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop("bpf", None)
    ip.magics_manager.magics["cell"].pop("bpftrace", None)
    magics = ip.magics_manager.registry.pop(BpfMagics.__name__, None)
    if magics in ip.configurables:
        ip.configurables.remove(magics)
    if matcher in ip.Completer.custom_matchers:
        ip.Completer.custom_matchers.remove(matcher)
