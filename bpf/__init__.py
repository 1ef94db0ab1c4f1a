"""The C side of bpfnb: headers for cells (``include/bpfnb/*.h``) and the tools' programs (``tools/*.bpf.c``)."""

from pathlib import Path

INCLUDE = Path(__file__).resolve().parent / "include"
"""Put this on clang's include path and a cell can say ``#include <bpfnb/annotations.h>``."""

TOOLS = Path(__file__).resolve().parent / "tools"
"""Where the programs of :mod:`bpfnb.tools` are."""
