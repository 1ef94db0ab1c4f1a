// The service map: tools around the scene, and what pointing, dragging, wheel and keys do.

import { el, set, svg } from "./lib/dom";
import { whole } from "./lib/format";
import { type Drawing, type Frame, type Shell, widget } from "./lib/widget";
import { widthOf } from "./servicemap/geometry";
import { type Edge, Graph, type Meta, type Node } from "./servicemap/graph";
import { List } from "./servicemap/list";
import { type Lit, type Look, nodeWords, Scene, type Zoom } from "./servicemap/scene";
import css from "./servicemap/style.css";

interface State {
  zoom?: Zoom;
  filter?: string;
  look?: Partial<Look>;
  moved?: Record<string, [number, number]>;
  list?: { sort?: string; down?: boolean; open?: boolean };
}

const NEAR = 4; // px that a click may move
const ZOOM: [number, number] = [0.1, 8];
const LOOKS = ["width", "color", "label"] as const;
const TITLES = { width: "Width", color: "Colour", label: "Label" };

class ServiceMap implements Drawing<Meta> {
  private readonly state: State;
  private readonly stage = el("div", { class: "b-stage" });
  private readonly none = el("div", { class: "b-none", hidden: true }, "no connections yet");
  private readonly legend = el("div", { class: "b-legend" });
  private readonly selects = new Map<keyof Look, HTMLSelectElement>();
  private readonly filter: HTMLInputElement;
  private readonly folded = el("span", { class: "b-servicetools" });
  private readonly scene: Scene;
  private readonly list: List;
  private graph: Graph | undefined;
  private hovered: { node?: string; edge?: string } = {};
  private zoom: Zoom = { k: 1, x: 0, y: 0 };
  private drag: { x: number; y: number; node?: string; moved: boolean } | undefined;
  private before: string | undefined; // the node that arrow keys came from
  private legendKey = "";

  constructor(private readonly shell: Shell<Meta>) {
    this.state = shell.state as State;
    this.state.list ??= {};
    this.scene = new Scene({
      node: (name, element) => this.wireNode(name, element),
      edge: (key, element) => this.wireEdge(key, element),
    });
    this.list = new List(this.state.list, (edge) => this.pick([edge.a.name, edge.b.name]), () => shell.redraw());
    const button = (text: string, title: string, click: () => void) => el("button", { title, "aria-label": title, click }, text);
    const buttons = el(
      "div",
      { class: "b-buttons" },
      button("+", "zoom in", () => this.scale(1.3)),
      button("−", "zoom out", () => this.scale(1 / 1.3)),
      button("Fit", "show the whole map", () => this.fit()),
    );
    this.stage.append(this.scene.element, this.none, buttons);
    shell.root.replaceChildren(el("style", {}, css), el("div", { class: "b-services" }, this.stage, this.legend, this.list.element));
    for (const what of LOOKS) {
      const select = el("select", { "aria-label": `${TITLES[what]} of edges`, change: () => this.choose(what, select.value) });
      this.selects.set(what, select);
      shell.toolbar.append(el("label", { class: "b-servicetools" }, TITLES[what], select));
    }
    this.filter = el("input", {
      type: "search",
      placeholder: "filter by name",
      "aria-label": "filter nodes by name",
      size: 14,
      input: () => {
        this.state.filter = this.filter.value;
        shell.redraw();
      },
    });
    this.filter.value = this.state.filter ?? "";
    shell.toolbar.append(this.filter);
    if (!shell.offline) {
      shell.toolbar.append(button("Arrange", "lay out all nodes anew, but those pinned", () => shell.send({ kind: "arrange" })));
    }
    shell.toolbar.append(this.folded);
    this.wireStage();
  }

  draw(frame: Frame<Meta>): void {
    this.graph = new Graph(frame);
    const { graph, shell } = this;
    for (const node of graph.nodes) {
      const moved = this.state.moved?.[node.name];
      if (moved) [node.x, node.y] = moved;
    }
    this.none.hidden = graph.nodes.length > 0;
    this.tools(graph);
    this.drawLegend(graph);
    const size: [number, number] = [this.stage.clientWidth, this.stage.clientHeight];
    this.zoom = this.state.zoom ?? this.fitted(graph, size);
    const lit = this.lit(graph);
    this.scene.draw(graph, this.zoom, this.look, shell.colors, size, lit);
    this.list.draw(graph, (edge) => !this.state.filter || (lit?.edges.has(edge.key) ?? true));
    set(this.scene.element, { "aria-label": `service map, ${whole(graph.nodes.length)} nodes and ${whole(graph.edges.length)} edges` });
    const matches = this.matches(graph);
    shell.status([graph.meta.said, matches && `${whole(matches.size)} of ${whole(graph.nodes.length)} nodes match`].filter(Boolean).join(" · "));
  }

  private get look(): Look {
    const meta = this.graph?.meta.look ?? { width: "", color: "", label: "" };
    return { ...meta, ...this.state.look };
  }

  // Tools

  private tools(graph: Graph): void {
    for (const [what, select] of this.selects) {
      const options = ["", ...graph.metrics];
      const key = options.join();
      if (select.dataset.key !== key) {
        select.dataset.key = key;
        const named = (metric: string) => graph.meta.metrics[metric]?.title ?? "none";
        select.replaceChildren(...options.map((metric) => el("option", { value: metric }, named(metric))));
      }
      if (document.activeElement !== select) select.value = this.look[what];
    }
    const count = Object.values(graph.meta.folded).reduce((sum, more) => sum + more, 0);
    const key = `${count} ${graph.meta.limit}`;
    if (this.folded.dataset.key === key) return;
    this.folded.dataset.key = key;
    this.folded.replaceChildren();
    if (count === 0) return;
    this.folded.append(`${whole(count)} small nodes folded`);
    const limit = Math.min(2 * graph.meta.limit, graph.meta.most);
    if (!this.shell.offline && limit > graph.meta.limit) {
      const click = () => this.shell.send({ kind: "limit", limit });
      this.folded.append(el("button", { click, title: `draw up to ${whole(limit)} nodes` }, `Show ${whole(limit)}`));
    }
  }

  private choose(what: keyof Look, metric: string): void {
    if (this.shell.offline) this.state.look = { ...this.state.look, [what]: metric };
    else this.shell.send({ kind: "show", what, metric });
    this.shell.redraw();
  }

  private drawLegend(graph: Graph): void {
    const { colors } = this.shell;
    const look = this.look;
    const key = JSON.stringify([look, graph.meta.metrics, graph.groups, [...new Set(graph.nodes.map((n) => n.kind.name))], colors.bg]);
    if (key === this.legendKey) return;
    this.legendKey = key;
    const parts: HTMLElement[] = [];
    for (const kind of graph.meta.kinds.filter((k) => graph.nodes.some((node) => node.kind === k))) {
      const stroke = colors.categories[kind.color] ?? colors.fg;
      const shape = svg("path", { d: kind.shape, fill: "none", stroke, "stroke-width": 0.3 });
      parts.push(el("span", {}, svg("svg", { width: 14, height: 12, viewBox: "-1.4 -1.2 2.8 2.4" }, shape), kind.name));
    }
    graph.groups.slice(0, 8).forEach((group, i) => {
      const fill = colors.categories[i % colors.categories.length] ?? colors.fg;
      parts.push(el("span", {}, svg("svg", { width: 10, height: 10 }, svg("rect", { width: 10, height: 10, fill })), group));
    });
    for (const what of ["width", "color"] as const) {
      const scale = graph.meta.metrics[look[what]];
      if (!scale) continue;
      const steps = Array.from({ length: 24 }, (_, i) => {
        const t = i / 23;
        const tall = what === "color" ? 4 : widthOf(t, 0);
        return svg("rect", { x: 2 * i, y: 5 - tall / 2, width: 2.2, height: tall, fill: graph.color(what === "color" ? t : 0) });
      });
      const high = graph.worded(look[what], scale.high) + (look[what] === "errors" ? "+" : "");
      const title = `${what === "color" ? "colour" : "width"}: ${scale.title} ${graph.worded(look[what], scale.low)}`;
      parts.push(el("span", {}, title, svg("svg", { width: 48, height: 10 }, ...steps), high));
    }
    this.legend.replaceChildren(...parts);
  }

  // What stands out

  private matches(graph: Graph): Set<string> | undefined {
    const wanted = (this.state.filter ?? "").trim().toLowerCase();
    if (!wanted) return undefined;
    return new Set(graph.nodes.filter((node) => node.name.toLowerCase().includes(wanted)).map((node) => node.name));
  }

  private lit(graph: Graph): Lit | undefined {
    const { node, edge } = this.hovered;
    const pointed = node === undefined ? undefined : graph.byName.get(node);
    if (pointed) return around(graph, (e) => e.a === pointed || e.b === pointed, [pointed.name]);
    if (edge !== undefined && graph.edges.some((e) => e.key === edge)) return around(graph, (e) => e.key === edge, []);
    const matches = this.matches(graph);
    return matches && around(graph, (e) => matches.has(e.a.name) || matches.has(e.b.name), matches);
  }

  // Zoom

  private fitted(graph: Graph, [width, height]: [number, number]): Zoom {
    const [left, top, wide, tall] = graph.meta.frame;
    const k = Math.min(width / wide, height / tall, 1.5);
    return { k, x: width / 2 - (left + wide / 2) * k, y: height / 2 - (top + tall / 2) * k };
  }

  private fit(): void {
    this.state.zoom = undefined;
    this.shell.redraw();
  }

  private scale(factor: number, at?: [number, number]): void {
    const { k, x, y } = this.zoom;
    const [px, py] = at ?? [this.stage.clientWidth / 2, this.stage.clientHeight / 2];
    const next = Math.min(ZOOM[1], Math.max(ZOOM[0], k * factor));
    this.zoom = { k: next, x: px - ((px - x) * next) / k, y: py - ((py - y) * next) / k };
    this.state.zoom = this.zoom;
    this.shell.redraw();
  }

  // Pointing

  private wireStage(): void {
    const map = this.scene.element;
    const place = (event: MouseEvent): [number, number] => {
      const box = this.stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    map.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        this.scale(Math.exp(-event.deltaY / 300), place(event));
      },
      { passive: false },
    );
    map.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const [x, y] = place(event);
      const target = event.target instanceof Element ? event.target.closest("[data-name]") : null;
      this.drag = { x, y, node: target?.getAttribute("data-name") ?? undefined, moved: false };
    });
    map.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      const [x, y] = place(event);
      const [dx, dy] = [x - this.drag.x, y - this.drag.y];
      if (!this.drag.moved && Math.hypot(dx, dy) < NEAR) return;
      if (!this.drag.moved) map.setPointerCapture(event.pointerId);
      Object.assign(this.drag, { x, y, moved: true });
      map.classList.add("b-moving");
      const node = this.drag.node === undefined ? undefined : this.graph?.byName.get(this.drag.node);
      if (node) this.move(node, dx / this.zoom.k, dy / this.zoom.k);
      else {
        this.zoom = { ...this.zoom, x: this.zoom.x + dx, y: this.zoom.y + dy };
        this.state.zoom = this.zoom;
      }
      this.shell.redraw();
    });
    map.addEventListener("pointerup", (event) => {
      const { drag } = this;
      this.drag = undefined;
      map.classList.remove("b-moving");
      if (!drag) return;
      if (drag.moved) {
        const moved = drag.node === undefined ? undefined : this.state.moved?.[drag.node];
        if (moved && !this.shell.offline) {
          this.shell.send({ kind: "pin", name: drag.node, x: moved[0], y: moved[1] });
        }
        return;
      }
      const target = event.target instanceof Element ? event.target : null;
      const key = target?.closest("[data-key]")?.getAttribute("data-key");
      if (drag.node !== undefined) this.pick([drag.node]);
      else this.pick(key ? key.split("\n") : []);
    });
    map.addEventListener("pointercancel", () => {
      this.drag = undefined;
    });
    map.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.pick([]);
    });
  }

  private move(node: Node, dx: number, dy: number): void {
    this.state.moved = { ...this.state.moved, [node.name]: [node.x + dx, node.y + dy] };
    [node.x, node.y] = [node.x + dx, node.y + dy];
  }

  /** A node that Python holds at its place by now need not be kept here. */
  receive(frame: Frame<Meta>): void {
    if (this.drag || this.shell.offline || !this.state.moved) return;
    const pinned = new Set(frame.meta.pinned);
    this.state.moved = Object.fromEntries(Object.entries(this.state.moved).filter(([name]) => !pinned.has(name)));
  }

  private wireNode(name: string, element: Element): void {
    const point = (on: boolean) => () => this.hover(on ? { node: name } : {}, element);
    set(element, { pointerenter: point(true), pointerleave: point(false), focus: point(true), blur: point(false) });
    set(element, {
      dblclick: () => this.unpin(name),
      keydown: ((event: KeyboardEvent) => this.key(name, event)) as never,
    });
  }

  private wireEdge(key: string, element: Element): void {
    const point = (on: boolean) => () => this.hover(on ? { edge: key } : {}, element);
    set(element, { pointerenter: point(true), pointerleave: point(false) });
  }

  private unpin(name: string): void {
    if (this.state.moved) delete this.state.moved[name];
    this.shell.send({ kind: "unpin", name });
    this.shell.redraw();
  }

  private pick(names: string[]): void {
    this.shell.send({ kind: "select", names });
    const said = names.length === 0 ? "nothing selected" : `selected ${names.join(" to ")}`;
    this.shell.announce(said);
    if (this.shell.offline && this.graph) {
      this.graph.meta.picked = names.length === 0 ? null : names;
      this.shell.redraw();
    }
  }

  /** Right: along the strongest edge out; left: against the strongest in; up and down: the other neighbours there. */
  private key(name: string, event: KeyboardEvent): void {
    const node = this.graph?.byName.get(name);
    if (!node || !this.graph) return;
    const { graph } = this;
    const strongest = (edges: Edge[], other: (edge: Edge) => Node) =>
      [...edges].sort((p, q) => (graph.value(this.look.width, q) || 0) - (graph.value(this.look.width, p) || 0)).map(other);
    const go = (next: Node | undefined) => {
      if (!next) return;
      event.preventDefault();
      this.scene.nodeElement(next.name)?.focus();
    };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.pick([name]);
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const right = event.key === "ArrowRight";
      this.before = name;
      go(right ? strongest(node.out, (e) => e.b)[0] : strongest(node.in, (e) => e.a)[0]);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const origin = graph.byName.get(this.before ?? "");
      const around = origin ? [...strongest(origin.out, (e) => e.b), ...strongest(origin.in, (e) => e.a)] : graph.ranked;
      const here = around.indexOf(node);
      const step = event.key === "ArrowDown" ? 1 : -1;
      go(around[(here + step + around.length) % around.length]);
    } else if (event.key === "p") this.unpin(name);
  }

  private hover(what: { node?: string; edge?: string }, element: Element): void {
    if (this.drag?.moved) return;
    this.hovered = what;
    const { graph, shell } = this;
    const node = what.node === undefined ? undefined : graph?.byName.get(what.node);
    const edge = graph?.edges.find((e) => e.key === what.edge);
    if (!graph || (!node && !edge)) shell.tooltip.hide();
    else {
      const [box, base] = [element.getBoundingClientRect(), shell.root.getBoundingClientRect()];
      const x = edge ? box.left + box.width / 2 : box.right;
      const y = edge ? box.top + box.height / 2 : box.top;
      shell.tooltip.show(x - base.left, y - base.top, node ? nodeTip(graph, node) : edgeTip(graph, edge as Edge));
    }
    shell.redraw();
  }
}

function around(graph: Graph, wanted: (edge: Edge) => boolean, more: Iterable<string>): Lit {
  const edges = graph.edges.filter(wanted);
  return {
    nodes: new Set([...more, ...edges.flatMap((edge) => [edge.a.name, edge.b.name])]),
    edges: new Set(edges.map((edge) => edge.key)),
  };
}

function edgeTip(graph: Graph, edge: Edge): HTMLElement {
  const rows = graph.metrics
    .filter((metric) => !Number.isNaN(graph.value(metric, edge)))
    .map((metric) => line(graph.meta.metrics[metric]?.title ?? metric, graph.worded(metric, graph.value(metric, edge))));
  const quiet = edge.faded ? [el("div", { class: "b-dim" }, "not seen lately")] : [];
  return el("div", {}, el("b", {}, `${edge.a.name} → ${edge.b.name}`), ...rows, ...quiet);
}

function nodeTip(graph: Graph, node: Node): HTMLElement {
  const rows: HTMLElement[] = [];
  for (const [title, edges] of [["out", node.out], ["in", node.in]] as const) {
    for (const metric of ["rate", "count", "bytes_rate", "bytes"].filter((m) => graph.metrics.includes(m))) {
      const sum = edges.reduce((total, edge) => total + (graph.value(metric, edge) || 0), 0);
      if (edges.length > 0) rows.push(line(`${title}: ${graph.meta.metrics[metric]?.title}`, graph.worded(metric, sum)));
    }
  }
  const more = graph.meta.folded[node.name];
  const folded = more ? [el("div", { class: "b-dim" }, `stands for ${whole(more)} small nodes`)] : [];
  return el("div", {}, el("b", {}, node.name), el("div", { class: "b-dim" }, nodeWords(node).slice(node.name.length + 2)), ...rows, ...folded);
}

function line(title: string, value: string): HTMLElement {
  return el("div", { class: "b-line" }, el("span", {}, title), el("span", {}, value));
}

export default widget<Meta>((shell) => new ServiceMap(shell));
