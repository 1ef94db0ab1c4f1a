// What a frame says at a moment: the numbers of each line, the bin next to a point, and the tooltip in words.

import { el, svg } from "../lib/dom";
import type { Colors } from "../lib/theme";
import { colorOf, dashOf, type Lines } from "./plot";
import { clock, withUnit } from "./scale";

export interface Meta {
  zero: string;
  wall: boolean;
  labels: string[];
  slots: number[];
  window: [number, number];
  history: [number, number];
  follow: boolean;
  many: boolean;
  running: boolean;
  what: string;
  unit: string | null;
  per_second: boolean;
  from_zero: boolean;
  width: number;
  losses: boolean;
  resets: number[];
  notes: string[];
  selectable: boolean;
  selected: [number, number] | null;
}

export type Span = [number, number];

const TIP_ROWS = 14;

/** Of `lines`, what lies within `span` and is not `hidden`. */
export class Reading {
  constructor(
    readonly lines: Lines,
    private readonly meta: Meta,
    private readonly span: Span,
    private readonly hidden: Set<string>,
  ) {}

  /** The values of line `i` that are over and seen. */
  private *seen(i: number): Generator<number> {
    const { lines } = this;
    const [from, to] = this.span;
    for (let bin = 0; bin < lines.solid; bin += 1) {
      const at = lines.at[bin] ?? NaN;
      const value = lines.values[i * lines.at.length + bin] ?? NaN;
      if (at >= from && at <= to && !Number.isNaN(value)) yield value;
    }
  }

  /** Now, least, mean and largest, as text. */
  numbers(i: number): string[] {
    let [now, min, max, sum, count] = [NaN, Infinity, -Infinity, 0, 0];
    for (const value of this.seen(i)) {
      now = value;
      min = Math.min(min, value);
      max = Math.max(max, value);
      sum += value;
      count += 1;
    }
    return (count ? [now, min, sum / count, max] : [NaN, NaN, NaN, NaN]).map((value) => this.say(value));
  }

  /** The least and the largest number of the lines that are shown. */
  extent(shown: boolean[]): [number, number] {
    let [low, high] = [Infinity, -Infinity];
    shown.forEach((each, i) => {
      if (!each) return;
      for (const value of this.seen(i)) {
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    });
    return low <= high ? [low, high] : [0, 0];
  }

  say(value: number): string {
    return withUnit(value, this.meta.unit, this.meta.per_second);
  }

  /** The bin whose point is next to a moment, or -1. */
  nearest(second: number): number {
    const { lines } = this;
    if (lines.at.length === 0) return -1;
    let [low, high] = [0, lines.at.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((lines.at[middle] ?? 0) < second) low = middle + 1;
      else high = middle;
    }
    const before = Math.abs((lines.at[low - 1] ?? -Infinity) - second);
    return before < Math.abs((lines.at[low] ?? Infinity) - second) ? low - 1 : low;
  }

  /** The bin `cursor` in words. */
  tip(cursor: number, colors: Colors): HTMLElement {
    const { meta, lines } = this;
    const tip = el("div", { class: "ts-tip" });
    tip.append(el("div", { class: "ts-when" }, this.when(cursor)));
    for (const { i, value } of this.ranked(cursor).slice(0, TIP_ROWS)) {
      const slot = lines.slots[i] ?? -1;
      const stroke = { x1: 0, x2: 18, y1: 4, y2: 4, "stroke-width": 3, stroke: colorOf(slot, colors) };
      tip.append(
        svg("svg", { width: 18, height: 8 }, svg("line", { ...stroke, "stroke-dasharray": dashOf(slot).join(" ") || null })),
        el("span", {}, lines.labels[i] ?? ""),
        el("span", { class: "ts-value" }, this.say(value)),
      );
    }
    if (lines.seconds[cursor] === 0 && meta.width > 0) tip.append(el("div", { class: "ts-when" }, "not measured"));
    if (lines.resets.includes(cursor)) tip.append(el("div", { class: "ts-when" }, "a counter began again"));
    const lost = lines.lost[cursor] ?? 0;
    if (lost > 0) tip.append(el("div", { class: "ts-bad" }, `${lost.toLocaleString("en-US")} lost`));
    return tip;
  }

  when(bin: number): string {
    const { meta, lines } = this;
    const zero = BigInt(meta.zero);
    const [start, stop] = [lines.start[bin] ?? 0, lines.stop[bin] ?? 0];
    if (stop <= start) return clock(start, zero, meta.wall, 0.001);
    const step = Math.min(meta.width || 0.001, 1);
    const running = bin >= lines.solid ? ", not over yet" : "";
    return `${clock(start, zero, meta.wall, step)} + ${withUnit((stop - start) * 1e9, "ns", false)}${running}`;
  }

  /** The numbers of a bin, the largest first. */
  ranked(bin: number): { i: number; value: number }[] {
    const { lines } = this;
    return lines.labels
      .map((label, i) => ({ i, label, value: lines.values[i * lines.at.length + bin] ?? NaN }))
      .filter(({ label, value }) => !Number.isNaN(value) && !this.hidden.has(label))
      .sort((a, b) => b.value - a.value);
  }
}
