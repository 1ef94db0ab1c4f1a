"""The colours of a heatmap: even steps in lightness, the same for every kind of colour vision and on every page.

viridis (van der Walt and Smith, https://bids.github.io/colormap/), as a polynomial of the sixth degree fitted to their
table by Matt Zucker (https://www.shadertoy.com/view/WlfXRN, public domain). A count of zero is darker than the darkest,
and the scale begins above that, so that one event is seen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["FLOOR", "MAPPINGS", "ZERO", "scale", "shade"]

ZERO = (14, 9, 22)
FLOOR = 0.12
"""Where on the scale the smallest count stands."""

MAPPINGS = ("sqrt", "log", "linear")

_VIRIDIS = np.array(
    [
        [0.2777273272234177, 0.005407344544966578, 0.3340998053353061],
        [0.1050930431085774, 1.404613529898575, 1.384590162594685],
        [-0.3308618287255563, 0.214847559468213, 0.09509516302823659],
        [-4.634230498983486, -5.799100973351585, -19.33244095627987],
        [6.228269936347081, 14.17993336680509, 56.69055260068105],
        [4.776384997670288, -13.74514537774601, -65.35303263337234],
        [-5.435455855934631, 4.645852612178535, 26.3124352495832],
    ]
)


def scale(size: int) -> npt.NDArray[np.uint8]:
    """*size* colours from the smallest count's to the largest's, (size, 3)."""
    x = np.linspace(FLOOR, 1, size)
    colors = np.polynomial.polynomial.polyval(x, _VIRIDIS).T
    found: npt.NDArray[np.uint8] = np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8)
    return found


def shade(counts: npt.NDArray[np.float64], most: float, mapping: str) -> npt.NDArray[np.float64]:
    """Where counts between 0 and *most* stand on the scale, 0 to 1."""
    if most <= 0:
        return np.zeros_like(counts)
    share = np.clip(counts, 0, most) / most
    if mapping == "sqrt":
        return np.sqrt(share)
    if (
        mapping == "log"
    ):  # log(1 + count), which leaves small counts apart; a fraction of one stays near its share
        shaded: npt.NDArray[np.float64] = np.log1p(share * most) / np.log1p(most)
        return shaded
    return share
