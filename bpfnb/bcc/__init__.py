"""bcc's dialect of BPF C, through the real bcc of the distribution, on any kernel with BTF and without its headers.

:func:`enable` makes any ``from bcc import BPF`` program of the process run without headers; :func:`compile` gives a
``BPF`` object with its diagnostics; :func:`run_script` runs one of bcc's packaged tools in a child;
:func:`static_tree` makes headers for programs that bpfnb cannot reach.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfnb.bcc.headers import static_tree
    from bpfnb.bcc.hook import BccWarning, compile, diagnostics, disable, enable, enabled  # noqa: A004
    from bpfnb.bcc.scripts import Script, run_script

__all__ = [
    "BccWarning",
    "Script",
    "compile",
    "diagnostics",
    "disable",
    "enable",
    "enabled",
    "run_script",
    "static_tree",
]

_HOMES = {"static_tree": "headers", "Script": "scripts", "run_script": "scripts"}


def __getattr__(name: str) -> Any:
    """Import on first use: telling the dialects apart, which each cell needs, takes little of this."""
    if name not in __all__:
        raise AttributeError(f"module 'bpfnb.bcc' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"bpfnb.bcc.{_HOMES.get(name, 'hook')}"), name)
