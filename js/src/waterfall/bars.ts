// The bars of the rows in sight, and the time axis above them.

import { humanize } from "../lib/format";
import type { Colors } from "../lib/theme";
import { invert, ticks, type View, xOf } from "./scale";
import { AFTER, BEFORE, ERROR, type Line, type Spans } from "./spans";

export const ROW = 22;
const GREY = 7;

export function context(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const c = canvas.getContext("2d");
  c?.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (c) c.font = "11px system-ui, sans-serif";
  return c;
}

export function paintAxis(c: CanvasRenderingContext2D, view: View, colors: Colors, brush: [number, number] | null): void {
  c.fillStyle = colors.dim;
  c.textAlign = "center";
  for (const tick of ticks(view)) {
    const text = tick === 0 ? "0" : humanize(tick, "ns", 4);
    const half = c.measureText(text).width / 2;
    c.fillText(text, Math.min(Math.max(xOf(view, tick), view.left + half - 10), view.width - half), 15);
  }
  if (brush) {
    c.textAlign = "center";
    c.fillStyle = colors.bg;
    const middle = (brush[0] + brush[1]) / 2;
    const text = humanize(invert(view, brush[1]) - invert(view, brush[0]), "ns");
    const wide = c.measureText(text).width + 12;
    c.fillStyle = colors.accent;
    c.fillRect(middle - wide / 2, 2, wide, 18);
    c.fillStyle = colors.bg;
    c.fillText(text, middle, 15);
  }
}

export interface Bars {
  view: View;
  lines: Line[];
  spans: Spans;
  first: number;
  offset: number;
  height: number;
  colors: Colors;
  critical: boolean;
  hits: Set<number> | null;
  selected: Set<number>;
  active: number;
  brush: [number, number] | null;
}

export function paintBars(c: CanvasRenderingContext2D, p: Bars): void {
  const { view, colors } = p;
  c.strokeStyle = colors.line;
  c.globalAlpha = 0.6;
  for (const tick of ticks(view)) {
    const x = Math.round(xOf(view, tick)) + 0.5;
    c.beginPath();
    c.moveTo(x, 0);
    c.lineTo(x, p.height);
    c.stroke();
  }
  c.globalAlpha = 1;
  c.save();
  c.beginPath();
  c.rect(view.left - 1, 0, view.width - view.left + 1, p.height);
  c.clip();
  for (let n = p.first; n < p.lines.length; n += 1) {
    const y = n * ROW - p.offset;
    if (y > p.height) break;
    for (const i of p.lines[n]?.spans ?? []) bar(c, p, i, y);
  }
  if (p.brush) {
    c.globalAlpha = 0.2;
    c.fillStyle = colors.accent;
    c.fillRect(p.brush[0], 0, p.brush[1] - p.brush[0], p.height);
    c.globalAlpha = 1;
  }
  c.restore();
}

function bar(c: CanvasRenderingContext2D, p: Bars, i: number, y: number): void {
  const { view, colors, spans } = p;
  const start = spans.start[i] ?? 0;
  const duration = spans.duration[i] ?? 0;
  const left = xOf(view, start);
  const right = xOf(view, start + duration);
  if (right < view.left || left > view.width) return;
  const row = spans.row[i] ?? -1;
  const flags = spans.flags[i] ?? 0;
  c.globalAlpha = (p.hits && !p.hits.has(row)) || spans.faint[i] ? 0.3 : 1;
  c.fillStyle = colors.categories[Math.min(spans.color[i] ?? GREY, GREY)] ?? colors.accent;
  const wide = Math.max(right - left, 1.5);
  if (duration === 0) diamond(c, left, y + ROW / 2);
  else {
    c.beginPath();
    c.roundRect(left, y + 5, wide, 12, Math.min(2, wide / 2));
    c.fill();
  }
  if (flags & ERROR) {
    c.strokeStyle = colors.bad;
    c.lineWidth = 2;
    c.strokeRect(left, y + 5, wide, 12);
  }
  if (p.selected.has(row) || p.active === i) {
    c.strokeStyle = colors.fg;
    c.lineWidth = 1.5;
    c.strokeRect(left - 1.5, y + 3.5, wide + 3, 15);
  }
  c.lineWidth = 2;
  c.strokeStyle = colors.warn;
  c.setLineDash([3, 2]);
  for (const [flag, x] of [[BEFORE, left], [AFTER, right]] as const) {
    if (!(flags & flag)) continue;
    c.beginPath();
    c.moveTo(x, y + 1);
    c.lineTo(x, y + ROW - 1);
    c.stroke();
  }
  c.setLineDash([]);
  c.lineWidth = 1;
  if (p.critical) {
    c.fillStyle = colors.fg;
    for (const [from, to] of spans.critical.get(i) ?? []) {
      c.fillRect(xOf(view, from), y + 17, Math.max(xOf(view, to) - xOf(view, from), 1), 3);
    }
  }
  if (p.lines[Math.round((y + p.offset) / ROW)]?.span === i) label(c, p, duration, Math.max(left, view.left), right, y);
  c.globalAlpha = 1;
}

function diamond(c: CanvasRenderingContext2D, x: number, y: number): void {
  c.beginPath();
  c.moveTo(x, y - 7);
  c.lineTo(x + 4, y);
  c.lineTo(x, y + 7);
  c.lineTo(x - 4, y);
  c.fill();
}

/** The duration: after the bar, before it, or, where neither has room, within. */
function label(c: CanvasRenderingContext2D, p: Bars, duration: number, left: number, right: number, y: number): void {
  const text = duration ? humanize(duration, "ns") : "event";
  const wide = c.measureText(text).width;
  const { view, colors } = p;
  c.fillStyle = colors.dim;
  c.textAlign = "left";
  if (Math.max(right, left) + 8 + wide < view.width) c.fillText(text, Math.max(right, left) + 7, y + 15);
  else if (left - 8 - wide > view.left) c.fillText(text, left - 7 - wide, y + 15);
  else {
    const x = Math.min(right, view.width - 8) - wide - 6;
    c.fillStyle = colors.bg;
    c.globalAlpha = 0.85;
    c.fillRect(x - 3, y + 5, wide + 6, 12);
    c.globalAlpha = 1;
    c.fillStyle = colors.fg;
    c.fillText(text, x, y + 15);
  }
}
