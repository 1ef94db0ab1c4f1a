// The spans of a frame, and which rows of them are seen: subtrees that are closed are left out.

import { Dict, type Numbers, type Text } from "../lib/columns";
import type { Frame } from "../lib/widget";

export const ORPHAN = 1;
export const BEFORE = 2;
export const AFTER = 4;
export const ERROR = 8;
export const TWICE = 16;
export const LOOP = 32;

const WORDS: [number, string, string][] = [
  [ERROR, "error", "wf-bad"],
  [ORPHAN, "its parent is missing", "wf-warn"],
  [LOOP, "it is its own ancestor", "wf-warn"],
  [BEFORE, "begins before its parent: clocks differ, or it was not waited for", "wf-warn"],
  [AFTER, "ends after its parent: clocks differ, or it was not waited for", "wf-warn"],
  [TWICE, "another span has the same id", "wf-warn"],
];

export interface TraceInfo {
  id: string;
  name: string;
  service: string;
  start: string;
  duration: number;
  spans: number;
  errors: number;
}

export interface Meta {
  tree: boolean;
  zero: string;
  wall: boolean;
  duration: number;
  traces: TraceInfo[];
  count: number;
  trace: string;
  auto: boolean;
  sort: string;
  sorts: string[];
  key: string[];
  attributes: string[];
  embedded: boolean;
  lane: string;
  roles: { name: string | null; service: string | null };
  selected: number[];
  notes: string[];
}

/** A line of the picture: a span of the tree, or a lane with all its spans. */
export interface Line {
  span: number;
  spans: number[];
  label: string;
}

export class Spans {
  readonly length: number;
  readonly row: Numbers;
  readonly start: Numbers;
  readonly duration: Numbers;
  readonly color: Numbers;
  readonly faint: Numbers;
  readonly flags: Numbers;
  readonly parent: Numbers;
  readonly depth: Numbers;
  readonly size: Numbers;
  readonly alone: Numbers;
  readonly name: Dict;
  readonly service: Dict;
  readonly kind: Dict;
  readonly status: Dict;
  /** What the whole trace waited for, by span. */
  readonly critical = new Map<number, [number, number][]>();
  private readonly place = new Map<number, number>();
  private readonly laneLines: Line[] = [];

  constructor(private readonly frame: Frame<Meta>) {
    const none = new Float64Array(0);
    const numbers = (name: string) => (frame.columns[name] as Numbers | undefined) ?? none;
    const labels = (name: string) => (frame.columns[name] as Dict | undefined) ?? new Dict(new Int32Array(0), []);
    this.row = numbers("row");
    this.length = this.row.length;
    this.start = numbers("start");
    this.duration = numbers("duration");
    this.color = numbers("color");
    this.faint = numbers("faint");
    this.flags = numbers("flags");
    this.parent = numbers("parent");
    this.depth = numbers("depth");
    this.size = numbers("size");
    this.alone = numbers("alone");
    this.name = labels("name");
    this.service = labels("service");
    this.kind = labels("kind");
    this.status = labels("status");
    this.row.forEach((row, i) => this.place.set(row, i));
    const [starts, stops] = [numbers("critical_start"), numbers("critical_stop")];
    numbers("critical_span").forEach((span, i) => {
      const part: [number, number] = [starts[i] ?? 0, stops[i] ?? 0];
      this.critical.set(span, [...(this.critical.get(span) ?? []), part]);
    });
    const lanes = frame.columns["lanes"] as Text | undefined;
    if (lanes) {
      for (let i = 0; i < lanes.length; i += 1) this.laneLines.push({ span: -1, spans: [], label: lanes.at(i) });
      numbers("line").forEach((line, i) => this.laneLines[line]?.spans.push(i));
    }
  }

  /** Where the span of a row number stands, or -1. */
  at(row: number | undefined): number {
    return row === undefined ? -1 : (this.place.get(row) ?? -1);
  }

  lines(closed: Set<number>): Line[] {
    if (!this.frame.meta.tree) return this.laneLines;
    const lines: Line[] = [];
    for (let i = 0; i < this.length; ) {
      lines.push({ span: i, spans: [i], label: "" });
      i += closed.has(this.row[i] ?? -1) ? (this.size[i] ?? 1) : 1;
    }
    return lines;
  }

  ancestors(i: number): number[] {
    const found: number[] = [];
    for (let at = this.parent[i] ?? -1; at >= 0; at = this.parent[at] ?? -1) found.push(at);
    return found;
  }

  /** The span of a line that runs at a moment, or -1; `slack` ns before and after it will do. */
  running({ spans }: Line, at: number, slack: number): number {
    const { start, duration } = this;
    return spans.find((i) => at >= (start[i] ?? 0) - slack && at <= (start[i] ?? 0) + (duration[i] ?? 0) + slack) ?? -1;
  }

  /** The row numbers of spans between roots and leaves. */
  inner(): number[] {
    return Array.from(this.row).filter((_, i) => (this.depth[i] ?? 0) >= 1 && (this.size[i] ?? 1) > 1);
  }

  /** The next of some spans (by row number) behind span `i`, the first behind the last. */
  next(i: number, rows: Set<number>): number {
    for (let step = 1; step <= this.length; step += 1) {
      const at = (i + step) % this.length;
      if (rows.has(this.row[at] ?? -1)) return at;
    }
    return -1;
  }

  oddities(i: number): { text: string; kind: string }[] {
    const flags = this.flags[i] ?? 0;
    return WORDS.filter(([flag]) => flags & flag).map(([, text, kind]) => ({ text, kind }));
  }

  /** The attributes that travelled with the spans. */
  attributes(i: number): [string, string][] {
    return this.frame.meta.attributes.map((name) => [name, (this.frame.columns[`a:${name}`] as Dict).at(i)]);
  }

  /** The row numbers of spans of which any text holds `words`. */
  search(words: string): Set<number> {
    const wanted = words.toLowerCase();
    const found = new Set<number>();
    for (const [name, column] of Object.entries(this.frame.columns)) {
      if (!(column instanceof Dict) || !(name.startsWith("a:") || ["name", "service", "kind", "status"].includes(name))) continue;
      const hit = column.labels.map((label) => label.toLowerCase().includes(wanted));
      column.codes.forEach((code, i) => {
        if (hit[code]) found.add(this.row[i] ?? -1);
      });
    }
    return found;
  }
}
