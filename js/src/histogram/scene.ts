// The charts of a histogram: where each is, and its bars, axis, percentiles and selection as SVG.

import { svg } from "../lib/dom";
import { short, whole } from "../lib/format";
import type { Shell } from "../lib/widget";
import { covered, flags, grid, labelEvery, type Mark, share, type Span, ticks } from "./scale";

export interface Group {
  label: string;
  others: number;
  marks: [string, number][];
}

export interface Meta {
  binning: number;
  name: string;
  unit: string;
  labels: string[];
  ranges: string[];
  groups: Group[];
  marks: [string, number][];
  missing: number;
  note: string;
  filter: string;
  selectable: boolean;
  selected: Span[];
  chosen: string[];
}

/** One chart: where its plot is, and what it counts. */
export interface Panel {
  title: string;
  group: number; // -1: all groups
  x: number;
  y: number;
  wide: number;
  tall: number;
  counts: bigint[];
  behind: bigint[] | undefined;
  total: bigint;
  marks: Mark[];
}

/** A bar, by its chart and bucket. */
export interface Bar {
  panel: number;
  bucket: number;
}

/** What is being dragged over. */
export interface Drag {
  panel: number;
  from: number;
  to: number;
}

const LETTER = 6.3; // px a letter of 11 px takes, a little generously
const LEFT = 48;
const RIGHT = 14;
export const BOTTOM = 20;
const FLAG = 13;
const OTHERS = "#8b949e";

export class Scene {
  readonly panels: Panel[];
  readonly total: bigint;

  constructor(
    private readonly shell: Shell<Meta>,
    readonly meta: Meta,
    readonly counts: bigint[][],
    private readonly behind: bigint[][] | undefined,
    private readonly log: boolean,
    readonly stacked: boolean,
  ) {
    this.panels = this.layOut();
    this.total = sum(this.panels.map((panel) => panel.total));
  }

  /** The whole picture. */
  draw(cursor: Bar | undefined, drag: Drag | undefined): SVGElement[] {
    const { shell, panels } = this;
    if (this.total === 0n && !panels.some((panel) => panel.behind?.some((count) => count > 0n))) {
      const middle = { x: shell.width / 2, y: shell.height / 2, "text-anchor": "middle", class: "b-empty" };
      return [svg("text", middle, "no rows yet")];
    }
    return [...panels.flatMap((panel, i) => this.panel(panel, i, cursor, drag)), ...this.legend()];
  }

  // Layout

  private layOut(): Panel[] {
    const { meta, shell } = this;
    const together = (parts: bigint[][]) => meta.ranges.map((_, i) => parts.reduce((all, part) => all + (part[i] ?? 0n), 0n));
    const marks = (pairs: [string, number][]) => pairs.map(([label, at]) => ({ label, at }));
    if (this.stacked) {
      const counts = together(this.counts);
      const all = { title: "", group: -1, counts, behind: this.behind && together(this.behind), total: sum(counts) };
      return [{ ...all, marks: marks(meta.marks), ...this.plot(0, 0, shell.width, shell.height - 20, 3) }];
    }
    const count = meta.groups.length;
    const { across, down } = grid(count, shell.width, shell.height);
    const [wide, tall] = [shell.width / across, shell.height / down];
    return meta.groups.map((group, i) => {
      const counts = this.counts[i] ?? [];
      const found = tall > 150 ? marks(group.marks) : marks(group.marks).slice(0, 1);
      return {
        title: group.label,
        group: i,
        counts,
        behind: this.behind?.[i],
        total: sum(counts),
        marks: found,
        ...this.plot((i % across) * wide, Math.floor(i / across) * tall, wide, tall, found.length),
      };
    });
  }

  /** Whether charts have a line of title and total above them; a lone one's total stands in the status line. */
  private get headed(): boolean {
    return !this.stacked && this.meta.groups.length > 1;
  }

  /** The plot within a box, under `flagRows` rows of percentile labels and a line of title. */
  private plot(x: number, y: number, wide: number, tall: number, flagRows: number) {
    const top = (this.headed ? 19 : 4) + FLAG * flagRows;
    return { x: x + LEFT, y: y + top, wide: wide - LEFT - RIGHT, tall: Math.max(20, tall - top - BOTTOM) };
  }

  // Drawing

  private panel(panel: Panel, index: number, cursor: Bar | undefined, drag: Drag | undefined): SVGElement[] {
    const { meta } = this;
    const most = Number((panel.behind ?? panel.counts).reduce((a, b) => (b > a ? b : a), 0n));
    const step = panel.wide / meta.ranges.length;
    const base = panel.y + panel.tall;
    const right = panel.x + panel.wide;
    const out: SVGElement[] = [];
    for (const tick of [0, ...ticks(most, this.log)]) {
      const y = base - panel.tall * share(tick, most, this.log);
      out.push(svg("line", { class: "b-grid", x1: panel.x, x2: right, y1: y, y2: y }));
      if (tick) out.push(svg("text", { x: panel.x - 6, y: y + 4, "text-anchor": "end" }, short(tick)));
    }
    if (this.headed) {
      const head = panel.y - 7 - FLAG * panel.marks.length;
      const room = Math.max(6, Math.floor((panel.wide - values(panel.total).length * LETTER) / (LETTER + 0.4)));
      const title = panel.title.length > room ? `${panel.title.slice(0, room - 1)}…` : panel.title;
      out.push(svg("text", { x: panel.x, y: head, class: "b-strong" }, title));
      out.push(svg("text", { x: right, y: head, "text-anchor": "end" }, values(panel.total)));
    }
    out.push(...this.selection(panel, step, drag?.panel === index ? drag : undefined));
    if (panel.behind) out.push(...this.bars(panel, panel.behind, most, undefined, "b-behind", index));
    if (this.stacked) out.push(...this.stack(panel, most, index));
    else out.push(...this.bars(panel, panel.counts, most, undefined, "b-hbar", index, panel.group));
    out.push(...this.axis(panel, step));
    if (panel.total > 0n) out.push(...this.marks(panel));
    if (cursor?.panel === index) {
      const x = panel.x + cursor.bucket * step;
      out.push(svg("rect", { class: "b-cursor", x, y: panel.y, width: step, height: panel.tall }));
    }
    return out;
  }

  private bars(
    panel: Panel,
    counts: bigint[],
    most: number,
    floors: bigint[] | undefined,
    kind: string,
    index: number,
    group = -1,
    color?: string,
  ): SVGElement[] {
    const { meta } = this;
    const step = panel.wide / counts.length;
    const gap = Math.min(1, step / 8);
    const base = panel.y + panel.tall;
    const chosen = meta.chosen.length === 0 || group < 0 || meta.chosen.includes(meta.groups[group]?.label ?? "");
    const selecting = meta.selected.length > 0;
    return counts.flatMap((count, i) => {
      if (count === 0n) return [];
      const floor = floors?.[i] ?? 0n;
      const low = panel.tall * share(Number(floor), most, this.log);
      const high = panel.tall * share(Number(floor + count), most, this.log);
      const tall = Math.max(1, high - low);
      const dim = kind !== "b-behind" && selecting && !(chosen && covered(meta.selected, i) > 0);
      return [
        svg("rect", {
          class: kind + (dim ? " b-dimmed" : ""),
          x: panel.x + i * step + gap,
          y: base - low - tall,
          width: Math.max(0.5, step - 2 * gap),
          height: tall,
          fill: color ?? null,
          "data-panel": index,
          "data-group": group < 0 ? null : (meta.groups[group]?.label ?? ""),
          "data-range": meta.ranges[i] ?? "",
          "data-count": String(count),
        }),
      ];
    });
  }

  private stack(panel: Panel, most: number, index: number): SVGElement[] {
    let floors = panel.counts.map(() => 0n);
    return this.counts.flatMap((counts, group) => {
      const bars = this.bars(panel, counts, most, floors, "b-part", index, group, this.color(group));
      floors = floors.map((floor, i) => floor + (counts[i] ?? 0n));
      return bars;
    });
  }

  private color(group: number): string {
    const { categories } = this.shell.colors;
    return this.meta.groups[group]?.others ? OTHERS : (categories[group % categories.length] ?? OTHERS);
  }

  private selection(panel: Panel, step: number, drag: Drag | undefined): SVGElement[] {
    const { meta } = this;
    const dragged = drag ? [ordered(drag.from, drag.to)] : [];
    const here = meta.chosen.length === 0 || panel.group < 0 || meta.chosen.includes(panel.title);
    return [...(here ? meta.selected : []), ...dragged].map(([from, to]) =>
      svg("rect", {
        class: "b-selected",
        x: panel.x + from * step,
        y: panel.y,
        width: (to - from) * step,
        height: panel.tall + 5,
      }),
    );
  }

  private axis(panel: Panel, step: number): SVGElement[] {
    const { labels } = this.meta;
    const every = labelEvery(labels, step, LETTER);
    const base = panel.y + panel.tall;
    const out: SVGElement[] = [];
    for (let i = 0; i < labels.length; i += every) {
      const x = panel.x + i * step;
      out.push(svg("line", { class: "b-grid", x1: x, x2: x, y1: base, y2: base + 4 }));
      const anchor = i === labels.length - 1 && i > 0 ? "end" : i === 0 ? "start" : "middle";
      out.push(svg("text", { x: anchor === "end" ? x + RIGHT - 2 : anchor === "start" ? x - 6 : x, y: base + 15, "text-anchor": anchor }, labels[i]));
    }
    return out;
  }

  private marks(panel: Panel): SVGElement[] {
    const step = panel.wide / this.meta.ranges.length;
    const base = panel.y + panel.tall;
    return flags(panel.marks, (at) => panel.x + at * step, panel.x - LEFT, panel.x + panel.wide + RIGHT, LETTER).flatMap((flag) => {
      const y = panel.y - 5 - FLAG * flag.row;
      return [
        svg("line", { class: "b-mark", x1: flag.x, x2: flag.x, y1: y - 8, y2: base }),
        svg("text", { class: "b-marktext", x: flag.left, y }, flag.label),
      ];
    });
  }

  private legend(): SVGElement[] {
    if (!this.stacked) return [];
    let x = LEFT;
    const y = this.shell.height - 6;
    return this.meta.groups.flatMap((group, i) => {
      const text = group.label.length > 18 ? `${group.label.slice(0, 17)}…` : group.label;
      const parts = [
        svg("rect", { x, y: y - 9, width: 10, height: 10, rx: 2, fill: this.color(i) }),
        svg("text", { x: x + 14, y }, text),
      ];
      x += 14 + text.length * LETTER + 14;
      return parts;
    });
  }
}

export function rows(flat: BigUint64Array, count: number): bigint[][] {
  const size = count > 0 ? flat.length / count : 0;
  return Array.from({ length: count }, (_, i) => Array.from(flat.subarray(i * size, (i + 1) * size)));
}

export function sum(counts: bigint[]): bigint {
  return counts.reduce((all, count) => all + count, 0n);
}

export function values(count: bigint): string {
  return `${whole(count)} value${count === 1n ? "" : "s"}`;
}

export function ordered(a: number, b: number): Span {
  return [Math.min(a, b), Math.max(a, b) + 1];
}
