"""Addresses to names: of the kernel, of processes, of code that was made while it ran."""

from __future__ import annotations

from bpfnb.symbols.frame import AddressNames, Frame, Inlined
from bpfnb.symbols.kallsyms import Kallsyms
from bpfnb.symbols.symbolizer import MACHINE, Symbolizer

__all__ = ["MACHINE", "AddressNames", "Frame", "Inlined", "Kallsyms", "Symbolizer"]
