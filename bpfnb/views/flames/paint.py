"""Colours of frames, the same in static pictures and in the browser (js/src/flamegraph/paint.ts).

Origins have hues that differ for every kind of colour vision; a name moves its shade a little, so that neighbours can
be told apart. Differences go from blue (less) over grey to red (more).
"""

from __future__ import annotations

import colorsys
from typing import Literal

from bpfnb.views.flames.names import ORIGINS

__all__ = ["LEGEND", "Color", "diverging", "hashed", "of_name", "of_origin"]

Color = Literal["origin", "name", "diff"]

# Hue, saturation, and lightness on light pages, where dark text stands on it, and on dark ones, under light text.
_TONES = {
    "kernel": (30, 88, 69, 37),
    "user": (206, 66, 73, 40),
    "interpreter": (160, 42, 66, 31),
    "unknown": (0, 0, 80, 38),
}
_SPREAD = 6
LEGEND = dict(zip(ORIGINS, ("kernel", "user", "interpreter, JIT", "unknown"), strict=True))


def hashed(name: str) -> float:
    """A number from 0 to 1 that *name* has everywhere: FNV-1a, 32 bits."""
    value = 0x811C9DC5
    for byte in name.encode("utf-8", "replace"):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value / 0xFFFFFFFF


def of_origin(name: str, origin: int, *, dark: bool = False) -> str:
    """The colour of a frame by where its code comes from."""
    hue, saturation, light, darker = _TONES[ORIGINS[origin]]
    shade = 2 * hashed(name) - 1
    return _hsl(hue + 7 * shade, saturation, (darker if dark else light) + _SPREAD * shade)


def of_name(name: str, *, dark: bool = False) -> str:
    """A colour of the name's own."""
    number = hashed(name)
    return _hsl(360 * number, 48 if dark else 60, 36 if dark else 74)


def diverging(t: float, *, dark: bool = False) -> str:
    """-1 blue, 0 grey, 1 red."""
    middle = (58, 62, 68) if dark else (238, 238, 238)
    end = (
        ((229, 83, 75) if dark else (202, 50, 42)) if t > 0 else ((60, 140, 230) if dark else (38, 110, 190))
    )
    much = abs(t) ** 0.7  # small differences are to be seen too
    return "#" + "".join(f"{round(a + (b - a) * much):02x}" for a, b in zip(middle, end, strict=True))


def _hsl(hue: float, saturation: float, lightness: float) -> str:
    rgb = colorsys.hls_to_rgb(hue % 360 / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
