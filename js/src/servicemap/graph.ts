// What Python sent, as nodes and edges, and the words and scales of their measures.

import type { Column, Text } from "../lib/columns";
import { humanize, percent, whole } from "../lib/format";
import type { Frame } from "../lib/widget";

export interface Kind {
  name: string;
  shape: string;
  glyph: string;
  color: number;
}

export interface Meta {
  frame: [number, number, number, number];
  crowd: number;
  metrics: Record<string, { title: string; low: number; high: number }>;
  look: { width: string; color: string; label: string };
  unit: string | null;
  counted: string;
  singular: string;
  said: string;
  kinds: Kind[];
  ramp: string[];
  folded: Record<string, number>;
  limit: number;
  most: number;
  picked: string[] | null;
  pinned: string[];
}

export interface Node {
  index: number;
  name: string;
  kind: Kind;
  group: string;
  x: number;
  y: number;
  r: number;
  rank: number;
  faded: boolean;
  out: Edge[];
  in: Edge[];
}

export interface Edge {
  index: number;
  key: string;
  a: Node;
  b: Node;
  faded: boolean;
  facing: boolean;
}

export class Graph {
  readonly nodes: Node[] = [];
  readonly edges: Edge[] = [];
  readonly byName = new Map<string, Node>();
  /** Nodes, the most important first. */
  readonly ranked: Node[];
  readonly groups: string[];
  readonly meta: Meta;
  private readonly columns: Record<string, Column>;

  constructor(frame: Frame<Meta>) {
    this.meta = frame.meta;
    this.columns = frame.columns;
    const names = frame.columns.name as Text;
    const groups = frame.columns.group as Text;
    for (let i = 0; i < names.length; i++) {
      const kind = this.meta.kinds[this.number("kind", i)];
      if (!kind) continue;
      const node: Node = {
        index: i,
        name: names.at(i),
        kind,
        group: groups.at(i),
        x: this.number("x", i),
        y: this.number("y", i),
        r: this.number("r", i),
        rank: this.number("rank", i),
        faded: this.number("faded", i) > 0,
        out: [],
        in: [],
      };
      this.nodes.push(node);
      this.byName.set(node.name, node);
    }
    const keys = new Set<string>();
    const length = (frame.columns.a as Uint32Array | undefined)?.length ?? 0;
    for (let i = 0; i < length; i++) {
      const [a, b] = [this.nodes[this.number("a", i)], this.nodes[this.number("b", i)]];
      if (!a || !b) continue;
      const edge = { index: i, key: `${a.name}\n${b.name}`, a, b, faded: this.number("edge_faded", i) > 0, facing: false };
      keys.add(edge.key);
      this.edges.push(edge);
      a.out.push(edge);
      b.in.push(edge);
    }
    for (const edge of this.edges) edge.facing = edge.a !== edge.b && keys.has(`${edge.b.name}\n${edge.a.name}`);
    this.ranked = [...this.nodes].sort((p, q) => p.rank - q.rank);
    this.groups = [...new Set(this.nodes.map((node) => node.group))].filter(Boolean).sort();
  }

  get metrics(): string[] {
    return Object.keys(this.meta.metrics);
  }

  value(metric: string, edge: Edge): number {
    return metric in this.meta.metrics ? this.number(metric, edge.index) : Number.NaN;
  }

  /** Where a value lies on its scale, 0 to 1; as Python's Scale. */
  place(metric: string, value: number): number {
    const scale = this.meta.metrics[metric];
    if (!scale || !(value > scale.low)) return 0;
    if (metric === "errors") return Math.min(1, Math.sqrt(value / scale.high));
    return Math.min(1, Math.log(value / scale.low) / Math.log(scale.high / scale.low));
  }

  worded(metric: string, value: number): string {
    if (Number.isNaN(value)) return "-";
    if (this.meta.counted === "bytes") metric = { rate: "bytes_rate", count: "bytes" }[metric] ?? metric;
    if (metric === "errors") return percent(value);
    if (metric === "rate") return `${humanize(Number(value.toPrecision(3)))}/s`;
    if (metric === "bytes_rate") return `${humanize(Number(value.toPrecision(3)), "bytes")}/s`;
    if (metric === "bytes") return humanize(value, "bytes");
    if (metric === "count") return Number.isInteger(value) ? whole(value) : humanize(value);
    return humanize(value, this.meta.unit);
  }

  /** "redis-server to 10.0.0.2:5432, 120 requests/s, 2 % errors"; as Python's. */
  sentence(edge: Edge): string {
    const parts = [`${edge.a.name} to ${edge.b.name}`];
    for (const metric of this.metrics) {
      const value = this.value(metric, edge);
      if (Number.isNaN(value)) continue;
      parts.push(this.amount(metric, value));
    }
    return parts.join(", ");
  }

  /** A measure within a sentence, as Python's. */
  amount(metric: string, value: number): string {
    const { counted, singular } = this.meta;
    const words = this.worded(metric, value);
    const plain = counted === "" || counted === "bytes";
    if (metric === "errors") return `${words} errors`;
    if (metric === "bytes_rate" || (metric === "rate" && plain)) return words;
    if (metric === "rate") return `${words.replace(/\/s$/, "")} ${counted}/s`;
    if (metric !== "count") return `${this.meta.metrics[metric]?.title} ${words}`;
    if (plain) return counted ? words : `${words} in all`;
    return `${words} ${words === "1" ? singular : counted}`;
  }

  color(t: number): string {
    const { ramp } = this.meta;
    const x = Math.min(1, Math.max(0, t)) * (ramp.length - 1);
    const low = Math.min(Math.floor(x), ramp.length - 2);
    const part = (i: number, at: number) => Number.parseInt((ramp[i] ?? "#000000").slice(at, at + 2), 16);
    const mixed = [1, 3, 5].map((i) => Math.round(part(low, i) * (low + 1 - x) + part(low + 1, i) * (x - low)));
    return `rgb(${mixed.join(",")})`;
  }

  private number(name: string, index: number): number {
    return Number((this.columns[name] as Float64Array | undefined)?.[index] ?? Number.NaN);
  }
}
