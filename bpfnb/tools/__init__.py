"""Ready-made probes: ``t = bpfnb.tools.execsnoop(comm="make")`` starts one, ``t.df`` is its frame.

A tool is ``NAME.py`` here, with one subclass of :class:`~bpfnb.tools.tool.Tool`, beside ``bpf/tools/NAME.bpf.c``.
The names of its own types begin with its name: all of the kernel's are there too, and each kernel has others.
:func:`names` lists them, :func:`find` gives one; each is also an attribute of this package, imported on first use.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bpfnb.bpf import TOOLS
from bpfnb.errors import UnknownName

if TYPE_CHECKING:
    from bpfnb.tools.tool import Tool

__all__ = ["find", "names"]


def names() -> list[str]:
    """The tools there are, by name."""
    return sorted(path.name.removesuffix(".bpf.c") for path in TOOLS.glob("*.bpf.c"))


def find(name: str) -> type[Tool]:
    """The tool of this name. Raises UnknownName with the nearest one."""
    known = names()
    if name not in known:
        raise UnknownName.among(known, name, f"there is no tool '{name}'")
    return _tool_of(import_module(f"{__name__}.{name}"))


def _tool_of(module: ModuleType) -> type[Tool]:
    from bpfnb.tools.tool import Tool

    found = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Tool))
    return next(value for value in found if value.__module__ == module.__name__)


class _Tools(ModuleType):
    """This package, whose attributes are tools and not the modules that they are in.

    Importing a module makes it an attribute of its package, whoever imports it.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in names():
            value = _tool_of(value)
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return find(name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *names()]


sys.modules[__name__].__class__ = _Tools
