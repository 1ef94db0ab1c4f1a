// The rows in sight, and nothing more: a few elements whose text changes as the position does.

import { el } from "../lib/dom";
import { Awaited } from "./awaited";
import { Header, type HeaderCalls } from "./header";
import { type Block, type Meta, NA } from "./meta";
import { Position, ROW } from "./scroll";

export interface GridCalls extends HeaderCalls {
  need(start: number, count: number, sight: number): void;
  follow(on: boolean): void;
  select(how: "one" | "toggle" | "range" | "all" | "none", row?: string): void;
  open(row: string): void;
  escape(): void;
  copy(): void;
}

const HEAD = 28;
const WIDEST = 380;
const NARROWEST = 44;

interface Line {
  row: HTMLElement;
  open: HTMLElement;
  cells: HTMLElement[];
}

export class Grid {
  readonly position = new Position();
  readonly scroller: HTMLElement;
  /** The row that the keyboard is at, by position. */
  cursor = -1;
  following = false;
  private block: Block | undefined;
  private readonly canvas = el("div", { class: "et-canvas" });
  private readonly body = el("div", { class: "et-body", role: "presentation" });
  private readonly header: Header;
  private lines: Line[] = [];
  private laidOut = "";
  private bar = 0; // scrollTop as last seen
  private before = new Map<string, string[]>(); // texts of a map's rows in the last block, to show what changed
  private turn = 0;
  private changed = new Map<string, Set<number>>();
  private asked = "";
  private readonly awaited = new Awaited((at) => this.numberAt(at));
  private readonly pen = document.createElement("canvas").getContext("2d");

  constructor(
    private readonly calls: GridCalls,
    private readonly widths: Record<string, number>,
    label: string,
  ) {
    this.header = new Header({
      ...calls,
      width: (place) => this.width(place),
      resize: (place, width) => this.resize(place, width),
    });
    this.canvas.append(this.header.row, this.body);
    this.scroller = el(
      "div",
      { class: "et-scroll", role: "grid", tabindex: 0, "aria-label": label, "aria-multiselectable": "true" },
      this.canvas,
    );
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroller.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault());
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("dblclick", (event) => this.rowOf(event) >= 0 && this.openAt(this.rowOf(event)));
  }

  get meta(): Meta | undefined {
    return this.block?.meta;
  }

  // Rows arrive

  show(block: Block): void {
    this.heed();
    const old = this.meta;
    const { meta } = block;
    const sorted = JSON.stringify(old?.sort) !== JSON.stringify(meta.sort);
    if (old && old.epoch !== meta.epoch) {
      const moved = meta.base - this.position.base;
      this.position.base = meta.base;
      this.position.top = sorted ? meta.base : this.position.top + moved;
      if (this.cursor >= 0) this.cursor += moved;
      this.awaited.move(moved);
    }
    if (!old || old.follow !== meta.follow) this.following = meta.follow;
    this.following &&= follows(meta);
    if (meta.map) this.compare(block);
    this.block = block;
    this.position.set(meta.base, meta.rows, this.sight());
    if (this.following) this.position.to(this.position.last);
    this.asked = "";
    this.awaited.look(this.position);
  }

  /** Which cells of a map's rows are others than before; of other entries in the same place none. */
  private compare(block: Block): void {
    const { meta } = block;
    const texts = new Map<string, string[]>();
    this.changed = new Map();
    const length = block.columns["#"]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      const row = String(block.columns["#"]?.at(i));
      const now = meta.shown.map((place) => String(block.columns[`c${place}`]?.at(i)));
      const then = this.before.get(row);
      texts.set(row, now);
      const others = now.flatMap((text, at) => (then && then[at] !== text ? [at] : []));
      if (others.length > 0 && then?.length === now.length && then[0] === now[0]) this.changed.set(row, new Set(others));
    }
    if (this.changed.size > 0) this.turn = 1 - this.turn;
    this.before = texts;
  }

  /** Fill the elements. */
  draw(): void {
    const meta = this.meta;
    if (!meta) return;
    this.heed();
    this.position.set(meta.base, meta.rows, this.sight());
    if (this.following) this.position.to(this.position.last);
    this.layOut(meta);
    this.moveBar();
    const { position } = this;
    const first = Math.floor(position.top);
    const numbers = this.block?.columns["#"];
    const marks = this.block?.columns["selected"];
    const length = numbers?.length ?? 0;
    let missing = false;
    this.lines.forEach((line, i) => {
      const at = first + i;
      if (at >= meta.base + meta.rows || at < meta.base) {
        line.row.hidden = true;
        return;
      }
      const { row } = line;
      row.hidden = false;
      row.style.transform = `translateY(${Math.round((at - position.top) * ROW)}px)`;
      row.dataset["at"] = String(at);
      row.setAttribute("aria-rowindex", String(at - meta.base + 2));
      row.classList.toggle("et-odd", at % 2 === 1);
      row.classList.toggle("et-cursor", at === this.cursor);
      row.id = `${this.id}-${at}`;
      const place = at - meta.start;
      const here = place >= 0 && place < length;
      row.classList.toggle("et-wait", !here);
      missing ||= !here;
      if (here) this.fill(line, place, meta, Number(marks?.at(place)) > 0, String(numbers?.at(place)));
    });
    this.scroller.setAttribute("aria-rowcount", String(meta.rows + 1));
    this.scroller.setAttribute("aria-colcount", String(meta.shown.length + 1));
    if (this.cursor >= 0) this.scroller.setAttribute("aria-activedescendant", `${this.id}-${this.cursor}`);
    this.fetch(missing);
  }

  private readonly id = `et${Math.random().toString(36).slice(2)}`;

  private fill(line: Line, place: number, meta: Meta, marked: boolean, row: string): void {
    line.row.setAttribute("aria-selected", String(marked));
    line.row.dataset["row"] = row;
    const changed = this.changed.get(row);
    meta.shown.forEach((column, at) => {
      const cell = line.cells[at];
      if (!cell) return;
      const text = String(this.block?.columns[`c${column}`]?.at(place) ?? "");
      const missing = text === NA;
      const shown = missing ? "–" : text;
      if (cell.textContent !== shown) cell.textContent = shown;
      cell.classList.toggle("et-na", missing);
      const title = this.block?.columns[`t${column}`]?.at(place);
      const hover = title === undefined ? (text.length > 24 ? text : "") : String(title);
      if (cell.title !== hover) cell.title = hover;
      if (meta.map) {
        cell.classList.toggle("et-new0", this.turn === 0 && changed?.has(at) === true);
        cell.classList.toggle("et-new1", this.turn === 1 && changed?.has(at) === true);
      }
    });
  }

  /** Ask for rows that are not here, and for those around them before somebody scrolls there. */
  private fetch(missing: boolean): void {
    const meta = this.meta as Meta;
    const sight = Math.ceil(this.position.sight) + 1;
    const first = Math.floor(this.position.top);
    const length = this.block?.columns["#"]?.length ?? 0;
    const end = Math.min(meta.base + meta.rows, first + sight);
    const near = first - sight / 2 < meta.start && meta.start > meta.base;
    const far = end + sight / 2 > meta.start + length && meta.start + length < meta.base + meta.rows;
    if (this.following ? !missing : !missing && !near && !far) return;
    const start = Math.max(meta.base, first - sight);
    const key = `${start} ${meta.epoch} ${meta.rows === 0}`;
    if (key === this.asked) return;
    this.asked = key;
    this.calls.need(start, 3 * sight, sight);
  }

  // Layout

  private sight(): number {
    return Math.max(1, (this.scroller.clientHeight - HEAD) / ROW);
  }

  width(place: number): number {
    const name = this.meta?.columns[place]?.name ?? "";
    return this.widths[name] ?? 90;
  }

  private resize(place: number, width: number | null): void {
    const column = this.meta?.columns[place];
    if (!column) return;
    if (width === null) delete this.widths[column.name];
    else this.widths[column.name] = Math.max(NARROWEST, Math.round(width));
    this.laidOut = "";
    this.draw();
  }

  /** As wide as the names and the first rows that were seen, once. */
  private measure(meta: Meta): void {
    const length = this.block?.columns["#"]?.length ?? 0;
    const style = getComputedStyle(this.scroller);
    const mono = getComputedStyle(this.scroller).getPropertyValue("--b-mono") || "monospace";
    const probe = el("span", { class: "et-td", style: "position:absolute;visibility:hidden" });
    this.scroller.append(probe);
    const cellFont = `12px ${getComputedStyle(probe).fontFamily || mono}`;
    probe.remove();
    for (const place of meta.shown) {
      const column = meta.columns[place];
      if (!column || this.widths[column.name] !== undefined || !this.pen) continue;
      this.pen.font = `600 12.5px ${style.fontFamily}`;
      let widest = this.pen.measureText(column.name).width + 52 + (column.zone && column.kind === "time" ? 34 : 0);
      this.pen.font = cellFont;
      for (let i = 0; i < Math.min(length, 200); i++) {
        widest = Math.max(widest, this.pen.measureText(String(this.block?.columns[`c${place}`]?.at(i) ?? "")).width + 18);
      }
      if (length > 0) this.widths[column.name] = Math.ceil(Math.min(WIDEST, Math.max(NARROWEST, widest)));
    }
  }

  private layOut(meta: Meta): void {
    this.measure(meta);
    const widths = meta.shown.map((place) => this.width(place));
    const count = Math.ceil(this.position.sight) + 2;
    const key = JSON.stringify([meta.shown, widths, count, meta.columns.map((column) => column.right)]);
    const changed = key !== this.laidOut;
    this.header.draw(meta, changed);
    const total = widths.reduce((sum, width) => sum + width, 28);
    this.canvas.style.width = `${total}px`;
    this.canvas.style.height = `${HEAD + Math.max(this.position.height, this.scroller.clientHeight - HEAD)}px`;
    this.body.style.height = `${this.scroller.clientHeight - HEAD}px`;
    if (!changed) return;
    this.laidOut = key;
    this.lines = Array.from({ length: count }, () => {
      const open = el("button", { class: "et-open", tabindex: -1, "aria-label": "all fields of this row", title: "all fields (Enter)" }, "›");
      const cells = meta.shown.map((place, at) =>
        el("div", {
          class: `et-td${meta.columns[place]?.right ? " et-right" : ""}`,
          role: "gridcell",
          "aria-colindex": at + 2,
          style: `width:${widths[at]}px`,
        }),
      );
      const row = el("div", { class: "et-row", role: "row", hidden: true }, el("div", { role: "gridcell", "aria-colindex": 1 }, open), ...cells);
      return { row, open, cells };
    });
    this.body.replaceChildren(...this.lines.map((line) => line.row));
  }

  // The scroll bar

  private range(): number {
    return this.scroller.scrollHeight - this.scroller.clientHeight;
  }

  private moveBar(): void {
    const wanted = this.position.toBar(this.range());
    if (Math.abs(wanted - this.scroller.scrollTop) >= 1) this.scroller.scrollTop = wanted;
    this.bar = this.scroller.scrollTop;
  }

  private scrolled(): void {
    if (this.heed()) this.draw();
  }

  /** Whether somebody moved the bar since it was last looked at: before new rows move it, or they would undo that. */
  private heed(): boolean {
    const now = this.scroller.scrollTop;
    if (Math.abs(now - this.bar) < 1) return false;
    this.position.fromBar(now, this.bar, this.range());
    this.bar = now;
    this.heedEnd();
    return true;
  }

  private wheel(event: WheelEvent): void {
    if (!this.position.scaled || event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const px = event.deltaMode === 1 ? event.deltaY * ROW : event.deltaMode === 2 ? event.deltaY * this.position.sight * ROW : event.deltaY;
    const before = this.position.top;
    this.position.by(px);
    if (this.position.top === before) return; // at the end: the page scrolls on
    event.preventDefault();
    this.moved();
  }

  /** Somebody scrolled: away from the newest row, following ends; back at it, it begins again. */
  private heedEnd(): void {
    const meta = this.meta;
    if (!meta || !follows(meta) || this.position.atEnd === this.following) return;
    this.following = this.position.atEnd;
    this.calls.follow(this.following);
  }

  private moved(): void {
    this.heedEnd();
    this.draw();
  }

  resume(): void {
    this.following = true;
    this.calls.follow(true);
    this.draw();
  }

  // Pointer and keys

  private rowOf(event: Event): number {
    const row = (event.target as HTMLElement).closest<HTMLElement>(".et-row");
    return row && !row.classList.contains("et-wait") ? Number(row.dataset["at"]) : -1;
  }

  private click(event: MouseEvent): void {
    const at = this.rowOf(event);
    if (at < 0 || event.detail > 1) return;
    this.cursor = at;
    if ((event.target as HTMLElement).closest(".et-open")) this.openAt(at);
    else if (!String(getSelection())) this.mark(event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "one");
    this.scroller.focus({ preventScroll: true });
    this.draw();
  }

  private numberAt(at: number): string | undefined {
    const place = at - (this.meta?.start ?? 0);
    const number = this.block?.columns["#"]?.at(place);
    return place < 0 || number === undefined ? undefined : String(number);
  }

  private mark(how: "one" | "toggle" | "range"): void {
    this.awaited.row(this.cursor, (number) => this.calls.select(how, number));
  }

  private openAt(at: number): void {
    this.awaited.row(at, (number) => this.calls.open(number));
  }

  private key(event: KeyboardEvent): void {
    const meta = this.meta;
    if (!meta || event.target !== this.scroller) return;
    const page = Math.max(1, Math.floor(this.position.sight) - 1);
    const last = meta.base + meta.rows - 1;
    const at = this.cursor < 0 ? Math.floor(this.position.top) - 1 : this.cursor;
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      ArrowUp: this.cursor < 0 ? last : at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: meta.base,
      End: last,
    };
    const command = event.ctrlKey || event.metaKey;
    const goal = moves[event.key];
    if (goal !== undefined && meta.rows > 0) {
      this.cursor = Math.min(last, Math.max(meta.base, goal));
      this.position.reveal(this.cursor);
      if (event.shiftKey) this.mark("range");
      this.moved();
      if (event.key === "End" && follows(meta)) this.resume();
    } else if (event.key === "Enter") this.openAt(this.cursor);
    else if (event.key === " ") this.mark("toggle");
    else if (event.key === "Escape") this.calls.escape();
    else if (command && event.key === "a") this.calls.select("all");
    else if (command && event.key === "c" && !String(getSelection())) this.calls.copy();
    else return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has keys of its own
  }
}

/** Whether there is a newest row to follow: not in a sorted table, nor in a page without a stream. */
export function follows(meta: Meta): boolean {
  return meta.stream && meta.sort.length === 0 && meta.embedded === undefined;
}
