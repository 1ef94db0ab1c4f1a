// The map itself: an SVG whose nodes and edges are kept from frame to frame, under a zoom that keeps text readable.

import { set, svg } from "../lib/dom";
import type { Colors } from "../lib/theme";
import { arrow, at, type Box, type Curve, curve, labels, opacityOf, Room, widthOf } from "./geometry";
import type { Edge, Graph, Node } from "./graph";

export interface Zoom {
  k: number;
  x: number;
  y: number;
}

export interface Look {
  width: string;
  color: string;
  label: string;
}

interface NodeParts {
  g: SVGGElement;
  shape: SVGPathElement;
  glyph: SVGPathElement;
  ring: SVGCircleElement;
  pin: SVGCircleElement;
}

interface EdgeParts {
  g: SVGGElement;
  hit: SVGPathElement;
  line: SVGPathElement;
  head: SVGPathElement;
}

/** What stands out: these nodes and edges; all others are dimmed. */
export interface Lit {
  nodes: Set<string>;
  edges: Set<string>;
}

export interface Handlers {
  node(name: string, element: Element): void;
  edge(key: string, element: Element): void;
}

const DIM = 0.12;
const FADED = 0.35;
const LOUD = 0.15; // on the scale of colours

export class Scene {
  readonly element = svg("svg", { class: "b-map", role: "group" });
  private readonly edgeLayer = svg("g", {});
  private readonly loudLayer = svg("g", {}); // what is not quiet lies on top
  private readonly nodeLayer = svg("g", {});
  private readonly textLayer = svg("g", { "aria-hidden": "true", "pointer-events": "none" });
  private readonly nodes = new Map<string, NodeParts>();
  private readonly edges = new Map<string, EdgeParts>();
  private order = "";

  constructor(private readonly handlers: Handlers) {
    this.element.append(this.edgeLayer, this.loudLayer, this.nodeLayer, this.textLayer);
  }

  draw(graph: Graph, zoom: Zoom, look: Look, colors: Colors, size: [number, number], lit: Lit | undefined): void {
    const [width, height] = size;
    set(this.element, { width, height, viewBox: `0 0 ${width} ${height}` });
    // Symbols follow the zoom within bounds, text not at all: one zooms to tell things apart.
    const symbol = Math.min(1.6, Math.max(0.62, zoom.k));
    const where = graph.nodes.map((node) => ({
      x: node.x * zoom.k + zoom.x,
      y: node.y * zoom.k + zoom.y,
      r: node.r * symbol,
      name: node.name,
    }));
    const crowd = graph.meta.crowd * (zoom.k > 1 ? Math.max(0, 2 - zoom.k) : 1);
    const curves = this.drawEdges(graph, where, look, crowd, lit);
    this.drawNodes(graph, where, colors, lit);
    const bounds: Box = [0, 0, width, height];
    const order = graph.ranked.filter((node) => !lit || lit.nodes.has(node.name)).map((node) => node.index);
    const room = new Room();
    const texts: SVGElement[] = labels(where, order, bounds, room).map(({ item, x, y, text }) =>
      label(x, y, text, graph.nodes[item]?.faded ? colors.dim : colors.fg, colors.bg, 11),
    );
    if (look.label && (crowd < 0.05 || lit)) texts.push(...this.edgeLabels(graph, curves, look, colors, room, bounds, lit));
    this.textLayer.replaceChildren(...texts);
  }

  private drawNodes(graph: Graph, where: { x: number; y: number; r: number }[], colors: Colors, lit: Lit | undefined): void {
    prune(this.nodes, (name) => graph.byName.has(name));
    for (const node of graph.nodes) {
      const { x, y, r } = where[node.index] ?? { x: 0, y: 0, r: 1 };
      const parts = this.nodes.get(node.name) ?? this.makeNode(node);
      const hue = node.group ? graph.groups.indexOf(node.group) : node.kind.color;
      const color = colors.categories[hue % colors.categories.length] ?? colors.fg;
      const dimmed = lit !== undefined && !lit.nodes.has(node.name);
      set(parts.g, {
        transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${r.toFixed(2)})`,
        opacity: dimmed ? DIM : node.faded ? FADED : 1,
        "aria-label": nodeWords(node),
        "aria-pressed": String(isPicked(graph, [node.name])),
        "data-x": node.x.toFixed(2),
        "data-y": node.y.toFixed(2),
      });
      set(parts.shape, { d: node.kind.shape, fill: colors.bg, stroke: color, "stroke-width": 2 / r });
      set(parts.glyph, { d: node.kind.glyph, stroke: color, "stroke-width": 1.4 / r });
      const picked = isPicked(graph, [node.name]);
      set(parts.ring, { stroke: picked ? colors.accent : "none", "stroke-width": 3 / r });
      set(parts.pin, { fill: graph.meta.pinned.includes(node.name) ? colors.accent : "none" });
    }
    // In the order of importance, which the Tab key then follows.
    const order = graph.ranked.map((node) => node.name).join("\n");
    if (order !== this.order) {
      this.order = order;
      const focused = document.activeElement;
      for (const { name } of graph.ranked) {
        const g = this.nodes.get(name)?.g;
        if (g) this.nodeLayer.append(g);
      }
      if (focused instanceof SVGElement && this.nodeLayer.contains(focused)) focused.focus();
    }
  }

  private drawEdges(
    graph: Graph,
    where: { x: number; y: number; r: number }[],
    look: Look,
    crowd: number,
    lit: Lit | undefined,
  ): Map<string, Curve> {
    const keys = new Set(graph.edges.map((edge) => edge.key));
    prune(this.edges, (key) => keys.has(key));
    const curves = new Map<string, Curve>();
    for (const edge of graph.edges) {
      const [a, b] = [where[edge.a.index], where[edge.b.index]];
      if (!a || !b) continue;
      const c = curve(a.x, a.y, a.r, b.x, b.y, b.r, edge.facing);
      curves.set(edge.key, c);
      const wide = graph.place(look.width, graph.value(look.width, edge));
      const shade = graph.place(look.color, graph.value(look.color, edge));
      const picked = isPicked(graph, [edge.a.name, edge.b.name]);
      const stroke = widthOf(wide, crowd) + (picked ? 2 : 0);
      const { head, line } = arrow(c, stroke);
      const dimmed = lit !== undefined && !lit.edges.has(edge.key);
      const parts = this.edges.get(edge.key) ?? this.makeEdge(edge);
      const layer = shade > LOUD || picked ? this.loudLayer : this.edgeLayer;
      if (parts.g.parentNode !== layer) layer.append(parts.g);
      const opacity = dimmed ? DIM / 2 : edge.faded ? 0.2 : lit || picked ? 0.95 : opacityOf(wide, shade, crowd);
      set(parts.g, { opacity, "aria-label": graph.sentence(edge), "aria-pressed": String(picked) });
      set(parts.hit, { d: line, "pointer-events": dimmed ? "none" : "stroke" });
      set(parts.line, { d: line, stroke: graph.color(shade), "stroke-width": stroke });
      set(parts.head, { d: head, fill: graph.color(shade) });
    }
    return curves;
  }

  private edgeLabels(
    graph: Graph,
    curves: Map<string, Curve>,
    look: Look,
    colors: Colors,
    room: Room,
    bounds: Box,
    lit: Lit | undefined,
  ): SVGElement[] {
    const texts: SVGElement[] = [];
    const known = graph.edges
      .map((edge) => ({ edge, value: graph.value(look.label, edge) }))
      .filter(({ edge, value }) => !Number.isNaN(value) && (!lit || lit.edges.has(edge.key)))
      .sort((p, q) => q.value - p.value);
    for (const { edge, value } of known) {
      const c = curves.get(edge.key);
      if (!c) continue;
      const text = graph.worded(look.label, value);
      const wide = 2.85 * text.length + 2;
      for (const t of [0.5, 0.36, 0.64, 0.25]) {
        const [x, y] = at(c, t);
        const box: Box = [x - wide, y - 7, x + wide, y + 6];
        if (box[0] < bounds[0] || box[2] > bounds[2] || !room.free(box)) continue;
        room.take(box);
        const ground = { x: x - wide, y: y - 6, width: 2 * wide, height: 12, rx: 3, fill: colors.bg, opacity: 0.85 };
        texts.push(svg("rect", ground), label(x, y + 3.5, text, colors.dim, colors.bg, 10));
        break;
      }
    }
    return texts;
  }

  /** The element of a node, to focus it or to find where it is. */
  nodeElement(name: string): SVGGElement | undefined {
    return this.nodes.get(name)?.g;
  }

  private makeNode(node: Node): NodeParts {
    const shape = svg("path", {});
    const glyph = svg("path", { fill: "none", "stroke-linecap": "round" });
    const ring = svg("circle", { r: 1.45, fill: "none" });
    const pin = svg("circle", { cx: 0.95, cy: -0.95, r: 0.28 });
    const hit = svg("circle", { r: 1.5, fill: "transparent" });
    const g = svg("g", { class: "b-node", tabindex: 0, role: "button", "data-name": node.name }, hit, ring, shape, glyph, pin);
    this.handlers.node(node.name, g);
    const parts = { g, shape, glyph, ring, pin };
    this.nodes.set(node.name, parts);
    return parts;
  }

  private makeEdge(edge: Edge): EdgeParts {
    const hit = svg("path", { fill: "none", stroke: "transparent", "stroke-width": 12 });
    const line = svg("path", { fill: "none", "pointer-events": "none" });
    const head = svg("path", { "pointer-events": "none" });
    const g = svg("g", { class: "b-edge", role: "button", tabindex: -1, "data-key": edge.key }, hit, line, head);
    this.handlers.edge(edge.key, g);
    const parts = { g, hit, line, head };
    this.edges.set(edge.key, parts);
    return parts;
  }
}

export function nodeWords(node: Node): string {
  const ends = (count: number, what: string) => `${what} ${count} ${count === 1 ? "node" : "nodes"}`;
  const parts = [node.name, node.kind.name];
  if (node.group) parts.push(node.group);
  if (node.out.length > 0) parts.push(ends(node.out.length, "calls"));
  if (node.in.length > 0) parts.push(ends(node.in.length, "called by"));
  return parts.join(", ");
}

function isPicked(graph: Graph, names: string[]): boolean {
  const picked = graph.meta.picked;
  return picked !== null && picked.length === names.length && names.every((name, i) => picked[i] === name);
}

function label(x: number, y: number, text: string, fill: string, halo: string, size: number): SVGTextElement {
  return svg(
    "text",
    {
      x: x.toFixed(1),
      y: y.toFixed(1),
      fill,
      stroke: halo,
      "stroke-width": 4,
      "stroke-linejoin": "round",
      "paint-order": "stroke",
      "text-anchor": "middle",
      "font-size": size,
    },
    text,
  );
}

function prune<P extends { g: SVGGElement }>(all: Map<string, P>, stays: (key: string) => boolean): void {
  for (const [key, parts] of all) {
    if (stays(key)) continue;
    parts.g.remove();
    all.delete(key);
  }
}
