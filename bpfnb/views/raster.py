"""SVG to PNG, by resvg: one small library of its own, without a browser, Cairo or other things of the system's.

It draws text with the system's fonts, but knows the generic families only by the names that they have on other
systems, so the first font that is here stands in for all of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bpfnb.errors import BadValue, MissingDependency

__all__ = ["png"]

_SANS = (
    "Arial,Helvetica,Liberation Sans,DejaVu Sans,Noto Sans,Nimbus Sans,FreeSans,"
    "Open Sans,Roboto,Ubuntu,Cantarell,Adwaita Sans,Droid Sans"
)
_MONO = (
    "Liberation Mono,DejaVu Sans Mono,Noto Sans Mono,Noto Mono,Nimbus Mono PS,FreeMono,"
    "Roboto Mono,Ubuntu Mono,Adwaita Mono,Courier New"
)


def png(svg: str, scale: float = 2.0) -> bytes:
    """*svg* as a PNG image, each of its units *scale* pixels wide and high; transparent where nothing is drawn.

    :raises MissingDependency: the package resvg-py is not installed, or there is text and no font to draw it.
    :raises BadValue: *svg* is no SVG, or too large at this scale.
    """
    resvg = _resvg()
    sans, mono = _font(_SANS), _font(_MONO)
    if "<text" in svg and not (sans or mono):
        raise MissingDependency(
            "no font was found to draw the picture's text", hints=["sudo apt-get install fonts-dejavu-core"]
        )
    family = sans or mono or None
    try:
        image: bytes = resvg.svg_to_bytes(
            svg_string=svg,
            zoom=scale,
            font_family=family,
            serif_family=family,
            sans_serif_family=family,
            monospace_family=mono or family,
        )
    except ValueError as error:
        raise BadValue(f"the picture could not be drawn: {error}") from None
    return image


def _resvg() -> Any:
    try:
        import resvg_py
    except ImportError:
        raise MissingDependency("PNG images need resvg-py", hints=["pip install resvg-py"]) from None
    return resvg_py


@cache
def _font(families: str) -> str:
    """The first of *families* that is installed, as a letter drawn in it shows; empty if none is."""
    resvg = _resvg()
    frame = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    nothing = resvg.svg_to_bytes(svg_string=frame.format(""))
    for family in families.split(","):
        letter = f'<text y="16" font-family="{family}">m</text>'
        if resvg.svg_to_bytes(svg_string=frame.format(letter)) != nothing:
            return family
    return ""
