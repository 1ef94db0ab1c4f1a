"""What all views share: escaping, human units, and one style sheet that follows the notebook's theme.

Colours come from JupyterLab's CSS variables, then VS Code's, then a pair for light and dark pages. No scripts
and nothing from elsewhere, so a saved notebook looks the same without a network. Whatever is essential is text:
it survives where a host strips styles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["bar", "esc", "humanize", "humanize_all", "share", "styled"]

DURATIONS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
"""Nanoseconds in each unit of time that an annotation may name."""

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BYTES = ("B", "bytes", "byte")

Number = int | float

_CSS = """
.bpfnb{--b-fg:var(--jp-content-font-color1,var(--vscode-editor-foreground,light-dark(#1f2328,#e6edf3)));
--b-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,light-dark(#57606a,#9da7b3)));
--b-bg:var(--jp-layout-color1,var(--vscode-editor-background,light-dark(#fff,#0d1117)));
--b-soft:var(--jp-layout-color2,light-dark(#eef1f4,#21262d));
--b-line:var(--jp-border-color2,var(--vscode-panel-border,light-dark(#d0d7de,#3d444d)));
--b-accent:var(--jp-brand-color1,light-dark(#1f6feb,#4493f8));
--b-ok:var(--jp-success-color1,light-dark(#1a7f37,#3fb950));
--b-warn:var(--jp-warn-color1,light-dark(#bc4c00,#db8b0b));
--b-bad:var(--jp-error-color1,light-dark(#cf222e,#f85149));
--b-mono:var(--jp-code-font-family,ui-monospace,SFMono-Regular,Menlo,Consolas,monospace);
display:block;box-sizing:border-box;max-width:60em;color:var(--b-fg);background:var(--b-bg);
font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);font-variant-numeric:tabular-nums}
.bpfnb.b-panel{border:1px solid var(--b-line);border-radius:6px;padding:8px 12px}
.bpfnb.bpfnb.b-panel table{width:100%}
.bpfnb .b-head{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:baseline}
.bpfnb .b-name{font:600 15px var(--b-mono)}
.bpfnb .b-dim{color:var(--b-dim)}
.bpfnb .b-badge{border:1px solid var(--b-line);border-radius:9px;padding:0 8px;white-space:nowrap}
.bpfnb .b-badge::before{content:"";display:inline-block;width:8px;height:8px;border-radius:50%;
margin-right:6px;background:var(--b-dim)}
.bpfnb .b-ok::before{background:var(--b-ok)}
.bpfnb .b-warn::before{background:var(--b-warn)}.bpfnb .b-warn{border-color:var(--b-warn)}
.bpfnb .b-bad::before{background:var(--b-bad)}.bpfnb .b-bad{border-color:var(--b-bad)}
.bpfnb .b-note{margin:6px 0 0;padding:2px 8px;border-left:3px solid var(--b-warn);background:var(--b-soft)}
.bpfnb.bpfnb table{border-collapse:collapse;border:0;margin:8px 0 0;font:inherit;color:inherit;
table-layout:auto}
.bpfnb.bpfnb caption{caption-side:top;text-align:left;font-weight:600;padding:0 0 2px;color:var(--b-dim)}
.bpfnb.bpfnb tr,.bpfnb.bpfnb thead,.bpfnb.bpfnb tbody tr:nth-child(odd){background:none;border:0}
.bpfnb.bpfnb th,.bpfnb.bpfnb td{text-align:left;vertical-align:top;padding:2px 16px 2px 0;border:0;
border-top:1px solid var(--b-line);max-width:none;white-space:normal}
.bpfnb.bpfnb thead th{border-top:0;font-weight:400;font-size:12px;color:var(--b-dim);white-space:nowrap}
.bpfnb.bpfnb tbody th{font:600 12px/1.6 var(--b-mono);white-space:nowrap}
.bpfnb.bpfnb .b-num{text-align:right;white-space:nowrap}
.bpfnb.bpfnb td.b-code{font:12px/1.6 var(--b-mono);overflow-wrap:anywhere}
.bpfnb .b-bar{display:inline-block;width:72px;height:8px;border-radius:4px;background:var(--b-soft);
overflow:hidden;margin-left:8px;vertical-align:middle}
.bpfnb .b-bar>span{display:block;height:100%;background:var(--b-accent)}
.bpfnb .b-bar.b-full>span{background:var(--b-bad)}
.bpfnb pre{font:12px/1.5 var(--b-mono);color:inherit;background:none;margin:0;overflow:auto;max-height:40em}
.bpfnb details{margin:4px 0 0}.bpfnb summary{cursor:pointer;color:var(--b-dim)}
.bpfnb svg{display:block;margin:0 0 10px;width:100%;max-width:720px;height:auto;
font:11px var(--jp-ui-font-family,sans-serif)}
.bpfnb svg text{fill:var(--b-dim)}
.bpfnb svg .b-column{fill:var(--b-accent)}.bpfnb svg .b-column:hover{opacity:.7}
.bpfnb svg .b-grid{stroke:var(--b-line)}.bpfnb svg .b-mark{stroke:var(--b-fg);stroke-dasharray:3 3}
.bpfnb svg .b-marktext{fill:var(--b-fg);paint-order:stroke;stroke:var(--b-bg);stroke-width:3px}
"""


def esc(value: object) -> str:
    """*value* as HTML text. Names, comms and notes come from the kernel and from cells: none is trusted."""
    return escape(printable(str(value)), quote=True)


def printable(text: str) -> str:
    """*text* on one line, control characters (a comm may hold any byte) written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def styled(body: str, label: str, *, panel: bool = False) -> str:
    """*body* in a labelled section with the style sheet beside it."""
    kind = "bpfnb b-panel" if panel else "bpfnb"
    return f'<style>{_CSS}</style><section class="{kind}" aria-label="{esc(label)}">{body}</section>'


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
