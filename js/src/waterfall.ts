// Spans on a shared time axis: a tree of names on the left, bars on the right, what is known of one span beside them.

import { el, set } from "./lib/dom";
import { whole } from "./lib/format";
import { type Frame, type Numbers, type Shell, widget } from "./lib/widget";
import { context, paintAxis, paintBars, ROW } from "./waterfall/bars";
import { Details } from "./waterfall/details";
import { laneStep, lineOf, treeStep } from "./waterfall/keys";
import { laneRow, spanRow } from "./waterfall/rows";
import { invert, type View, within } from "./waterfall/scale";
import { type Line, type Meta, Spans } from "./waterfall/spans";
import { Tools } from "./waterfall/tools";
import { facts, say, tip } from "./waterfall/words";
import css from "./waterfall/style.css";

const NARROW = 720;
const AROUND = 6; // rows beyond the edge that are made already

export default widget<Meta>((shell) => {
  const waterfall = new Waterfall(shell);
  return {
    receive: (frame) => waterfall.receive(frame),
    draw: (frame) => waterfall.draw(frame),
    theme: () => shell.redraw(),
    destroy: () => waterfall.destroy(),
  };
});

interface State {
  closed: Set<number>;
  view: [number, number] | null;
  critical: boolean;
  trace: string | null;
}

class Waterfall {
  private readonly tools = new Tools();
  private readonly axis = el("canvas", { class: "wf-axis", "aria-hidden": "true" });
  private readonly bars = el("canvas", { "aria-hidden": "true" });
  private readonly inner = el("div", { class: "wf-inner", role: "presentation" }, this.bars);
  private readonly rows = el("div", { class: "wf-rows", tabindex: 0, role: "treegrid", "aria-label": "spans" }, this.inner);
  private readonly key = el("div", { class: "wf-key" });
  private readonly main = el("div", { class: "wf-main" }, this.axis, this.rows, this.key, this.tools.corner);
  private readonly details: Details;
  private readonly body = el("div", { class: "wf" }, this.main);
  private readonly empty = el("div", { class: "wf-empty", hidden: true }, "no spans yet");
  private readonly sized = new ResizeObserver(() => this.shell.redraw());
  private readonly held = new Map<string, Frame<Meta>>(); // an offline page has several traces
  private frame: Frame<Meta> | undefined;
  private spans: Spans | undefined;
  private lines: Line[] = [];
  private active: number | undefined; // the row number of the span that the keyboard is at
  private hits: Set<number> | null = null;
  private drag: { x: number; moved: boolean } | null = null;
  private brush: [number, number] | null = null;
  private key_ = "";
  private readonly state: State;

  constructor(private readonly shell: Shell<Meta>) {
    this.state = (shell.state["waterfall"] ??= { closed: new Set(), view: null, critical: false, trace: null }) as State;
    shell.root.append(el("style", {}, css), this.body, this.empty);
    this.details = new Details(shell, {
      select: (by, row) => this.select([row], by),
      zoom: (start, wide) => this.zoomTo([start - wide * 0.1, start + wide * 1.1]),
      close: () => this.close(),
    });
    this.body.append(this.details.box);
    shell.toolbar.append(...this.tools.all);
    this.listen();
    this.sized.observe(this.rows);
    shell.onMessage("found", (content, columns) => {
      if (content["text"] === this.tools.search.value.trim()) this.found(new Set(columns["row"] as Numbers));
    });
  }

  destroy(): void {
    this.sized.disconnect();
  }

  // Frames

  receive(frame: Frame<Meta>): void {
    if (this.shell.offline) this.held.set(frame.meta.trace, frame);
  }

  draw(latest: Frame<Meta>): void {
    const frame = this.held.get(this.state.trace ?? "") ?? latest;
    if (frame !== this.frame) {
      if (frame.meta.trace !== this.frame?.meta.trace) this.fresh();
      this.frame = frame;
      this.spans = new Spans(frame);
      if (this.tools.search.value.trim()) this.look();
    }
    const { meta } = frame;
    this.body.classList.toggle("wf-narrow", this.shell.width < NARROW);
    this.rows.setAttribute("role", meta.tree ? "treegrid" : "grid");
    this.tools.update(meta, this.state, this.shell.offline);
    this.showKey(meta);
    if (this.spans) this.details.show(this.spans, frame); // which takes room from the bars
    this.layout();
    if (this.spans) this.shell.status(facts(this.spans, meta));
  }

  /** Another trace: what was zoomed and pointed at is gone. */
  private fresh(): void {
    if (this.frame) this.state.view = null;
    this.active = undefined;
    this.details.close();
    this.rows.scrollTop = 0;
  }

  private showKey(meta: Meta): void {
    const key = JSON.stringify([meta.key, this.shell.dark]);
    if (key === this.key_) return;
    this.key_ = key;
    const color = (i: number) => el("i", { style: `background:${this.shell.colors.categories[i] ?? ""}` });
    this.key.replaceChildren(...meta.key.map((label, i) => el("span", {}, color(i), label)));
  }

  // Rows and bars

  private get view(): View {
    const [from, to] = this.state.view ?? [0, this.frame?.meta.duration ?? 1];
    const width = this.main.clientWidth;
    const [least, share, most] = this.frame?.meta.tree ? [150, 0.36, 340] : [100, 0.16, 180];
    return { from, to, left: Math.round(Math.min(most, Math.max(least, width * share))), width };
  }

  private layout(): void {
    const { frame, spans } = this;
    if (!frame || !spans) return;
    this.lines = spans.lines(this.state.closed);
    this.empty.hidden = this.lines.length > 0;
    const height = this.rows.clientHeight;
    this.inner.style.height = `${Math.max(this.lines.length * ROW, height)}px`;
    const first = Math.max(0, Math.floor(this.rows.scrollTop / ROW));
    const view = { ...this.view, width: this.rows.clientWidth };
    const axis = context(this.axis, this.main.clientWidth, 24);
    if (axis) paintAxis(axis, view, this.shell.colors, this.brush);
    const c = context(this.bars, view.width, height);
    if (c) {
      paintBars(c, {
        view,
        lines: this.lines,
        spans,
        first,
        offset: this.rows.scrollTop,
        height,
        colors: this.shell.colors,
        critical: this.state.critical,
        hits: this.hits,
        selected: new Set(frame.meta.selected),
        active: frame.meta.tree ? -1 : spans.at(this.active),
        brush: this.brush,
      });
    }
    const last = Math.min(this.lines.length, first + Math.ceil(height / ROW) + AROUND);
    const made: Node[] = [];
    const { closed } = this.state;
    const { id, hits, active } = this;
    const shown = { spans, id, left: view.left, closed, selected: frame.meta.selected, hits, active, opened: this.details.row };
    for (let n = Math.max(0, first - AROUND); n < last; n += 1) {
      const line = this.lines[n];
      if (line) made.push(frame.meta.tree ? spanRow(n, line.span, shown) : laneRow(n, line, frame.meta.lane, shown));
    }
    this.inner.replaceChildren(this.bars, ...made);
    set(this.rows, {
      "aria-rowcount": this.lines.length,
      "aria-activedescendant": this.active === undefined ? null : `${this.id}-${lineOf(this.lines, spans.at(this.active))}`,
    });
  }

  private readonly id = `wf${Math.random().toString(36).slice(2)}`;

  // Pointing

  private listen(): void {
    const rows = this.rows;
    rows.addEventListener("scroll", () => {
      this.shell.tooltip.hide();
      this.shell.redraw();
    });
    rows.addEventListener("pointerdown", (event) => this.press(event));
    rows.addEventListener("pointermove", (event) => this.move(event));
    rows.addEventListener("pointerup", (event) => this.release(event));
    rows.addEventListener("pointerleave", () => this.shell.tooltip.hide());
    rows.addEventListener("dblclick", (event) => {
      if (this.place(event).x > this.view.left) this.zoomTo(null);
    });
    rows.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    rows.addEventListener("keydown", (event) => this.press_(event));
    this.tools.traces.addEventListener("change", () => this.choose(this.tools.traces.value));
    this.tools.sorts.addEventListener("change", () => this.shell.send({ kind: "sort", by: this.tools.sorts.value }));
    this.tools.search.addEventListener("input", () => this.look());
    this.tools.search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.next();
      event.stopPropagation(); // the notebook's shortcuts are not for here
    });
    this.tools.path.addEventListener("click", () => {
      this.state.critical = !this.state.critical;
      this.shell.send({ kind: "critical", on: this.state.critical });
      this.shell.redraw();
    });
    this.tools.fold.addEventListener("click", () => this.foldAll());
    this.tools.whole.addEventListener("click", () => this.zoomTo(null));
  }

  private choose(trace: string): void {
    this.state.trace = trace;
    this.shell.send({ kind: "trace", id: trace });
    this.tools.traces.blur();
    this.shell.redraw();
  }

  private foldAll(): void {
    const { spans, state } = this;
    if (!spans) return;
    if (state.closed.size) state.closed.clear();
    else for (const row of spans.inner()) state.closed.add(row);
    this.shell.redraw();
  }

  private place(event: MouseEvent): { x: number; y: number; line: number } {
    const box = this.rows.getBoundingClientRect();
    const y = event.clientY - box.top;
    return { x: event.clientX - box.left, y, line: Math.floor((y + this.rows.scrollTop) / ROW) };
  }

  /** The span under the pointer: the row's, or in lanes the one whose bar is there. */
  private under(event: MouseEvent): number {
    const { x, line } = this.place(event);
    const found = this.lines[line];
    if (!found || !this.spans) return -1;
    if (this.frame?.meta.tree) return found.span;
    const view = this.view;
    const near = (3 / (view.width - view.left)) * (view.to - view.from);
    const at = invert(view, x);
    return x < view.left ? -1 : this.spans.running(found, at, near);
  }

  private press(event: PointerEvent): void {
    const { x } = this.place(event);
    if (event.button !== 0) return;
    this.drag = { x, moved: false };
  }

  private move(event: PointerEvent): void {
    const { x, y } = this.place(event);
    const { drag } = this;
    if (drag && event.buttons === 1 && drag.x > this.view.left && Math.abs(x - drag.x) > 4) {
      drag.moved = true;
      const inside = Math.max(this.view.left, Math.min(x, this.view.width));
      this.brush = [Math.min(drag.x, inside), Math.max(drag.x, inside)];
      this.shell.tooltip.hide();
      this.shell.redraw();
      return;
    }
    const i = this.under(event);
    if (i < 0 || !this.spans) return this.shell.tooltip.hide();
    this.shell.tooltip.show(x, y + 24, tip(this.spans, i, this.frame?.meta.tree ?? false));
  }

  private release(event: PointerEvent): void {
    const { drag, brush } = this;
    this.drag = this.brush = null;
    this.shell.tooltip.hide();
    if (brush && drag?.moved) return this.zoomTo([invert(this.view, brush[0]), invert(this.view, brush[1])]);
    const i = this.under(event);
    if (!drag || i < 0 || !this.spans) return;
    const row = this.spans.row[i] ?? -1;
    const twist = (event.target as Element).closest(".wf-twist");
    if (twist && (this.spans.size[i] ?? 1) > 1) return this.toggle(row);
    const chosen = this.frame?.meta.selected ?? [];
    const extended = event.ctrlKey || event.metaKey;
    this.open(row);
    this.select(extended ? (chosen.includes(row) ? chosen.filter((r) => r !== row) : [...chosen, row]) : [row]);
  }

  private wheel(event: WheelEvent): void {
    const view = this.view;
    if (event.ctrlKey || event.metaKey) {
      const at = invert(view, Math.max(this.place(event).x, view.left));
      const factor = event.deltaY > 0 ? 1.25 : 0.8;
      this.zoomTo([at - (at - view.from) * factor, at + (view.to - at) * factor]);
    } else if (event.shiftKey) {
      const shift = (Math.sign(event.deltaY || event.deltaX) * (view.to - view.from)) / 10;
      this.zoomTo([view.from + shift, view.to + shift]);
    } else return;
    event.preventDefault();
  }

  private zoomTo(span: [number, number] | null): void {
    this.state.view = within(span, this.frame?.meta.duration ?? 1);
    this.shell.redraw();
  }

  private toggle(row: number): void {
    if (!this.state.closed.delete(row)) this.state.closed.add(row);
    this.shell.redraw();
  }

  private select(rows: number[], by = "row"): void {
    if (by === "row" && this.frame) this.frame.meta.selected = rows;
    this.shell.send({ kind: "select", by, rows });
    this.shell.redraw();
  }

  private open(row: number): void {
    this.active = row;
    this.details.open(row);
    this.shell.redraw();
  }

  private close(): void {
    this.details.close();
    this.shell.redraw();
  }

  // Searching

  private look(): void {
    const words = this.tools.search.value.trim();
    const { spans, frame } = this;
    if (!words || !spans || !frame) {
      this.hits = null;
      this.tools.count.textContent = "";
      this.shell.redraw();
      return;
    }
    this.found(spans.search(words));
    if (!frame.meta.embedded) this.shell.send({ kind: "search", text: words });
  }

  private found(hits: Set<number>): void {
    this.hits = hits;
    this.tools.count.textContent = `${whole(hits.size)} of ${whole(this.spans?.length ?? 0)}`;
    this.shell.redraw();
  }

  private next(): void {
    const { spans, hits } = this;
    if (!spans || !hits?.size) return;
    const i = spans.next(spans.at(this.active), hits);
    for (const parent of spans.ancestors(i)) this.state.closed.delete(spans.row[parent] ?? -1);
    this.lines = spans.lines(this.state.closed);
    this.goTo(i);
  }

  // Keys

  private goTo(i: number): void {
    const spans = this.spans;
    if (!spans || i < 0 || i >= spans.length) return;
    this.active = spans.row[i];
    if (this.details.row !== undefined) this.details.open(spans.row[i] ?? -1);
    const top = lineOf(this.lines, i) * ROW;
    if (top < this.rows.scrollTop) this.rows.scrollTop = top;
    else if (top + ROW > this.rows.scrollTop + this.rows.clientHeight) this.rows.scrollTop = top + ROW - this.rows.clientHeight;
    this.shell.announce(say(spans, i));
    this.shell.redraw();
  }

  private press_(event: KeyboardEvent): void {
    const { spans, frame } = this;
    if (!spans || !frame || event.altKey || event.ctrlKey || event.metaKey) return;
    const i = spans.at(this.active);
    const { closed } = this.state;
    const step = frame.meta.tree ? treeStep(event.key, i, spans, this.lines, closed) : laneStep(event.key, i, spans, this.lines);
    if (step === "expand") closed.clear();
    else if (step && "toggle" in step) this.toggle(step.toggle);
    else if (step) this.goTo(step.to);
    else if (!this.anyKey(event.key, i)) return;
    this.lines = spans.lines(closed); // the next key may come before the next picture
    this.shell.redraw();
    event.preventDefault();
    event.stopPropagation();
  }

  private anyKey(key: string, i: number): boolean {
    const view = this.view;
    const row = this.spans?.row[i];
    const middle = (view.from + view.to) / 2;
    const half = (view.to - view.from) / 2;
    if (key === "Home") this.goTo(this.lines[0]?.spans[0] ?? -1);
    else if (key === "End") this.goTo(this.lines[this.lines.length - 1]?.spans[0] ?? -1);
    else if ((key === "Enter" || key === " ") && row !== undefined) {
      this.open(row);
      this.select([row]);
    } else if (key === "+" || key === "=") this.zoomTo([middle - half / 2, middle + half / 2]);
    else if (key === "-") this.zoomTo([middle - half * 2, middle + half * 2]);
    else if (key === "/") this.tools.search.focus();
    else if (key === "Escape") {
      this.close();
      if (this.frame?.meta.selected.length) this.select([]);
      else this.zoomTo(null);
    } else return false;
    return true;
  }
}
