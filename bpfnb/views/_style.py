"""What all views share: escaping, human units, and one style sheet that follows the notebook's theme.

Colours come from JupyterLab's CSS variables, then VS Code's, then a pair for light and dark pages. No scripts
and nothing from elsewhere, so a saved notebook looks the same without a network. Whatever is essential is text:
it survives where a host strips styles.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from typing import Any, Literal

__all__ = [
    "CATEGORIES",
    "Palette",
    "Theme",
    "bar",
    "esc",
    "humanize",
    "humanize_all",
    "palette",
    "pictured",
    "share",
    "styled",
]

DURATIONS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
"""Nanoseconds in each unit of time that an annotation may name."""

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BYTES = ("B", "bytes", "byte")

Number = int | float

_CSS = """
.b-still{--b-fg:var(--jp-content-font-color1,var(--vscode-editor-foreground,light-dark(#1f2328,#e6edf3)));
--b-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,light-dark(#57606a,#9da7b3)));
--b-bg:var(--jp-layout-color1,var(--vscode-editor-background,light-dark(#fff,#0d1117)));
--b-soft:var(--jp-layout-color2,var(--vscode-editorWidget-background,light-dark(#eef1f4,#21262d)));
--b-line:var(--jp-border-color2,var(--vscode-panel-border,light-dark(#d0d7de,#3d444d)));
--b-accent:var(--jp-brand-color1,var(--vscode-focusBorder,light-dark(#1f6feb,#4493f8)));
--b-ok:var(--jp-success-color1,var(--vscode-charts-green,light-dark(#1a7f37,#3fb950)));
--b-warn:var(--jp-warn-color1,var(--vscode-editorWarning-foreground,light-dark(#bc4c00,#db8b0b)));
--b-bad:var(--jp-error-color1,var(--vscode-errorForeground,light-dark(#cf222e,#f85149)));
--b-mono:var(--jp-code-font-family,ui-monospace,SFMono-Regular,Menlo,Consolas,monospace);
display:block;box-sizing:border-box;max-width:60em;color:var(--b-fg);background:var(--b-bg);
font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);font-variant-numeric:tabular-nums}
[data-jp-theme-light="false"] .b-still,.vscode-dark .b-still,
.vscode-high-contrast:not(.vscode-high-contrast-light) .b-still{color-scheme:dark}
.b-still.b-panel{border:1px solid var(--b-line);border-radius:6px;padding:8px 12px}
.b-still.b-still.b-panel table{width:100%}
.b-still .b-head{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:baseline}
.b-still .b-name{font:600 15px var(--b-mono)}
.b-still .b-dim{color:var(--b-dim)}
.b-still .b-badge{border:1px solid var(--b-line);border-radius:9px;padding:0 8px;white-space:nowrap}
.b-still .b-badge::before{content:"";display:inline-block;width:8px;height:8px;border-radius:50%;
margin-right:6px;background:var(--b-dim)}
.b-still .b-ok::before{background:var(--b-ok)}
.b-still .b-warn::before{background:var(--b-warn)}.b-still .b-warn{border-color:var(--b-warn)}
.b-still .b-bad::before{background:var(--b-bad)}.b-still .b-bad{border-color:var(--b-bad)}
.b-still .b-note{margin:6px 0 0;padding:2px 8px;border-left:3px solid var(--b-warn);background:var(--b-soft)}
.b-still.b-still table{border-collapse:collapse;border:0;margin:8px 0 0;font:inherit;color:inherit;
table-layout:auto}
.b-still.b-still caption{caption-side:top;text-align:left;font-weight:600;padding:0 0 2px;color:var(--b-dim)}
.b-still.b-still tr,.b-still.b-still thead,.b-still.b-still tbody tr:nth-child(n){background:none;border:0}
.b-still.b-still th,.b-still.b-still td{text-align:left;vertical-align:top;padding:2px 16px 2px 0;border:0;
border-top:1px solid var(--b-line);max-width:none;white-space:normal}
.b-still.b-still thead th{border-top:0;font-weight:400;font-size:12px;color:var(--b-dim);white-space:nowrap}
.b-still.b-still tbody th{font:600 12px/1.6 var(--b-mono);white-space:nowrap}
.b-still.b-still .b-num{text-align:right;white-space:nowrap}
.b-still.b-still td.b-code{font:12px/1.6 var(--b-mono);overflow-wrap:anywhere}
.b-still .b-bar{display:inline-block;width:72px;height:8px;border-radius:4px;background:var(--b-soft);
overflow:hidden;margin-left:8px;vertical-align:middle}
.b-still .b-bar>span{display:block;height:100%;background:var(--b-accent)}
.b-still .b-bar.b-full>span{background:var(--b-bad)}
.b-still pre{font:12px/1.5 var(--b-mono);color:inherit;background:none;margin:0;overflow:auto;max-height:40em}
.b-still details{margin:4px 0 0}.b-still summary{cursor:pointer;color:var(--b-dim)}
.b-still svg{display:block;margin:0 0 10px;width:100%;max-width:720px;height:auto;
font:11px var(--jp-ui-font-family,sans-serif)}
.b-still img{display:block;max-width:100%;height:auto}
.b-still svg text{fill:var(--b-dim)}
.b-still svg .b-column{fill:var(--b-accent)}.b-still svg .b-column:hover{opacity:.7}
.b-still svg .b-grid{stroke:var(--b-line)}.b-still svg .b-mark{stroke:var(--b-fg);stroke-dasharray:3 3}
.b-still svg .b-marktext{fill:var(--b-fg);paint-order:stroke;stroke:var(--b-bg);stroke-width:3px}
"""


Theme = Literal["auto", "light", "dark"]
"""``auto``: follows the page that shows the picture, by CSS variables; the others have their colours in them."""

CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b5a600", "#7f7f7f")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), told apart whatever way one sees colours; the yellow is
darker here, to be seen on white."""


@dataclass(frozen=True)
class Palette:
    """Colours as SVG attributes and CSS take them."""

    fg: str
    dim: str
    bg: str
    soft: str
    line: str
    accent: str
    ok: str
    warn: str
    bad: str
    categories: tuple[str, ...] = CATEGORIES


_LIGHT = Palette(
    "#1f2328", "#57606a", "#ffffff", "#eef1f4", "#d0d7de", "#1f6feb", "#1a7f37", "#bc4c00", "#cf222e"
)
_DARK = Palette(
    "#e6edf3", "#9da7b3", "#0d1117", "#21262d", "#3d444d", "#4493f8", "#3fb950", "#db8b0b", "#f85149"
)


def palette(theme: Theme) -> Palette:
    """The colours of *theme*. Those of ``auto`` are CSS variables with the light ones behind them."""
    if theme != "auto":
        return _LIGHT if theme == "light" else _DARK
    names = [f.name for f in fields(Palette) if f.name != "categories"]
    following: dict[str, Any] = {name: f"var(--b-{name},{getattr(_LIGHT, name)})" for name in names}
    return replace(_LIGHT, **following)


def esc(value: object) -> str:
    """*value* as HTML text. Names, comms and notes come from the kernel and from cells: none is trusted."""
    return escape(printable(str(value)), quote=True)


def printable(text: str) -> str:
    """*text* on one line, control characters (a comm may hold any byte) written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def styled(body: str, label: str, *, panel: bool = False) -> str:
    """*body* in a labelled section with the style sheet beside it."""
    # A name of its own: the sheet is the whole page's, and live views stand on the same page.
    kind = "bpfnb b-still b-panel" if panel else "bpfnb b-still"
    return f'<style>{_CSS}</style><section class="{kind}" aria-label="{esc(label)}">{body}</section>'


_DRAWING = re.compile(r"<svg\b[^>]*>.*?</svg>", re.DOTALL)
_ATTRIBUTE = re.compile(r'\s(aria-label|width|viewBox)="([^"]*)"')


def pictured(markup: str, theme: Theme) -> str:
    """*markup* with each ``<svg>`` in it as an image on the background of *theme*, its label as the text beside.

    Notebooks that somebody else made are shown without the drawings in their HTML (JupyterLab until one trusts
    them, GitHub always); images stay.
    """
    return _DRAWING.sub(lambda found: _image(found.group(), palette(theme).bg), markup)


def _image(drawing: str, background: str) -> str:
    opening, rest = drawing[: drawing.index(">") + 1], drawing[drawing.index(">") + 1 :]
    about = dict(_ATTRIBUTE.findall(opening))
    if "xmlns=" not in opening:
        opening = opening.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    if "viewBox" in about:
        x, y, wide, tall = about["viewBox"].split()
        opening += f'<rect x="{x}" y="{y}" width="{wide}" height="{tall}" fill="{background}"/>'
    data = base64.b64encode((opening + rest).encode()).decode()
    width = f' width="{about["width"]}"' if about.get("width", "").isdigit() else ""
    return f'<img alt="{about.get("aria-label", "")}"{width} src="data:image/svg+xml;base64,{data}"/>'


def bar(fill: float) -> str:
    """A small horizontal bar. The number stands beside it as text, so it is hidden from screen readers."""
    percent = 100 * min(max(fill, 0.0), 1.0)
    full = " b-full" if fill >= 0.9 else ""
    return f'<span class="b-bar{full}" aria-hidden="true"><span style="width:{percent:.1f}%"></span></span>'


def share(value: float | None) -> str:
    """A share between 0 and 1 as a percentage; ``-`` where there is none."""
    if value is None or math.isnan(value):
        return "-"
    percent = 100 * value
    if 0 < percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.0f} %" if percent == round(percent) else f"{percent:.{2 if percent < 1 else 1}f} %"


def humanize(value: Number, unit: str | None = None, digits: int = 3) -> str:
    """*value* as a person reads it: time in ns to s, bytes in B to EiB, other whole numbers exactly.

    >>> humanize(1_500_000, "ns"), humanize(4096, "bytes"), humanize(1 << 20), humanize(1234567)
    ('1.5 ms', '4 KiB', '1 Mi', '1,234,567')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if unit in DURATIONS:
        nanoseconds = value * DURATIONS[unit]
        # The scale is chosen after rounding, so that 999.9 us reads 1 ms.
        best = "ns"
        for name, factor in DURATIONS.items():
            if float(f"{abs(nanoseconds):.{digits}g}") >= factor:
                best = name
        return f"{_rounded(nanoseconds / DURATIONS[best], digits)} {best}"
    suffix = "B" if unit in _BYTES else ""
    whole = int(value) if float(value).is_integer() else None
    tail = f" {unit}" if unit and not suffix else ""
    if whole is None:
        return f"{_rounded(value, digits)} {suffix}".rstrip() + tail
    power = 0
    while abs(whole) >= 1024 and whole % 1024 == 0 and power < len(_BINARY) - 1:
        whole //= 1024
        power += 1
    if suffix and abs(whole) >= 1024:
        scaled = float(whole)
        while abs(scaled) >= 1024 and power < len(_BINARY) - 1:
            scaled /= 1024
            power += 1
        return f"{_rounded(scaled, digits)} {_BINARY[power]}{suffix}"
    return f"{whole:,} {_BINARY[power]}{suffix}".rstrip() + tail


def humanize_all(values: Sequence[Number], unit: str | None = None) -> list[str]:
    """Labels for *values*, with as many digits as it takes for different numbers to read differently."""
    labels: list[str] = []
    for digits in (3, 4, 6, 9, 12, 17):
        labels = [humanize(value, unit, digits) for value in values]
        if len(set(labels)) == len(set(values)):
            break
    return labels


def _rounded(value: float, digits: int) -> str:
    text = f"{value:.{digits}g}"
    if "e" not in text or not 1e-4 <= abs(value) < 1e9:
        return text
    return f"{float(text):,.0f}"
