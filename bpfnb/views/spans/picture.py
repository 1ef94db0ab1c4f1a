"""A waterfall as a static picture: one SVG, names on the left, bars on the right, readable without styles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bpfnb.views import moments
from bpfnb.views._style import Palette, Theme, esc, humanize, palette
from bpfnb.views.spans.forest import AFTER, BEFORE, ERROR, LOOP, ORPHAN, TWICE
from bpfnb.views.spans.model import Scene
from bpfnb.views.spans.text import about

__all__ = ["colors_of", "picture"]

WIDTH, LEFT, RIGHT, TOP, ROW = 860, 300, 84, 44, 20
MOST = 60  # rows; of more, those that took longest, with all that leads to them
LETTER = 6.3
GREY = 7

Numbers = npt.NDArray[np.int64]


def colors_of(scene: Scene) -> tuple[Numbers, list[str]]:
    """The number of the colour of each span, and the label of each number: by service, else by name, the most frequent
    first. The last colour is grey, for all others.
    """
    labels = scene.spans.service if len(scene.spans.service.categories) > 1 else scene.spans.name
    codes = np.asarray(labels.codes, np.int64)
    counts = np.bincount(codes[codes >= 0], minlength=len(labels.categories) + 1)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(counts), np.int64)
    rank[order] = np.arange(len(counts))
    named = [str(labels.categories[i]) for i in order[:GREY] if counts[i]]
    others = ["others"] if (counts > 0).sum() > GREY else []
    return np.minimum(rank[codes[scene.order]], GREY), named + others


def picture(scene: Scene, *, title: str, critical: bool, theme: Theme) -> str:
    """The tree or the lanes of *scene*; rows that are left out are counted below."""
    colors = palette(theme)
    rows = _rows(scene)
    lines = len(scene.lanes.labels) if scene.lanes is not None else len(rows)
    shown = min(lines, MOST)
    left_out = (len(scene.order) if scene.tree is not None else lines) - shown
    color, named = colors_of(scene)
    bottom = TOP + ROW * max(shown, 3)
    height = bottom + (18 if left_out else 0) + (22 if named else 0) + 8
    parts = [*_head(scene, title, colors), *_axis(scene, bottom, colors)]
    if scene.empty:
        parts.append(_words(WIDTH / 2, TOP + 34, "no spans yet", colors.dim, "middle"))
    elif scene.lanes is not None:
        parts += _lanes(scene, shown, color, colors)
    else:
        place = {int(i): n for n, i in enumerate(rows)}
        parts += [_row(scene, i, n, place, color, colors) for n, i in enumerate(rows)]
        if critical and scene.tree is not None:
            parts += _critical(scene, place, colors)
    parts += _key(named, bottom + 18, colors)
    if left_out:
        what = "spans, the shortest," if scene.tree is not None else "lines"
        parts.append(_words(8, height - 8, f"{left_out:,} more {what} are not drawn", colors.dim))
    label = esc(f"Waterfall {title}: {about(scene)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{label}" font-family="system-ui,sans-serif" font-size="11" '
        f'style="background:{colors.bg};max-width:100%;height:auto">'
        f'<rect width="{WIDTH}" height="{height}" fill="{colors.bg}"/>{"".join(parts)}</svg>'
    )


def _rows(scene: Scene) -> list[int]:
    """The places that are drawn, in order."""
    if scene.tree is None or len(scene.order) <= MOST:
        return list(range(len(scene.order)))
    chosen: set[int] = set()
    for i in np.argsort(-scene.spans.duration[scene.order], kind="stable").tolist():
        way, at = [], i
        while at >= 0 and at not in chosen:
            way.append(at)
            at = int(scene.tree.parent[at])
        if len(chosen) + len(way) > MOST:
            break
        chosen.update(way)
    return sorted(chosen)


def _x(scene: Scene, moment: float) -> float:
    return LEFT + (moment - scene.start) / scene.duration * (WIDTH - LEFT - RIGHT)


def _words(x: float, y: float, text: str, color: str, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" style="fill:{color}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{esc(text)}</text>'
    )


def _cut(text: str, width: float) -> str:
    most = max(int(width / LETTER), 2)
    return text if len(text) <= most else text[: most - 1] + "…"


def _head(scene: Scene, title: str, colors: Palette) -> list[str]:
    trace = scene.trace
    named = " ".join(filter(None, [trace.service, trace.name])) if trace else ""
    spans = len(scene.order)
    facts = f"{humanize(scene.duration, 'ns')}, {spans:,} span{'s' * (spans != 1)}" if spans else ""
    errors = int((scene.spans.error[scene.order]).sum()) if spans else 0
    facts += f", {errors:,} error{'s' * (errors != 1)}" if errors else ""
    if scene.spans.wall and spans:
        facts = f"{moments.clock(scene.start, 10**6)} UTC, {facts}"
    head = " · ".join(filter(None, [title, named]))
    room = WIDTH - 24 - len(facts) * LETTER
    return [
        _words(8, 15, _cut(head, room / 1.08), colors.fg, weight=600),
        _words(WIDTH - 8, 15, facts, colors.dim, "end"),
    ]


def _axis(scene: Scene, bottom: float, colors: Palette) -> list[str]:
    parts = []
    ticks, _ = moments.ticks(0, scene.duration, 6)
    for tick in ticks:
        x = _x(scene, scene.start + tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}" stroke="{colors.line}"/>')
        parts.append(_words(x, TOP - 8, humanize(tick, "ns") if tick else "0", colors.dim, "middle"))
    return parts


def _row(scene: Scene, i: int, n: int, place: dict[int, int], color: Numbers, colors: Palette) -> str:
    assert scene.tree is not None
    spans, span, tree = scene.spans, int(scene.order[i]), scene.tree
    y = TOP + ROW * n
    indent = 8.0 + 12 * min(int(tree.depth[i]), 12)
    flags = int(tree.flags[i])
    parent = place.get(int(tree.parent[i]))
    parts = []
    if parent is not None:
        top = TOP + ROW * parent + ROW - 4
        parts.append(
            f'<path d="M{indent - 7} {top}V{y + ROW / 2}H{indent - 1}" fill="none" stroke="{colors.line}"/>'
        )
    name, service = _text(spans.name[span]), _text(spans.service[span])
    x = indent
    if flags & ERROR:
        parts.append(_mark_error(x, y, colors))
        x += 14
    marked = "↑ " * bool(flags & (ORPHAN | LOOP)) + name
    room = LEFT - 10 - x
    parts.append(_words(x, y + 14, _cut(marked, room), colors.bad if flags & ERROR else colors.fg))
    used = min(len(marked) * LETTER, room) + 8
    if service and room - used > 40:
        parts.append(_words(x + used, y + 14, _cut(service, room - used), colors.dim))
    parts.append(_bar(scene, span, y, int(color[i]), flags, colors))
    took = int(spans.duration[span])
    parts.append(_words(WIDTH - 8, y + 14, humanize(took, "ns") if took else "event", colors.dim, "end"))
    about_it = [
        f"{name} {service}".strip(),
        humanize(took, "ns"),
        f"self {humanize(int(tree.alone[i]), 'ns')}",
        *_odd(flags),
    ]
    return f"<g><title>{esc(', '.join(about_it))}</title>{''.join(parts)}</g>"


def _odd(flags: int) -> list[str]:
    words = {
        ERROR: "error",
        ORPHAN: "its parent is missing",
        LOOP: "its own ancestor",
        BEFORE: "begins before its parent",
        AFTER: "ends after its parent",
        TWICE: "its id is another's too",
    }
    return [text for flag, text in words.items() if flags & flag]


def _mark_error(x: float, y: float, colors: Palette) -> str:
    return (
        f'<circle cx="{x + 5:.1f}" cy="{y + 10}" r="5.5" fill="{colors.bad}"/>'
        f'<text x="{x + 5:.1f}" y="{y + 13.5}" text-anchor="middle" font-weight="700" font-size="10" fill="#ffffff" '
        f'style="fill:#ffffff">!</text>'
    )


def _bar(scene: Scene, span: int, y: float, color: int, flags: int, colors: Palette) -> str:
    spans = scene.spans
    left = _x(scene, int(spans.start[span]))
    wide = _x(scene, int(spans.start[span] + spans.duration[span])) - left
    fill = colors.categories[color]
    if not spans.duration[span]:
        return f'<path d="M{left:.1f} {y + 3}l4 7l-4 7l-4 -7z" fill="{fill}"/>'
    edge = f' stroke="{colors.bad}" stroke-width="1.5"' if flags & ERROR else ""
    bar = f'<rect x="{left:.1f}" y="{y + 4}" width="{max(wide, 1.5):.1f}" height="12" rx="2" fill="{fill}"{edge}/>'
    for flag, x in ((BEFORE, left), (AFTER, left + wide)):
        if flags & flag:
            bar += (
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 1}" y2="{y + 19}" stroke="{colors.warn}" stroke-width="2" '
                f'stroke-dasharray="3 2"/>'
            )
    return bar


def _critical(scene: Scene, place: dict[int, int], colors: Palette) -> list[str]:
    assert scene.tree is not None
    parts = []
    for i, low, high in scene.tree.critical:
        if i in place:
            left, right = _x(scene, low), _x(scene, high)
            y = TOP + ROW * place[i] + 16
            parts.append(
                f'<rect x="{left:.1f}" y="{y}" width="{max(right - left, 1):.1f}" height="2.5" fill="{colors.fg}"/>'
            )
    return parts


def _lanes(scene: Scene, shown: int, color: Numbers, colors: Palette) -> list[str]:
    assert scene.lanes is not None
    parts = []
    for n, label in enumerate(scene.lanes.labels[:shown]):
        if label:
            y = TOP + ROW * n
            parts.append(f'<line x1="8" x2="{WIDTH - 8}" y1="{y}" y2="{y}" stroke="{colors.line}"/>')
            parts.append(_words(8, y + 14, _cut(label, LEFT - 20), colors.fg))
    for i, (span, line) in enumerate(zip(scene.order.tolist(), scene.lanes.line.tolist(), strict=True)):
        if line < shown:
            error = ERROR if scene.spans.error[span] else 0
            label = f"{_text(scene.spans.name[span])} {humanize(int(scene.spans.duration[span]), 'ns')}"
            bar = _bar(scene, span, TOP + ROW * line, int(color[i]), error, colors)
            parts.append(f"<g><title>{esc(label)}</title>{bar}</g>")
    return parts


def _key(named: list[str], y: float, colors: Palette) -> list[str]:
    """Which colour is what."""
    parts, x = [], 8.0
    for number, label in enumerate(named):
        text = _cut(label, 150)
        if x + 16 + len(text) * LETTER > WIDTH:
            break
        fill = colors.categories[number]
        parts.append(f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" rx="2" fill="{fill}"/>')
        parts.append(_words(x + 14, y, text, colors.dim))
        x += 28 + len(text) * LETTER
    return parts


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
