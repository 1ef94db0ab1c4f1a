// The edges as a table: the same map for those who do not see it, and for sorting.

import { el } from "../lib/dom";
import { whole } from "../lib/format";
import type { Edge, Graph } from "./graph";

const MOST = 500;

export class List {
  readonly element: HTMLDetailsElement;
  private readonly summary = el("summary", {});
  private readonly table = el("table", {});
  private graph: Graph | undefined;
  private shown: ((edge: Edge) => boolean) | undefined;

  constructor(
    private readonly state: { sort?: string; down?: boolean; open?: boolean },
    private readonly pick: (edge: Edge) => void,
    private readonly toggled: () => void,
  ) {
    this.element = el("details", { class: "b-list", open: state.open === true }, this.summary, el("div", {}, this.table));
    this.element.addEventListener("toggle", () => {
      state.open = this.element.open;
      this.fill();
      this.toggled();
    });
  }

  draw(graph: Graph, shown: (edge: Edge) => boolean): void {
    this.graph = graph;
    this.shown = shown;
    this.fill();
  }

  private fill(): void {
    const { graph } = this;
    if (!graph) return;
    const edges = graph.edges.filter((edge) => this.shown?.(edge) ?? true);
    this.summary.textContent = `Edges as a table (${whole(edges.length)})`;
    if (!this.element.open) return;
    const columns = ["source", "target", ...graph.metrics];
    const sort = columns.includes(this.state.sort ?? "") ? (this.state.sort as string) : (graph.metrics[0] ?? "source");
    const down = this.state.down ?? graph.metrics.includes(sort);
    const text = (edge: Edge) => (sort === "source" ? edge.a.name : edge.b.name);
    const isNumber = graph.metrics.includes(sort);
    edges.sort((p, q) => {
      const order = isNumber
        ? (graph.value(sort, p) || 0) - (graph.value(sort, q) || 0)
        : text(p) < text(q) ? -1 : text(p) > text(q) ? 1 : 0;
      return (down ? -order : order) || p.index - q.index;
    });
    const head = columns.map((name) => {
      const title = graph.meta.metrics[name]?.title ?? name;
      const mark = name === sort ? (down ? " ▾" : " ▴") : "";
      const click = () => {
        this.state.down = name === sort ? !down : graph.metrics.includes(name);
        this.state.sort = name;
        this.fill();
      };
      const direction = name === sort ? (down ? "descending" : "ascending") : "none";
      return el("th", { scope: "col", class: name in graph.meta.metrics ? "b-num" : null, "aria-sort": direction }, el("button", { click }, title + mark));
    });
    const rows = edges.slice(0, MOST).map((edge) => {
      const click = () => this.pick(edge);
      const name = el("button", { click, "aria-label": `select ${graph.sentence(edge)}` }, edge.a.name);
      const numbers = graph.metrics.map((metric) => el("td", { class: "b-num" }, graph.worded(metric, graph.value(metric, edge))));
      return el("tr", {}, el("td", {}, name), el("td", {}, edge.b.name), ...numbers);
    });
    const more = edges.length - MOST;
    if (more > 0) rows.push(el("tr", {}, el("td", { colspan: columns.length }, `and ${whole(more)} more`)));
    const focused = this.table.contains(document.activeElement) ? this.place() : undefined;
    this.table.replaceChildren(el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
    if (focused !== undefined) this.table.querySelectorAll("button")[focused]?.focus();
  }

  private place(): number {
    return [...this.table.querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement);
  }
}
