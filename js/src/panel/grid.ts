// A table whose cells change in place, so that text can be selected and nothing flickers.

import { el, set, svg } from "../lib/dom";

export type Cell =
  | string
  | { text: string; number?: boolean; code?: boolean; bad?: boolean; bar?: number; spark?: number[] };

const WIDE = 64;
const TALL = 16;

export class Grid {
  readonly element: HTMLTableElement;
  private readonly body = el("tbody");
  private names = "";

  constructor(what: string, columns: string[]) {
    const heads = columns.map((column) => el("th", { scope: "col" }, column));
    this.element = el(
      "table",
      { hidden: true },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, what), ...heads)),
      this.body,
    );
  }

  update(rows: [name: string, cells: Cell[]][]): void {
    const names = JSON.stringify(rows.map(([name]) => name));
    if (names !== this.names) {
      this.names = names;
      this.element.hidden = rows.length === 0;
      this.body.replaceChildren(
        ...rows.map(([name, cells]) => el("tr", {}, el("th", { scope: "row" }, name), ...cells.map(() => el("td")))),
      );
      rows[0]?.[1].forEach((cell, index) => {
        const right = typeof cell !== "string" && cell.number;
        this.element.tHead?.rows[0]?.cells[index + 1]?.classList.toggle("b-num", right === true);
      });
    }
    rows.forEach(([, cells], row) => {
      cells.forEach((cell, index) => {
        const place = this.body.rows[row]?.cells[index + 1];
        if (place) show(place, typeof cell === "string" ? { text: cell } : cell);
      });
    });
  }
}

const shown = new WeakMap<HTMLElement, string>();

function show(place: HTMLElement, cell: Exclude<Cell, string>): void {
  const key = JSON.stringify(cell);
  if (shown.get(place) === key) return;
  shown.set(place, key);
  set(place, { class: cell.number ? "b-num" : cell.code ? "b-code" : null });
  const parts: Node[] = [el("span", { class: cell.bad ? "b-badge b-bad" : null }, cell.text)];
  if (cell.bar !== undefined) {
    const width = `width:${(100 * Math.min(1, Math.max(0, cell.bar))).toFixed(1)}%`;
    const full = cell.bar >= 0.9 ? " b-full" : "";
    parts.push(el("span", { class: `b-bar${full}`, "aria-hidden": "true" }, el("span", { style: width })));
  }
  if (cell.spark) parts.push(spark(cell.spark));
  place.replaceChildren(...parts);
}

/** The last half minute, from zero to its highest point. The number beside it says the present. */
function spark(values: number[]): SVGElement {
  const most = Math.max(...values, Number.MIN_VALUE);
  const step = WIDE / 59;
  const x = (index: number) => (WIDE - (values.length - 1 - index) * step).toFixed(1);
  const points = values.map((value, index) => `${x(index)},${(TALL - 1 - (value / most) * (TALL - 2)).toFixed(1)}`);
  const line = svg("polyline", { points: points.join(" "), class: "b-line" });
  const area = svg("polygon", {
    points: `${x(0)},${TALL} ${points.join(" ")} ${WIDE},${TALL}`,
    class: "b-area",
  });
  const attributes = { class: "b-spark", width: WIDE, height: TALL, viewBox: `0 0 ${WIDE} ${TALL}`, "aria-hidden": "true" };
  return svg("svg", attributes, ...(values.length > 1 ? [area, line] : []));
}
