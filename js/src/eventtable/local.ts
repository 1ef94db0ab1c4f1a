// An offline page: the rows that it holds, filtered by their text and sorted by the ranks that Python gave them.

import type { Frame } from "../lib/widget";
import { type Block, type Cells, type Copied, type Field, type FilterChange, type Meta, NA, type Offer, type Provider, type SortKey } from "./meta";

interface Filter {
  how: string;
  text: string;
  picks: Set<string>;
}

export class Local implements Provider {
  private readonly columns_: Record<string, Cells>;
  private readonly meta: Meta;
  private readonly filters = new Map<number, Filter>();
  private readonly marked = new Set<string>();
  private readonly offered = new Map<number, string[]>();
  private anchor: string | undefined;
  private index: number[];

  constructor(
    frame: Frame<Meta>,
    private readonly show: (block: Block) => void,
  ) {
    this.columns_ = frame.columns as Record<string, Cells>;
    this.meta = { ...frame.meta, base: 0, start: 0, linked: "", filters: [] };
    this.index = this.all();
    this.publish();
  }

  need(): void {
    // everything is here already
  }

  sort(keys: SortKey[]): void {
    this.meta.sort = keys;
    this.arrange();
  }
  columns(shown: number[]): void {
    this.meta.shown = shown;
    this.publish();
  }
  follow(): void {}
  raw(): void {}

  select(how: string, row?: string): void {
    const rows = this.index.map((place) => this.number(place));
    const before = new Set(this.marked);
    this.marked.clear();
    if (how === "all") for (const number of rows) this.marked.add(number);
    else if (row !== undefined && how === "range") {
      const [low, high] = [rows.indexOf(this.anchor ?? row), rows.indexOf(row)].sort((a, b) => a - b) as [number, number];
      for (const number of rows.slice(Math.max(0, low), high + 1)) this.marked.add(number);
    } else if (row !== undefined) {
      this.anchor = row;
      if (how === "toggle") for (const number of before) this.marked.add(number);
      if (how === "toggle" && before.has(row)) this.marked.delete(row);
      else this.marked.add(row);
    }
    this.publish();
  }

  async values(column: number): Promise<Offer> {
    const counts = new Map<string, number>();
    for (const place of this.passing(column)) {
      const text = this.text(column, place);
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    const filter = this.filters.get(column);
    const found = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 200);
    this.offered.set(column, found.map(([text]) => text));
    return {
      how: filter?.how ?? "contains",
      text: filter?.text ?? "",
      labels: found.map(([text]) => (text === NA ? "(missing)" : text)),
      counts: found.map(([, count]) => count),
      picked: found.map(([text]) => filter?.picks.has(text) ?? false),
      distinct: counts.size,
    };
  }

  async filter(change: FilterChange): Promise<string> {
    if ("clear" in change) {
      if (change.clear === "all") this.filters.clear();
      else this.filters.delete(change.column);
    } else {
      const filter = this.filters.get(change.column) ?? { how: "contains", text: "", picks: new Set<string>() };
      if ("picks" in change) {
        const offered = this.offered.get(change.column) ?? [];
        filter.picks = new Set(change.picks.map((place) => offered[place] ?? ""));
      } else {
        if (change.how === "matches") {
          try {
            new RegExp(change.text);
          } catch (error) {
            return (error as Error).message;
          }
        }
        filter.how = change.how;
        filter.text = change.text;
      }
      if (filter.text === "" && filter.picks.size === 0) this.filters.delete(change.column);
      else this.filters.set(change.column, filter);
    }
    this.arrange();
    return "";
  }

  async detail(row: string): Promise<Field[]> {
    const place = this.all().find((at) => this.number(at) === row);
    if (place === undefined) return [];
    return this.meta.columns.map((column, number) => {
      const value = this.text(number, place);
      const exact = String(this.columns_[`t${number}`]?.at(place) ?? "");
      const note = [column.unit, column.format, column.description].filter(Boolean).join(" · ");
      return { name: column.name, value: value === NA ? "missing" : value, raw: exact, note };
    });
  }

  async copy(): Promise<Copied> {
    const chosen = this.index.filter((place) => this.marked.size === 0 || this.marked.has(this.number(place)));
    const cell = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const line = (texts: string[]) => texts.map(cell).join(",");
    const lines = [line(this.meta.shown.map((column) => this.meta.columns[column]?.name ?? ""))];
    for (const place of chosen) {
      lines.push(line(this.meta.shown.map((column) => this.text(column, place).replace(NA, ""))));
    }
    return { text: `${lines.join("\r\n")}\r\n`, rows: chosen.length, of: chosen.length };
  }

  private all(): number[] {
    return Array.from({ length: this.meta.embedded ?? 0 }, (_, place) => place);
  }

  private text(column: number, place: number): string {
    const text = String(this.columns_[`c${column}`]?.at(place) ?? NA);
    return this.meta.columns[column]?.grouped ? text.replaceAll(",", "") : text;
  }

  private number(place: number): string {
    return String(this.columns_["#"]?.at(place));
  }

  /** Rows that pass the filters, but for the picks of one column. */
  private passing(without?: number): number[] {
    const tests = [...this.filters].map(([column, { how, text, picks }]) => {
      const wanted = text.toLowerCase();
      const pattern = how === "matches" ? new RegExp(text) : undefined;
      return (place: number) => {
        const value = this.text(column, place);
        if (column !== without && picks.size > 0 && !picks.has(value)) return false;
        if (text === "") return true;
        if (pattern) return pattern.test(value);
        return how === "equals" ? value === text : value.toLowerCase().includes(wanted);
      };
    });
    return this.all().filter((place) => tests.every((test) => test(place)));
  }

  private arrange(): void {
    this.index = this.passing();
    for (const [column, way] of [...this.meta.sort].reverse()) {
      const rank = this.columns_[`r${column}`];
      const last = 2 ** 32 - 1; // missing values, whichever way
      const key = (place: number) => {
        const value = Number(rank?.at(place) ?? 0);
        return way === "desc" && value < last ? -value : value;
      };
      this.index.sort((a, b) => key(a) - key(b));
    }
    this.publish(true);
  }

  private publish(moved = false): void {
    const meta = this.meta;
    if (moved) meta.epoch += 1;
    meta.rows = this.index.length;
    meta.total = meta.embedded ?? 0;
    meta.selected = this.marked.size;
    meta.filters = [...this.filters].map(([column, { how, text, picks }]) => {
      const name = meta.columns[column]?.name ?? "";
      const words = [text && `${how} “${text}”`, picks.size > 0 && `is ${[...picks].slice(0, 3).join(", ")}${picks.size > 3 ? " …" : ""}`];
      return { column, name, text: `${name} ${words.filter(Boolean).join(" and ")}` };
    });
    const columns: Record<string, Cells> = {};
    const { index } = this;
    for (const [name, cells] of Object.entries(this.columns_)) {
      columns[name] = { length: index.length, at: (row) => cells.at(index[row] ?? -1) };
    }
    columns["selected"] = { length: index.length, at: (row) => (this.marked.has(this.number(index[row] ?? -1)) ? 1 : 0) };
    this.show({ meta: { ...meta }, columns });
  }
}
