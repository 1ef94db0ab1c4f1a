"""A flame graph at rest: an SVG without scripts whose frames have ``<title>`` tooltips, a plotly icicle, and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bpfnb.views._style import Palette, Theme, esc, humanize, palette, share
from bpfnb.views.flames import paint
from bpfnb.views.flames.names import ORIGINS, origins
from bpfnb.views.flames.tree import Tree
from bpfnb.views.plain import Table

__all__ = ["Look", "figure", "svg", "top"]

Style = Literal["icicle", "flame"]

WIDTH, ROW, HEAD, MARGIN = 1000, 18, 26, 2
LETTER, SLIM, BROAD, CAPITAL = (
    6.7,
    3.9,
    8.9,
    7.6,
)  # px at most of letters in the wide sans-serif fonts that systems have, 11 px high
LETTERS = {**dict.fromkeys("fijlrt.,:;|!'()[] /-", SLIM), **dict.fromkeys("mwMWGOQDHNU@%…+<>=", BROAD)}
NARROWEST = 0.5  # px: what is narrower cannot be seen
MOST = 900  # frames, so that a picture stays below 300 KB
DEEPEST = 120  # rows
INK = "#1f2328"
LONGEST = 160  # characters of a name in a tooltip


@dataclass(frozen=True)
class Look:
    """How a tree is drawn, and what its weights are."""

    title: str = ""
    unit: str = "samples"
    style: Style = "icicle"
    color: paint.Color = "origin"


def svg(tree: Tree, look: Look, theme: Theme) -> str:
    """The tree, without frames that are too narrow to see, and beyond the widest 900 without the narrowest."""
    colors = palette(theme)
    if not tree.total:
        return _frame(look, colors, theme, 60, _text(WIDTH / 2, 44, "no samples", colors.dim, "middle"))
    shown = _shown(tree)
    rows = int(tree.depth[shown].max()) + 1
    left, width = _places(tree)
    height = HEAD + rows * ROW + 24
    drawn = [
        _box(tree, look, node, left[node], width[node], _top(int(tree.depth[node]), rows, look.style), theme)
        for node in shown.tolist()
    ]
    legend = _legend(tree, look, shown, colors, theme, height - 8)
    hidden = len(tree) - len(shown)
    if hidden:
        note = f"{hidden:,} narrower frames are within those above them"
        legend += _text(WIDTH - MARGIN, height - 8, note, colors.dim, "end")
    return _frame(look, colors, theme, height, "".join(drawn) + legend, _said(tree, look))


def _shown(tree: Tree) -> Any:
    """The widest nodes, in pre-order. A parent is as wide as its children together, so none is without its parent."""
    wide = np.flatnonzero(
        (tree.value >= tree.total * (NARROWEST / WIDTH)) & (tree.depth < DEEPEST) & (tree.value > 0)
    )
    order = np.argsort(-tree.value[wide].astype(np.float64), kind="stable")
    return np.sort(wide[order[:MOST]])


def _places(tree: Tree) -> tuple[Any, Any]:
    """Left end and width of every node, in px: siblings side by side from their parent's left end."""
    scale = (WIDTH - 2 * MARGIN) / float(tree.total)
    value = tree.value.astype(np.float64)
    own = tree.own.astype(np.float64)
    # In pre-order, what stands before a node and is not above it is to its left: earlier weight but its ancestors' own.
    above = np.zeros(len(tree))
    for depth in range(1, int(tree.depth.max()) + 1):
        level = np.flatnonzero(tree.depth == depth)
        above[level] = above[tree.parent[level]] + own[tree.parent[level]]
    left = np.cumsum(own) - own - above
    return MARGIN + left * scale, value * scale


def _top(depth: int, rows: int, style: Style) -> int:
    return HEAD + (depth if style == "icicle" else rows - 1 - depth) * ROW


def _box(tree: Tree, look: Look, node: int, x: float, width: float, y: int, theme: Theme) -> str:
    name = tree.label(node)
    fill, ink = _fill(tree, look, node, theme)
    value = tree.value[node].item()
    said = f"{_short(name)}: {humanize(value, look.unit)}, {share(value / tree.total)}"
    if tree.base is not None:
        said += f", {_change(tree, node)}"
    text = ""
    if fitted := _fitted(name, width - 6):
        text = f'<text x="{x + 3:.1f}" y="{y + 13}" fill="{ink}" style="fill:{ink}">{esc(fitted)}</text>'
    edge = max(width - 0.6, 0.4)
    return (
        f'<g><title>{esc(said)}</title><rect x="{x:.1f}" y="{y}" width="{edge:.1f}" height="{ROW - 1}" rx="1"'
        f' fill="{fill}"/>{text}</g>'
    )


def _fill(tree: Tree, look: Look, node: int, theme: Theme) -> tuple[str, str]:
    """The colour of a frame, and of the text on it."""
    dark = theme == "dark"
    name, ink = tree.label(node), "#f0f3f6" if dark else INK
    if look.color == "diff":
        t = float(tree.drift[node])
        return paint.diverging(t, dark=dark), "#ffffff" if abs(t) > 0.45 else ink
    if node == 0:
        return ("#3d444d" if dark else "#dde1e6"), ink
    if look.color == "name":
        return paint.of_name(name, dark=dark), ink
    return paint.of_origin(name, int(origins([name])[0]), dark=dark), ink


def _legend(tree: Tree, look: Look, shown: Any, colors: Palette, theme: Theme, y: int) -> str:
    dark = theme == "dark"
    if look.color == "diff":
        marks = [(paint.diverging(t, dark=dark), text) for t, text in DIFFERENCES]
    elif look.color == "origin":
        seen = set(origins([tree.label(node) for node in shown.tolist() if node]).tolist())
        marks = [
            (paint.of_origin("", number, dark=dark), paint.LEGEND[name])
            for number, name in enumerate(ORIGINS)
            if number in seen
        ]
    else:
        return ""
    out, x = "", float(MARGIN)
    for fill, text in marks:
        out += f'<rect x="{x:.0f}" y="{y - 9}" width="10" height="10" rx="2" fill="{fill}"/>'
        out += _text(x + 15, y, text, colors.dim)
        x += 15 + _wide(text) + 16
    return out


DIFFERENCES = ((-1.0, "¼ or less"), (-0.5, "½"), (0.0, "same share"), (0.5, "2x"), (1.0, "4x or more"))
"""Places on the scale of differences and what they mean."""


def _frame(
    look: Look, colors: Palette, theme: Theme, height: int, body: str, said: str = "no samples"
) -> str:
    back = "" if theme == "auto" else f'<rect width="{WIDTH}" height="{height}" fill="{colors.bg}"/>'
    title = f"{look.title}: {said}" if look.title else said
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' style="max-width:{WIDTH}px" role="img" aria-label="{esc("flame graph, " + title)}"'
        f' font-family="system-ui,sans-serif" font-size="11">{back}'
        f"{_text(MARGIN, 15, title, colors.fg)}{body}</svg>"
    )


def _text(x: float, y: float, text: str, fill: str, anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}" fill="{fill}" style="fill:{fill}">{esc(text)}</text>'


def _said(tree: Tree, look: Look) -> str:
    stacks = int((tree.own > 0).sum())
    out = f"{humanize(tree.total, look.unit)} in {stacks:,} stack{'s' * (stacks != 1)}"
    return f"{out}, compared with {humanize(tree.base_total, look.unit)}" if tree.base is not None else out


def _wide(text: str) -> float:
    """About how many px *text* takes."""
    return sum(LETTERS.get(letter, CAPITAL if letter.isupper() else LETTER) for letter in text)


def _fitted(name: str, room: float) -> str:
    """As much of *name* as fits into *room* px, and a mark that there is more; nothing where that says nothing."""
    if _wide(name) <= room:
        return name
    kept = max(0, int(room / SLIM))  # no more can fit
    while kept > 0 and _wide(name[:kept]) + BROAD > room:
        kept -= 1
    return name[:kept] + "…" if kept > 1 else ""


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _change(tree: Tree, node: int) -> str:
    """How the share differs from the base's, in hundredths of the total."""
    assert tree.base is not None
    now = tree.value[node].item() / tree.total if tree.total else 0.0
    then = tree.base[node].item() / tree.base_total if tree.base_total else 0.0
    return f"{100 * (now - then):+.2f} % of the total (was {share(then)})"


def top(tree: Tree, unit: str, count: int = 20) -> Table:
    """The functions with the most weight of their own, largest first."""
    own, total = tree.functions()
    used = np.flatnonzero(own).tolist()
    order = sorted(used, key=lambda i: (-own[i].item(), tree.names[i]))[:count]  # ties by name
    rows = [
        (
            tree.names[i],
            humanize(own[i].item(), unit),
            share(own[i].item() / tree.total),
            humanize(total[i].item(), unit),
            share(total[i].item() / tree.total),
        )
        for i in order
    ]
    columns = ("function", "self", "of all", "with callees", "of all ")
    return Table(columns, rows, title="top functions by self", empty="no samples")


def figure(tree: Tree, look: Look, most: int = 3000) -> Any:
    """A plotly icicle of the widest *most* frames."""
    import plotly.graph_objects as go

    if not tree.total:
        return go.Figure(layout={"title": look.title})
    order = np.argsort(-tree.value.astype(np.float64), kind="stable")
    nodes = np.sort(order[: min(most, int((tree.value > 0).sum()))]).tolist()
    texts = [tree.label(node) for node in nodes]
    trace = go.Icicle(
        ids=[str(node) for node in nodes],
        labels=texts,
        parents=["" if node == 0 else str(int(tree.parent[node])) for node in nodes],
        values=[tree.value[node].item() for node in nodes],
        branchvalues="total",
        sort=False,
        marker={"colors": [_fill(tree, look, node, "light")[0] for node in nodes]},
        tiling={"orientation": "v", **({} if look.style == "icicle" else {"flip": "y"})},
        hovertemplate="%{label}<br>%{value:,} " + look.unit + ", %{percentRoot:.2%}<extra></extra>",
    )
    return go.Figure(trace, layout={"title": look.title, "margin": {"t": 40, "l": 0, "r": 0, "b": 0}})
