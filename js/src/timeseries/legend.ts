// The legend: a table of lines with what they are now, at least, on average and at most. A click hides a line.

import { el, set, svg } from "../lib/dom";
import type { Colors } from "../lib/theme";
import { colorOf, dashOf } from "./plot";

export interface Row {
  label: string;
  slot: number;
  shown: boolean;
  numbers: string[];
}

export interface Clicks {
  toggle(label: string): void;
  isolate(label: string): void;
  point(label: string | null): void;
}

const NAMES = ["now", "min", "mean", "max"];

export class Legend {
  readonly element: HTMLElement;
  private readonly body = el("tbody");
  private key = "";
  private rows: { button: HTMLButtonElement; cells: HTMLElement[]; row: HTMLElement }[] = [];

  constructor(private readonly clicks: Clicks) {
    const head = el("tr", {}, el("th", { scope: "col" }, "line"), ...NAMES.map((name) => el("th", { scope: "col" }, name)));
    this.element = el("div", { class: "ts-legend" }, el("table", {}, el("thead", {}, head), this.body));
  }

  /** Elements stay as long as the lines do, so that a click is not lost between two frames. */
  update(rows: Row[], colors: Colors): void {
    const key = JSON.stringify([rows.map((row) => [row.label, row.slot]), colors.fg]);
    if (key !== this.key) {
      this.key = key;
      this.rows = rows.map((row) => this.make(row, colors));
      this.body.replaceChildren(...this.rows.map((made) => made.row));
    }
    rows.forEach((row, i) => {
      const made = this.rows[i];
      if (!made) return;
      set(made.button, { "aria-pressed": String(row.shown) });
      row.numbers.forEach((text, j) => {
        const cell = made.cells[j];
        if (cell && cell.textContent !== text) cell.textContent = text;
      });
    });
  }

  private make(row: Row, colors: Colors): { button: HTMLButtonElement; cells: HTMLElement[]; row: HTMLElement } {
    const stroke = { x1: 0, x2: 22, y1: 5, y2: 5, stroke: colorOf(row.slot, colors), "stroke-width": 3 };
    const sample = svg(
      "svg",
      { width: 22, height: 10, "aria-hidden": "true" },
      svg("line", { ...stroke, "stroke-dasharray": dashOf(row.slot).join(" ") || null }),
    );
    const button = el(
      "button",
      {
        title: `${row.label}\nclick: hide or show; Ctrl-click: this one only`,
        click: (event: MouseEvent) =>
          event.ctrlKey || event.metaKey ? this.clicks.isolate(row.label) : this.clicks.toggle(row.label),
      },
      sample,
      el("span", {}, row.label),
    );
    const cells = NAMES.map(() => el("td"));
    const made = el(
      "tr",
      { pointerenter: () => this.clicks.point(row.label), pointerleave: () => this.clicks.point(null) },
      el("th", { scope: "row" }, button),
      ...cells,
    );
    return { button, cells, row: made };
  }
}
