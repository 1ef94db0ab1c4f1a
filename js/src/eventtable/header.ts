// The header: a click sorts, the funnel filters, the grip resizes, and a drag moves a column.

import { el, svg } from "../lib/dom";
import type { ColumnInfo, Meta, SortKey } from "./meta";

export interface HeaderCalls {
  sort(keys: SortKey[]): void;
  columns(shown: number[]): void;
  /** The column's filter was asked for, from this element. */
  filter(column: number, from: HTMLElement): void;
  /** Width in px of a column; null: as wide as its content. */
  resize(column: number, width: number | null): void;
  width(column: number): number;
}

/** none -> ascending -> descending -> none; with `add`, the other keys stay. */
export function nextSort(keys: SortKey[], column: number, add: boolean): SortKey[] {
  const old = keys.find(([place]) => place === column)?.[1];
  const now: SortKey[] = old === undefined ? [[column, "asc"]] : old === "asc" ? [[column, "desc"]] : [];
  if (!add) return now;
  if (old === undefined) return [...keys, ...now];
  return keys.flatMap((key) => (key[0] === column ? now : [key]));
}

export class Header {
  readonly row = el("div", { class: "et-head", role: "row", "aria-rowindex": 1 });
  private meta: Meta | undefined;
  private key = "";
  private known = "[]"; // the order that the last picture said
  private asked: SortKey[][] = []; // the orders that were asked for since, which no picture has said yet

  constructor(private readonly calls: HeaderCalls) {}

  draw(meta: Meta, force: boolean): void {
    this.meta = meta;
    this.heard(meta.sort);
    const key = JSON.stringify([meta.columns, meta.shown, meta.sort, meta.filters]);
    if (key === this.key && !force) return;
    this.key = key;
    const focused = this.focused();
    this.row.replaceChildren(el("div", { class: "et-corner", role: "presentation" }), ...meta.shown.map((place, at) => this.cell(place, at)));
    if (focused) this.row.querySelector<HTMLElement>(focused)?.focus();
  }

  /** A selector of what has the focus, to give it back after a redraw. */
  private focused(): string | undefined {
    const active = (this.row.getRootNode() as Document | ShadowRoot).activeElement;
    if (!active || !this.row.contains(active)) return undefined;
    const column = active.closest<HTMLElement>(".et-th")?.dataset["column"];
    return `.et-th[data-column="${column}"] .${active.classList[0]}`;
  }

  private cell(place: number, at: number): HTMLElement {
    const meta = this.meta as Meta;
    const column = meta.columns[place] as ColumnInfo;
    const order = meta.sort.findIndex(([key]) => key === place);
    const way = meta.sort[order]?.[1];
    const filtered = meta.filters.some((chip) => chip.column === place);
    const unit = column.kind === "time" ? column.zone : undefined;
    const arrow = way ? `${way === "asc" ? "▲" : "▼"}${meta.sort.length > 1 ? order + 1 : ""}` : "";
    const name = el(
      "button",
      {
        class: "et-name",
        "aria-label": `sort by ${column.name}`,
        title: [column.name, column.description, "click: sort, shift: by several, alt + arrows: resize, drag: move"].filter(Boolean).join("\n"),
        click: (event: MouseEvent) => this.sortBy(place, event.shiftKey),
        keydown: (event: KeyboardEvent) => this.key_(event, place),
        pointerdown: (event: PointerEvent) => this.drag(event, at),
      },
      el("span", {}, column.name),
      unit ? el("span", { class: "et-unit" }, unit) : null,
      arrow ? el("span", { class: "et-way" }, arrow) : null,
    );
    const funnel = el(
      "button",
      {
        class: "et-funnel",
        "aria-label": `filter ${column.name}`,
        "aria-pressed": String(filtered),
        "aria-haspopup": "dialog",
        title: `filter ${column.name}`,
        click: (event: MouseEvent) => this.calls.filter(place, event.currentTarget as HTMLElement),
      },
      svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: "M1 1h10L7.4 6v5L4.6 9.4V6z" })),
    );
    const grip = el("div", { class: "et-grip", pointerdown: (event: PointerEvent) => this.grip(event, place) });
    grip.addEventListener("dblclick", () => this.calls.resize(place, null));
    return el(
      "div",
      {
        class: `et-th${column.right ? " et-right" : ""}`,
        role: "columnheader",
        "aria-colindex": at + 2,
        "aria-sort": way === "asc" ? "ascending" : way === "desc" ? "descending" : "none",
        "data-column": place,
        style: `width:${this.calls.width(place)}px`,
      },
      name,
      funnel,
      grip,
    );
  }

  private dragged = false;

  private sortBy(place: number, add: boolean): void {
    if (this.dragged) return;
    const keys = nextSort(this.asked[this.asked.length - 1] ?? this.meta?.sort ?? [], place, add);
    this.asked.push(keys);
    this.calls.sort(keys);
  }

  /** A click counts from what was asked for before, though the picture still shows the order before that. */
  private heard(sort: SortKey[]): void {
    const now = JSON.stringify(sort);
    if (now === this.known) return;
    this.known = now;
    const place = this.asked.findIndex((keys) => JSON.stringify(keys) === now);
    this.asked = place < 0 ? [] : this.asked.slice(place + 1);
  }

  private key_(event: KeyboardEvent, place: number): void {
    if (!event.altKey || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    this.calls.resize(place, this.calls.width(place) + (event.key === "ArrowLeft" ? -10 : 10));
  }

  private grip(event: PointerEvent, place: number): void {
    event.preventDefault();
    const grip = event.currentTarget as HTMLElement;
    const from = event.clientX;
    const before = this.calls.width(place);
    follow(grip, event, (move) => this.calls.resize(place, before + move.clientX - from));
  }

  private drag(event: PointerEvent, at: number): void {
    this.dragged = false;
    if (event.button !== 0) return;
    const from = event.clientX;
    const cells = [...this.row.querySelectorAll<HTMLElement>(".et-th")];
    let target = at;
    follow(
      event.currentTarget as HTMLElement,
      event,
      (move) => {
        if (!this.dragged && Math.abs(move.clientX - from) < 8) return;
        this.dragged = true;
        target = cells.findIndex((cell) => move.clientX < cell.getBoundingClientRect().left + cell.offsetWidth / 2);
        if (target < 0) target = cells.length;
        cells.forEach((cell, place) => cell.classList.toggle("et-drop", place === target));
      },
      () => {
        cells.forEach((cell) => cell.classList.remove("et-drop"));
        if (!this.dragged || !this.meta) return;
        const shown = [...this.meta.shown];
        const [moved] = shown.splice(at, 1);
        shown.splice(target > at ? target - 1 : target, 0, moved as number);
        this.calls.columns(shown);
      },
    );
  }
}

function follow(element: HTMLElement, down: PointerEvent, move: (event: PointerEvent) => void, up: () => void = () => {}): void {
  element.setPointerCapture(down.pointerId);
  const end = () => {
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", end);
    element.removeEventListener("pointercancel", end);
    up();
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
}
