// The flame graph: frames on a canvas, their path above, time below. All but counting live data happens here.

import { Canvas } from "./flamegraph/canvas";
import { type Box, layout, type Rows } from "./flamegraph/layout";
import { legendOf, paintOf } from "./flamegraph/looks";
import { hitsOf, query } from "./flamegraph/search";
import { type Steps, Strip } from "./flamegraph/strip";
import css from "./flamegraph/style.css";
import { type Settings, Tools } from "./flamegraph/tools";
import { topTable } from "./flamegraph/top";
import { type Cells, childrenOf, counted, find, label, matched, pathOf, type Tree, treeOf, turned, updated, used } from "./flamegraph/tree";
import { say, tip, total } from "./flamegraph/words";
import { el } from "./lib/dom";
import { percent, whole } from "./lib/format";
import { type Frame, type Numbers, type Shell, widget } from "./lib/widget";

interface Meta {
  unit: string;
  notes: string[];
  strip?: Steps;
  selected: boolean;
}

/** Kept over re-renderings: the settings that Python does not know, paths by name, since numbers of nodes change. */
interface State extends Settings {
  zoom: string[];
  focus: string[];
  search: string;
}

const SYNCED = ["style", "color", "inverted", "merged"] as const;

class FlameGraph {
  private readonly state: State;
  private readonly tools: Tools;
  private readonly canvas = new Canvas(() => this.shell.redraw());
  private readonly strip: Strip;
  private path: number[] = [];
  private labels: string[] = [];
  private readonly crumbs = el("nav", { class: "f-crumbs", "aria-label": "zoomed into" });
  private readonly legend = el("div", { class: "f-legend" });
  private readonly side = el("aside", { "aria-label": "top functions", hidden: true });
  private readonly empty = el("div", { class: "f-empty" });
  private frame: Frame<Meta> | undefined;
  private sent: Tree | undefined; // as Python has it
  private whole: Tree | undefined; // or as it is counted here
  private tree: Tree | undefined; // as it is turned now
  private rows: Rows = [];
  private hits: Uint8Array | undefined;
  private zoom = 0;
  private focus = 0;
  private stale = true; // rows are to be laid out again
  private laid = 0; // px that they were laid out for: hosts hide and show, and the table of functions takes room
  private range: { window: readonly number[] | null; base: readonly number[] | null } = { window: null, base: null };

  constructor(private readonly shell: Shell<Meta>) {
    const { state } = shell as unknown as { state: State };
    const settings: State = {
      style: shell.get("style"),
      color: shell.get("color"),
      inverted: shell.get("inverted"),
      merged: shell.get("merged"),
      heaviest: state.heaviest ?? false,
      swapped: state.swapped ?? false,
      top: state.top ?? false,
      zoom: state.zoom ?? [],
      focus: state.focus ?? [],
      search: state.search ?? "",
    };
    this.state = Object.assign(state, settings);
    this.tools = new Tools(shell.toolbar, (name, value) => this.change(name, value), this.state, {
      search: (text) => this.search(text),
      select: () => this.select(this.zoom || this.focus),
      canSelect: !shell.offline,
    });
    this.strip = new Strip(
      (range, base) => this.choose(range, base),
      () => shell.redraw(),
      (text) => shell.announce(text),
    );
    shell.root.classList.add("f-root");
    shell.root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take arrows and Enter for its cells
    // Beside what it is about, and not in the toolbar: that stays one row, and nothing jumps.
    const path = el("div", { class: "f-path" }, this.crumbs, this.tools.found, this.tools.select, this.legend, this.tools.color);
    shell.root.append(
      el("style", {}, css),
      path,
      el("div", { class: "f-middle" }, this.canvas.box, this.side),
      this.strip.box,
      this.empty,
    );
    this.listen();
    for (const name of SYNCED) {
      shell.onChange(name, () => {
        if (this.state[name] !== shell.get(name)) this.change(name, shell.get(name) as never);
      });
    }
    this.tools.search.value = this.state.search;
  }

  /** Frames say what is new: the first brings the tree, those that follow its weights. */
  receive(frame: Frame<Meta>): void {
    this.sent = frame.full || !this.sent ? treeOf(frame.columns) : updated(this.sent, frame.columns);
  }

  draw(frame: Frame<Meta>): void {
    if (frame !== this.frame) this.take(frame);
    if (this.stale || this.canvas.width !== this.laid) this.arrange();
    const { tree, shell } = this;
    if (!tree) return;
    const pointed = this.focus > 0 || document.activeElement === this.canvas.box;
    const looks = { color: this.state.color, dark: shell.dark, plain: shell.colors.line, zoom: this.zoom, hits: this.hits };
    this.canvas.paint(paintOf(tree, looks), shell.colors, pointed ? this.focus : -1);
    this.strip.paint(shell.width, shell.colors);
  }

  destroy(): void {
    this.canvas.destroy();
  }

  theme(): void {
    this.stale = true;
  }

  // Data

  private take(frame: Frame<Meta>): void {
    this.frame = frame;
    const { strip } = frame.meta;
    this.range = { window: strip?.window ?? null, base: strip?.base ?? null };
    this.strip.set(strip, (frame.columns.strip as Float64Array | undefined) ?? []);
    this.count();
  }

  private count(): void {
    const { columns } = this.frame!;
    const tree = this.sent!;
    const node = columns.cell_node as Numbers | undefined;
    const { window, base } = this.range;
    if (node && (window || base)) {
      const cells: Cells = { node, step: columns.cell_step as Numbers, weight: columns.cell_weight as Cells["weight"] };
      this.whole = counted(tree, cells, window, base);
    } else this.whole = tree;
    this.turn();
  }

  private turn(): void {
    this.tree = turned(this.whole!, this.state.inverted, this.state.merged);
    this.find();
    this.stale = true;
  }

  private find(): void {
    const { tree, tools } = this;
    const wanted = query(this.state.search);
    this.hits = wanted && tree ? hitsOf(tree.labels, wanted) : undefined;
    tools.search.setAttribute("aria-invalid", String(wanted?.error !== undefined));
    if (wanted?.error) tools.found.textContent = wanted.error;
    else if (tree && this.hits) tools.found.textContent = `matched ${percent(matched(tree, this.hits) / (tree.value[0] || 1))}`;
    else tools.found.textContent = "";
  }

  /** Lays out what is zoomed into, and says around the picture what it is. */
  private arrange(): void {
    const { tree, state, shell } = this;
    if (!tree || !this.frame) return;
    this.stale = false;
    const compared = tree.base !== undefined;
    this.zoom = find(tree, state.zoom);
    this.focus = find(tree, state.focus);
    this.side.hidden = !state.top;
    const values = this.values(tree);
    this.laid = this.canvas.width;
    this.rows = layout(tree, values, this.zoom, this.laid, state.heaviest);
    this.canvas.set(this.rows, state.style === "flame");
    const nothing = !(values[0]! > 0);
    this.empty.textContent = nothing ? (this.range.window ? "no samples in this range of time" : "no samples yet") : "";
    this.tools.show(compared, label(tree, this.zoom || this.focus), this.frame.meta.selected);
    this.showPath(tree);
    this.legend.replaceChildren(...legendOf(tree, state.color, shell.dark));
    if (state.top) {
      const scrolled = this.side.scrollTop;
      this.side.replaceChildren(topTable(tree, this.unit, (name) => this.searchFor(name)));
      this.side.scrollTop = scrolled;
    }
    const said = total(tree, this.unit);
    this.canvas.box.setAttribute("role", "application");
    this.canvas.box.setAttribute("aria-roledescription", "flame graph");
    this.canvas.box.setAttribute("aria-label", `${said}. Arrow keys go to callers, callees and neighbours; Enter zooms, Escape goes up`);
    shell.status([said, `${whole(used(tree))} frames`, ...this.frame.meta.notes].join(" · "));
  }

  private get unit(): string {
    return this.frame?.meta.unit ?? "samples";
  }

  private values(tree: Tree): Float64Array {
    return this.state.swapped && tree.base ? tree.base : tree.value;
  }

  // Around the picture

  private tip(node: number): Node {
    return tip(this.tree!, node, this.zoom, this.unit, this.state.inverted);
  }

  /** Buttons stay while the way to them does: a click that fresh samples come into would be on one that is gone. */
  private showPath(tree: Tree): void {
    const nodes: number[] = [];
    for (let node = this.zoom; node >= 0; node = tree.parent[node]!) nodes.unshift(node);
    const labels = nodes.map((node) => label(tree, node));
    this.path = nodes;
    if (this.crumbs.childElementCount === labels.length && labels.every((text, i) => text === this.labels[i])) return;
    this.labels = labels;
    const parts = labels.flatMap((text, i) => [
      ...(i > 0 ? ["›"] : []),
      el(
        "button",
        { click: () => this.zoomTo(this.path[i]!), title: text, "aria-current": i === labels.length - 1 ? "location" : null },
        text,
      ),
    ]);
    this.crumbs.replaceChildren(...parts);
  }

  // Doing

  private change<K extends keyof Settings>(name: K, value: Settings[K]): void {
    this.state[name] = value as never;
    if ((SYNCED as readonly string[]).includes(name)) {
      if (this.shell.get(name) !== value) this.shell.set(name, value);
    }
    if (name === "inverted" || name === "merged") {
      this.state.zoom = [];
      this.state.focus = [];
      if (this.whole) this.turn();
    }
    this.stale = true;
    this.shell.redraw();
  }

  private search(text: string): void {
    this.state.search = text;
    this.find();
    this.shell.redraw();
  }

  /** Searches for exactly this function. */
  private searchFor(name: string): void {
    const text = `/^${name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}$/`;
    this.tools.search.value = text;
    this.search(text);
  }

  private zoomTo(node: number): void {
    const { tree } = this;
    if (!tree) return;
    this.state.zoom = pathOf(tree, node);
    this.state.focus = this.state.zoom;
    this.zoom = this.focus = node; // the next key may come before the next picture
    this.stale = true;
    this.shell.tooltip.hide();
    this.shell.announce(`zoomed into ${label(tree, node)}`);
    this.shell.redraw();
  }

  /** The rows under a frame, for linked views; again: none in particular. */
  private select(node: number): void {
    const { tree, frame } = this;
    if (!tree || !frame || this.shell.offline) return;
    const path = frame.meta.selected && node === (this.zoom || this.focus) ? [] : pathOf(tree, node);
    this.shell.send({ kind: "select", path });
    this.shell.announce(path.length > 0 ? `rows under ${label(tree, node)} are selected` : "no rows are selected");
  }

  private choose(range: readonly [number, number] | null, base: boolean): void {
    const strip = this.frame?.meta.strip;
    if (!strip) return;
    if (!this.shell.offline) {
      const steps = range ? { first: range[0], last: range[1], start: strip.start, step: strip.step } : {};
      this.shell.send({ kind: "window", base, ...steps });
      return;
    }
    this.range[base ? "base" : "window"] = range && [range[0], range[1] + 1];
    if (base) this.state.color = range ? "diff" : "origin";
    this.strip.set({ ...strip, ...this.range }, this.frame!.columns.strip as Float64Array);
    this.count();
    this.shell.redraw();
  }

  // Pointing and keys

  private listen(): void {
    const { box } = this.canvas;
    const at = (event: MouseEvent): Box | undefined => {
      const bounds = box.getBoundingClientRect();
      return this.canvas.at(event.clientX - bounds.left, event.clientY - bounds.top);
    };
    box.addEventListener("mousemove", (event) => {
      const found = at(event);
      const view = this.shell.root.getBoundingClientRect();
      if (found && this.tree) this.shell.tooltip.show(event.clientX - view.left, event.clientY - view.top, this.tip(found.node));
      else this.shell.tooltip.hide();
    });
    box.addEventListener("mouseleave", () => this.shell.tooltip.hide());
    box.addEventListener("click", (event) => {
      const found = at(event);
      if (!found) return;
      if (event.ctrlKey || event.metaKey) this.select(found.node);
      else this.zoomTo(found.node);
    });
    box.addEventListener("focus", () => this.shell.redraw());
    box.addEventListener("blur", () => {
      this.shell.tooltip.hide();
      this.shell.redraw();
    });
    box.addEventListener("keydown", (event) => {
      if (!this.tree || !this.key(event, this.tree)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  private key(event: KeyboardEvent, tree: Tree): boolean {
    const away = this.state.style === "flame" ? "ArrowUp" : "ArrowDown"; // from the root
    const back = away === "ArrowUp" ? "ArrowDown" : "ArrowUp";
    const row = this.rows[tree.depth[this.focus]!] ?? [];
    const place = row.findIndex((box) => box.node === this.focus);
    switch (event.key) {
      case away: {
        const below = this.rows[tree.depth[this.focus]! + 1] ?? [];
        const children = new Set(childrenOf(tree, this.focus));
        const widest = below.filter((box) => children.has(box.node)).sort((a, b) => b.width - a.width)[0];
        return this.goTo(widest?.node);
      }
      case back:
        return this.goTo(tree.parent[this.focus]);
      case "ArrowLeft":
        return this.goTo(row[place - 1]?.node);
      case "ArrowRight":
        return this.goTo(row[place + 1]?.node);
      case "Home":
        return this.goTo(0);
      case "Enter":
        if (event.ctrlKey || event.metaKey) this.select(this.focus);
        else this.zoomTo(this.focus);
        return true;
      case "Escape":
      case "Backspace":
        if (this.zoom === 0) return event.key === "Backspace";
        this.zoomTo(tree.parent[this.zoom]!);
        return true;
      case "/":
        this.tools.search.focus();
        return true;
      default:
        return false;
    }
  }

  private goTo(node: number | undefined): boolean {
    const { tree } = this;
    if (node === undefined || node < 0 || !tree) return true;
    this.focus = node;
    this.state.focus = pathOf(tree, node);
    const box = this.canvas.boxOf(node);
    if (box) {
      this.canvas.reveal(box);
      const { x, y } = this.canvas.place(box);
      const [view, own] = [this.shell.root.getBoundingClientRect(), this.canvas.box.getBoundingClientRect()];
      this.shell.tooltip.show(x + own.left - view.left, y + own.top - view.top, this.tip(node));
    }
    this.shell.announce(say(tree, node, this.unit));
    this.shell.redraw();
    return true;
  }
}

export default widget<Meta>((shell) => {
  const graph = new FlameGraph(shell);
  return {
    receive: (frame) => graph.receive(frame),
    draw: (frame) => graph.draw(frame),
    theme: () => graph.theme(),
    destroy: () => graph.destroy(),
  };
});
