"""What an executed notebook shows, its drawings, where they are images, among it."""

from __future__ import annotations

import base64
import re
from typing import Any

__all__ = ["drawings", "inlined", "shown"]

_IMAGE = re.compile(r'<img\b[^>]*src="data:image/svg\+xml;base64,([^"]*)"[^>]*>')


def drawings(html: str) -> list[str]:
    """Each ``<svg>`` that *html* shows."""
    return [_svg(found) for found in _IMAGE.finditer(html)]


def inlined(html: str) -> str:
    """*html* with the drawings in the places of their images."""
    return _IMAGE.sub(_svg, html)


def shown(notebook: Any, start: str) -> str:
    """What the cell shows whose source begins with *start*."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return "\n".join(inlined(o.data["text/html"]) for o in cell.outputs if "text/html" in o.get("data", {}))


def _svg(found: re.Match[str]) -> str:
    return base64.b64decode(found[1]).decode()
