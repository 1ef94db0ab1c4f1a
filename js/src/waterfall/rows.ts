// The rows of names: one a span, indented, or one a lane.

import { el } from "../lib/dom";
import { whole } from "../lib/format";
import { ROW } from "./bars";
import { ERROR, type Line, LOOP, ORPHAN, type Spans } from "./spans";
import { say } from "./words";

export interface Shown {
  spans: Spans;
  id: string;
  left: number;
  closed: Set<number>;
  selected: number[];
  hits: Set<number> | null;
  active: number | undefined;
  opened: number | undefined;
}

export function spanRow(n: number, i: number, shown: Shown): HTMLElement {
  const { spans, left } = shown;
  const row = spans.row[i] ?? -1;
  const [depth, size, flags] = [spans.depth[i] ?? 0, spans.size[i] ?? 1, spans.flags[i] ?? 0];
  const closed = shown.closed.has(row);
  const service = spans.service.at(i);
  const faint = spans.faint[i] || (shown.hits && !shown.hits.has(row));
  const classes = ["wf-row", row === shown.active ? "wf-active" : "", faint ? "wf-faint" : "", shown.hits?.has(row) ? "wf-hit" : ""];
  return el(
    "div",
    {
      class: classes.filter(Boolean).join(" "),
      id: `${shown.id}-${n}`,
      role: "row",
      style: `top:${n * ROW}px`,
      "aria-level": depth + 1,
      "aria-rowindex": n + 1,
      "aria-expanded": size > 1 ? String(!closed) : null,
      "aria-selected": String(row === shown.opened || shown.selected.includes(row)),
      "aria-label": say(spans, i),
      "data-span": i,
    },
    el(
      "div",
      { class: "wf-name", role: "gridcell", style: `width:${left - 8}px` },
      el("span", { class: "wf-guide", style: `width:${12 * Math.min(depth, 14)}px` }),
      el("span", { class: "wf-twist" }, size > 1 ? (closed ? "▶" : "▼") : ""),
      (flags & ERROR) > 0 && el("span", { class: "wf-mark", title: "error" }, "!"),
      (flags & (ORPHAN | LOOP)) > 0 && el("span", { class: "wf-mark wf-odd", title: "its parent is missing" }, "↑"),
      el("span", { class: "wf-label" }, spans.name.at(i) || "span"),
      closed && el("span", { class: "b-dim" }, ` +${whole(size - 1)}`),
      el("span", { class: "wf-of" }, service),
    ),
  );
}

export function laneRow(n: number, line: Line, name: string, shown: Shown): HTMLElement {
  const { left } = shown;
  return el(
    "div",
    { class: `wf-row${line.label ? " wf-lane" : ""}`, id: `${shown.id}-${n}`, role: "row", style: `top:${n * ROW}px`, "data-line": n },
    el(
      "div",
      { class: "wf-name", role: "gridcell", style: `width:${left - 8}px` },
      el("span", { class: "wf-label" }, line.label ? `${name} ${line.label}`.trim() : ""),
    ),
  );
}
