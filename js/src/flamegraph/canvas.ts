// The frames on a canvas that stands still in a scrolled box: what is painted is what can be seen.

import { el } from "../lib/dom";
import type { Colors } from "../lib/theme";
import { boxAt, type Box, type Rows } from "./layout";

export const ROW = 18;
const FONT = "11px system-ui, sans-serif";
const PADDING = 4;

export interface Paint {
  label(node: number): string;
  fill(node: number): string;
  ink(node: number): string;
  /** Whether a frame steps back: it does not match, or is above the zoom. */
  faint(node: number): boolean;
}

export class Canvas {
  readonly box: HTMLElement;
  private readonly canvas = el("canvas", { style: "position:sticky;top:0;display:block" });
  private readonly room = el("div", { style: "width:1px" });
  private readonly context = this.canvas.getContext("2d")!;
  private readonly widths = new Map<string, number>();
  private rows: Rows = [];
  private flame = false;
  private scrolled = false;
  private readonly sizes: ResizeObserver;

  constructor(redraw: () => void) {
    this.box = el(
      "div",
      { class: "f-frames", tabindex: 0, style: "position:relative;overflow:hidden auto;flex:1 1 0;min-width:0;cursor:pointer" },
      this.canvas,
      this.room,
    );
    this.box.addEventListener("scroll", () => {
      this.scrolled = true;
      redraw();
    });
    this.sizes = new ResizeObserver(redraw);
    this.sizes.observe(this.box);
  }

  destroy(): void {
    this.sizes.disconnect();
  }

  get width(): number {
    return Math.max(0, this.box.clientWidth);
  }

  /** Other frames to show. A flame stands on the bottom, and is looked at from there. */
  set(rows: Rows, flame: boolean): void {
    const turned = flame !== this.flame;
    this.rows = rows;
    this.flame = flame;
    const height = this.box.clientHeight;
    this.canvas.height = 0; // else it would hold the box open
    this.room.style.height = `${Math.max(0, rows.length * ROW - height)}px`;
    if (flame && (turned || !this.scrolled)) this.box.scrollTop = this.box.scrollHeight;
    else if (turned) this.box.scrollTop = 0;
  }

  paint(how: Paint, colors: Colors, focus: number): void {
    const { context, canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.width, this.box.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = FONT;
    context.textBaseline = "middle";
    for (const row of this.rows) {
      const top = row?.[0] ? this.top(row[0].depth) : -ROW;
      if (!row || top <= -ROW || top >= height) continue;
      for (const box of row) this.frame(box, top, how);
    }
    const focused = this.boxOf(focus);
    if (focused) {
      context.strokeStyle = colors.fg;
      context.lineWidth = 2;
      context.strokeRect(focused.x + 1, this.top(focused.depth) + 1, Math.max(focused.width - 2, 1), ROW - 3);
    }
  }

  private frame(box: Box, top: number, how: Paint): void {
    const { context } = this;
    const { node, x, width } = box;
    const gap = width > 3 ? 0.6 : 0;
    context.globalAlpha = how.faint(node) ? 0.4 : 1;
    context.fillStyle = how.fill(node);
    context.fillRect(x, top, width - gap, ROW - 1);
    if (width > 22) {
      context.fillStyle = how.ink(node);
      context.fillText(this.fitted(how.label(node), width - 2 * PADDING), x + PADDING, top + ROW / 2);
    }
    context.globalAlpha = 1;
  }

  /** As much of a name as fits, and a mark that there is more. */
  private fitted(text: string, room: number): string {
    let wide = this.widths.get(text);
    if (wide === undefined) {
      if (this.widths.size > 20_000) this.widths.clear();
      wide = this.context.measureText(text).width;
      this.widths.set(text, wide);
    }
    if (wide <= room) return text;
    let letters = Math.min(text.length - 1, Math.floor((room / wide) * text.length));
    while (letters > 0 && this.context.measureText(`${text.slice(0, letters)}…`).width > room) letters--;
    return letters > 1 ? `${text.slice(0, letters)}…` : "";
  }

  private top(depth: number): number {
    const count = Math.max(this.rows.length, Math.floor(this.box.clientHeight / ROW));
    const row = this.flame ? count - 1 - depth : depth;
    return row * ROW - this.box.scrollTop;
  }

  boxOf(node: number): Box | undefined {
    for (const row of this.rows) {
      const box = row?.find((found) => found.node === node);
      if (box) return box;
    }
    return undefined;
  }

  /** Where a frame stands in the visible part: its middle, and its lower edge. */
  place(box: Box): { x: number; y: number } {
    return { x: box.x + Math.min(box.width / 2, 200), y: this.top(box.depth) + ROW };
  }

  /** The frame at a point of the visible part. */
  at(x: number, y: number): Box | undefined {
    for (const row of this.rows) {
      const top = row?.[0] ? this.top(row[0].depth) : -ROW;
      if (row?.[0] && y >= top && y < top + ROW) return boxAt(row, x);
    }
    return undefined;
  }

  reveal(box: Box): void {
    const top = this.top(box.depth);
    if (top < 0) this.box.scrollTop += top;
    else if (top + ROW > this.box.clientHeight) this.box.scrollTop += top + ROW - this.box.clientHeight;
  }
}
