// What is drawn where, and its words: the columns and buckets of a heatmap on the screen.

import { humanize, time, whole } from "../lib/format";
import type { Shell } from "../lib/widget";
import { elapsed, SECOND } from "./clock";
import type { Mapping } from "./colors";
import type { Store } from "./store";

export interface Meta {
  binning: number;
  origin: string;
  every: string;
  clock: boolean;
  first: number;
  stop: number;
  width: number;
  from: number;
  name: string;
  labels: string[];
  ranges: string[];
  what: string;
  whatUnit: string;
  note: string;
  filter: string;
  selected: { columns: [number | null, number | null] | null; buckets: [number, number] | null } | null;
}

export interface Cell {
  column: number;
  bucket: number;
}

export interface Rectangle {
  columns: [number, number];
  buckets: [number, number];
}

export const LEFT = 62;
export const RIGHT = 12;
export const TOP = 8;
export const BOTTOM = 52;
export const LETTER = 6.3;

export class Plot {
  constructor(
    readonly shell: Shell<Meta>,
    readonly store: Store,
    public meta: Meta,
  ) {}

  get mapping(): Mapping {
    return this.shell.get<Mapping>("mapping") ?? "sqrt";
  }

  get box() {
    const { width, height } = this.shell;
    return { x: LEFT, y: TOP, wide: Math.max(10, width - LEFT - RIGHT), tall: Math.max(10, height - TOP - BOTTOM) };
  }

  /** The number of the leftmost column. */
  get start(): number {
    return this.meta.stop - this.meta.width;
  }

  left(column: number): number {
    const { x, wide } = this.box;
    return x + ((column - this.start) * wide) / this.meta.width;
  }

  bottom(bucket: number): number {
    const { y, tall } = this.box;
    return y + tall - (bucket * tall) / this.meta.ranges.length;
  }

  moment(column: number): bigint {
    const { origin, every } = this.meta;
    return BigInt(origin) + BigInt(column) * BigInt(every);
  }

  /** The nearest cell that is there. */
  within({ column, bucket }: Cell): Cell {
    return {
      column: Math.min(this.store.stop - 1, Math.max(this.start, column)),
      bucket: Math.min(this.meta.ranges.length - 1, Math.max(0, bucket)),
    };
  }

  get hasGaps(): boolean {
    for (let column = this.start; column < this.store.stop; column++) if (!this.store.isMeasured(column)) return true;
    return false;
  }

  amount(count: number): string {
    const meta = this.meta;
    const number = meta.whatUnit ? humanize(count, meta.whatUnit) : whole(Number.isInteger(count) ? count : Number(count.toPrecision(7)));
    return `${number} ${count === 1 && meta.what.endsWith("s") ? meta.what.slice(0, -1) : meta.what}`;
  }

  spoken(total: number): string {
    const meta = this.meta;
    const gaps = this.hasGaps ? ", with gaps in which nothing was measured" : "";
    return (
      `Heatmap of ${meta.name || "values"}: ${this.amount(total)} in ${this.store.stop - this.store.first} columns of ` +
      `${humanize(Number(meta.every), "ns")} and ${meta.ranges.length} buckets${gaps}. ` +
      "Arrow keys move over the cells, Shift and arrow keys select."
    );
  }

  told({ column, bucket }: Cell): string[] {
    const meta = this.meta;
    const [start, stop] = [this.moment(column), this.moment(column + 1)];
    const lines = [`${this.clock(start)} to ${this.clock(stop)}`, meta.ranges[bucket] ?? ""];
    lines.push(this.store.isMeasured(column) ? this.amount(this.store.count(column, bucket)) : "not measured");
    const lost = this.store.lostIn(column);
    if (lost > 0) lines.push(`${whole(lost)} events lost in this column`);
    return lines;
  }

  clock(ns: bigint): string {
    const meta = this.meta;
    if (!meta.clock) return elapsed(ns);
    const every = Number(meta.every);
    return time(ns, every % SECOND === 0 ? 0 : every % 1_000_000 === 0 ? 3 : 9);
  }
}
