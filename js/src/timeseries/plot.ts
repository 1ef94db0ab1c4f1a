// The drawing itself: lines, grid, losses and what the pointer is at, on one canvas.

import type { Colors } from "../lib/theme";
import { type Axis, clock, timeTicks } from "./scale";

export const LEFT = 72;
export const RIGHT = 10;
const TOP = 18;
const AXIS = 22;
const STRIP = 14;
const GAP = 6;
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** Lines over bins, all times in seconds after `zero`; `values` holds line after line. */
export interface Lines {
  labels: string[];
  slots: number[];
  start: Float64Array;
  stop: Float64Array;
  at: Float64Array;
  seconds: Float64Array;
  values: Float64Array;
  lost: Float64Array;
  losses: boolean;
  resets: number[];
  /** How many bins are over. */
  solid: number;
}

export interface Picture {
  lines: Lines;
  from: number;
  to: number;
  zero: bigint;
  wall: boolean;
  what: string;
  yAxis: Axis;
  shown: boolean[];
  bold: number;
  cursor: number;
  brush: [number, number] | null;
  selected: [number, number] | null;
  colors: Colors;
  width: number;
  height: number;
}

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
  strip: number;
}

export function boxOf(width: number, height: number, losses: boolean): Box {
  const strip = losses ? STRIP + GAP : 0;
  return { left: LEFT, right: width - RIGHT, top: TOP, bottom: height - AXIS - strip, strip };
}

export function colorOf(slot: number, colors: Colors): string {
  return slot < 0 ? colors.dim : (colors.categories[slot % colors.categories.length] ?? colors.fg);
}

/** Every four colours the next pattern; the line of all others is dotted. */
export function dashOf(slot: number): number[] {
  return slot < 0 ? [1, 3] : (DASHES[Math.floor(slot / 4) % DASHES.length] ?? []);
}

export function paint(canvas: HTMLCanvasElement, p: Picture): void {
  const ratio = window.devicePixelRatio || 1;
  const [wide, tall] = [Math.round(p.width * ratio), Math.round(p.height * ratio)];
  if (canvas.width !== wide || canvas.height !== tall) {
    canvas.width = wide;
    canvas.height = tall;
    canvas.style.width = `${p.width}px`;
    canvas.style.height = `${p.height}px`;
  }
  const context = canvas.getContext("2d");
  if (!context) return;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, p.width, p.height);
  context.font = "11px system-ui, sans-serif";
  const box = boxOf(p.width, p.height, p.lines.losses);
  const x = (second: number) => box.left + ((second - p.from) / (p.to - p.from)) * (box.right - box.left);
  const y = (value: number) =>
    box.bottom - ((value - p.yAxis.low) / (p.yAxis.high - p.yAxis.low)) * (box.bottom - box.top);
  grid(context, p, box, x, y);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top - 4, box.right - box.left, box.bottom - box.top + 8);
  context.clip();
  spanOf(context, p.selected, x, box, p.colors, 0.16);
  spanOf(context, p.brush, x, box, p.colors, 0.28);
  p.lines.slots.forEach((slot, i) => {
    if (p.shown[i]) line(context, p, i, slot, x, y);
  });
  for (const bin of p.lines.resets) mark(context, x(p.lines.at[bin] ?? NaN), box.bottom, p.colors.warn);
  context.restore();
  if (p.lines.losses) losses(context, p, box, x);
  if (p.cursor >= 0) crosshair(context, p, box, x, y);
}

function grid(c: CanvasRenderingContext2D, p: Picture, box: Box, x: (s: number) => number, y: (v: number) => number): void {
  c.lineWidth = 1;
  c.textAlign = "right";
  c.textBaseline = "middle";
  p.yAxis.ticks.forEach((tick, i) => {
    const at = Math.round(y(tick)) + 0.5;
    c.strokeStyle = p.colors.line;
    c.globalAlpha = tick === 0 ? 1 : 0.6;
    c.beginPath();
    c.moveTo(box.left, at);
    c.lineTo(box.right, at);
    c.stroke();
    c.globalAlpha = 1;
    c.fillStyle = p.colors.dim;
    c.fillText(p.yAxis.labels[i] ?? "", box.left - 6, at);
  });
  c.textBaseline = "alphabetic";
  c.textAlign = "left";
  c.fillStyle = p.colors.dim;
  c.fillText(p.what, box.left, 11);
  c.textAlign = "right";
  if (p.wall) c.fillText("UTC", box.right, 11);
  c.textAlign = "center";
  const { ticks, step } = timeTicks(p.from, p.to, p.zero, (box.right - box.left) / 90);
  const below = box.bottom + box.strip;
  for (const tick of ticks) {
    const at = Math.round(x(tick)) + 0.5;
    c.strokeStyle = p.colors.line;
    c.beginPath();
    c.moveTo(at, below);
    c.lineTo(at, below + 4);
    c.stroke();
    const text = clock(tick, p.zero, p.wall, step);
    const half = c.measureText(text).width / 2;
    c.fillText(text, Math.min(Math.max(at, half), p.width - half), below + 16);
  }
}

function spanOf(
  c: CanvasRenderingContext2D,
  span: [number, number] | null,
  x: (s: number) => number,
  box: Box,
  colors: Colors,
  alpha: number,
): void {
  if (!span) return;
  const [left, right] = [x(span[0]), x(span[1])];
  c.globalAlpha = alpha;
  c.fillStyle = colors.accent;
  c.fillRect(left, box.top, right - left, box.bottom - box.top);
  c.globalAlpha = 1;
  c.strokeStyle = colors.accent;
  c.strokeRect(left, box.top, right - left, box.bottom - box.top);
}

function line(
  c: CanvasRenderingContext2D,
  p: Picture,
  index: number,
  slot: number,
  x: (s: number) => number,
  y: (v: number) => number,
): void {
  const { at, values, solid } = p.lines;
  const offset = index * at.length;
  const color = colorOf(slot, p.colors);
  c.strokeStyle = color;
  c.fillStyle = color;
  c.lineWidth = p.bold === index ? 2.6 : 1.6;
  c.globalAlpha = p.bold >= 0 && p.bold !== index ? 0.25 : 1;
  c.lineJoin = "round";
  c.setLineDash(dashOf(slot));
  c.beginPath();
  let pen = false;
  const alone: number[] = [];
  for (let i = 0; i < solid; i += 1) {
    const value = values[offset + i] ?? NaN;
    if (Number.isNaN(value)) {
      pen = false;
      continue;
    }
    const [px, py] = [x(at[i] ?? 0), y(value)];
    if (pen) c.lineTo(px, py);
    else {
      c.moveTo(px, py);
      const next = i + 1 < solid ? (values[offset + i + 1] ?? NaN) : NaN;
      if (Number.isNaN(next)) alone.push(px, py); // a point between two gaps is no line
    }
    pen = true;
  }
  c.stroke();
  c.setLineDash([]);
  for (let i = 0; i < alone.length; i += 2) {
    c.beginPath();
    c.arc(alone[i] ?? 0, alone[i + 1] ?? 0, 2.5, 0, 2 * Math.PI);
    c.fill();
  }
  c.globalAlpha = 1;
}

function mark(c: CanvasRenderingContext2D, x: number, bottom: number, color: string): void {
  c.fillStyle = color;
  c.beginPath();
  c.moveTo(x - 4, bottom + 4);
  c.lineTo(x + 4, bottom + 4);
  c.lineTo(x, bottom - 4);
  c.fill();
}

function losses(c: CanvasRenderingContext2D, p: Picture, box: Box, x: (s: number) => number): void {
  const top = box.bottom + GAP;
  c.fillStyle = p.colors.soft;
  c.fillRect(box.left, top, box.right - box.left, STRIP);
  const { lost, start, stop } = p.lines;
  let [total, most] = [0, 1];
  for (let i = 0; i < lost.length; i += 1) {
    most = Math.max(most, lost[i] ?? 0);
    if ((stop[i] ?? 0) > p.from && (start[i] ?? 0) < p.to) total += lost[i] ?? 0;
  }
  c.fillStyle = p.colors.bad;
  for (let i = 0; i < lost.length; i += 1) {
    const count = lost[i] ?? 0;
    if (count <= 0) continue;
    const left = Math.max(x(start[i] ?? 0), box.left);
    const right = Math.min(Math.max(x(stop[i] ?? 0), left + 2), box.right);
    const tall = Math.max((STRIP * count) / most, 4);
    if (right > left) c.fillRect(left, top + STRIP - tall, right - left, tall);
  }
  c.textAlign = "right";
  c.textBaseline = "middle";
  c.fillStyle = total ? p.colors.bad : p.colors.dim;
  c.fillText(`${total.toLocaleString("en-US")} lost`, box.left - 6, top + STRIP / 2 + 1);
  c.textBaseline = "alphabetic";
}

function crosshair(c: CanvasRenderingContext2D, p: Picture, box: Box, x: (s: number) => number, y: (v: number) => number): void {
  const { at, values, slots } = p.lines;
  const px = x(at[p.cursor] ?? NaN);
  if (!(px >= box.left && px <= box.right)) return;
  c.strokeStyle = p.colors.dim;
  c.setLineDash([3, 3]);
  c.beginPath();
  c.moveTo(px, box.top);
  c.lineTo(px, box.bottom + box.strip);
  c.stroke();
  c.setLineDash([]);
  slots.forEach((slot, i) => {
    const value = values[i * at.length + p.cursor] ?? NaN;
    if (!p.shown[i] || Number.isNaN(value) || p.cursor >= p.lines.solid) return;
    c.fillStyle = colorOf(slot, p.colors);
    c.strokeStyle = p.colors.bg;
    c.lineWidth = 1.5;
    c.beginPath();
    c.arc(px, y(value), 3.5, 0, 2 * Math.PI);
    c.fill();
    c.stroke();
  });
}
