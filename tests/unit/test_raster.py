"""PNG images have the pixels that the SVG describes."""

from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest

from bpfnb.errors import BadValue, MissingDependency
from bpfnb.views import raster
from bpfnb.views.raster import png

SQUARES = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20">
<rect width="20" height="20" fill="#1f6feb"/><rect x="20" width="10" height="10" fill="#ff0000" fill-opacity="0.5"/>
</svg>"""


def pixels(image: bytes) -> np.ndarray:
    """Rows of RGBA, decoded as the PNG specification says (https://www.w3.org/TR/png-3/, 8 bits, not interlaced)."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, size = 8, b"", (0, 0)
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        chunk = image[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            *size, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", chunk)
            assert (depth, color, interlaced) == (8, 6, 0)
        if kind == b"IDAT":
            data += chunk
        at += 12 + length
    width, height = size
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 4 * width)
    out = np.zeros((height + 1, width + 1, 4), np.int64)
    for y, line in enumerate(lines, 1):
        for x, value in enumerate(line[1:].reshape(width, 4).astype(np.int64), 1):
            left, up, corner = out[y, x - 1], out[y - 1, x], out[y - 1, x - 1]
            guess = left + up - corner
            far = [abs(guess - each) for each in (left, up, corner)]
            paeth = np.where(
                (far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], up, corner)
            )
            before = [np.zeros(4, np.int64), left, up, (left + up) // 2, paeth][line[0]]
            out[y, x] = (value + before) % 256
    return out[1:, 1:]


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_shapes_have_their_places_and_colours(scale):
    image = pixels(png(SQUARES, scale))
    assert image.shape == (20 * scale, 40 * scale, 4)
    at = lambda x, y: image[int(y * scale), int(x * scale)].tolist()  # noqa: E731
    assert at(10, 10) == [0x1F, 0x6F, 0xEB, 255]
    assert at(35, 5) == [0, 0, 0, 0]
    red, green, blue, alpha = at(25, 5)
    assert (red, green, blue) == (255, 0, 0)
    assert abs(alpha - 128) <= 1
    assert at(25, 15) == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "family",
    ["sans-serif", "system-ui,sans-serif", "serif", "monospace", "ui-monospace,Menlo,monospace", "Nope"],
)
def test_text_is_drawn_whatever_family_it_asks_for(family):
    words = f'<text x="2" y="16" font-size="14" font-family="{family}" fill="#123456">12.5 µs → p99</text>'
    image = pixels(png(f'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="20">{words}</svg>', 1.0))
    inked = image[image[..., 3] == 255][:, :3]
    assert len(inked) > 30
    assert (inked == [0x12, 0x34, 0x56]).all()
    columns = np.flatnonzero(image[..., 3].any(axis=0))
    assert columns[0] < 6
    assert 60 < columns[-1] < 119


def test_a_machine_without_fonts_is_told_so_unless_there_is_no_text(monkeypatch):
    monkeypatch.setattr(raster, "_font", lambda families: "")
    assert pixels(png(SQUARES, 1.0)).shape == (20, 40, 4)
    with pytest.raises(MissingDependency, match="font") as raised:
        png('<svg xmlns="http://www.w3.org/2000/svg"><text>a</text></svg>')
    assert "fonts-dejavu-core" in str(raised.value)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingDependency, match="resvg-py") as raised:
        png(SQUARES)
    assert "pip install resvg-py" in str(raised.value)


@pytest.mark.parametrize("wrong", ["", "<svg", "<p>no picture</p>"])
def test_what_is_no_svg_is_refused(wrong):
    with pytest.raises(BadValue, match="could not be drawn"):
        png(wrong)
