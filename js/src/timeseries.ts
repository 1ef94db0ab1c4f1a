// Lines over time: live at the right edge, or looking back; what is dragged over is selected.

import { el } from "./lib/dom";
import { type Frame, type Shell, widget } from "./lib/widget";
import { Legend } from "./timeseries/legend";
import { boxOf, type Lines, paint } from "./timeseries/plot";
import { type Meta, Reading, type Span } from "./timeseries/reading";
import { axis, clock } from "./timeseries/scale";
import css from "./timeseries/style.css";

const NARROW = 640;
const SETTLE = 80; // ms that a zoom must rest before Python is asked for what lies there

export default widget<Meta>((shell) => {
  const chart = new Chart(shell);
  return {
    draw: (frame) => chart.draw(frame),
    theme: () => shell.redraw(),
    destroy: () => chart.destroy(),
  };
});

class Chart {
  private readonly canvas = el("canvas", { tabindex: 0, role: "img", "aria-roledescription": "time series" });
  private readonly plot = el("div", { class: "ts-plot" }, this.canvas);
  private readonly empty = el("div", { class: "ts-empty", hidden: true }, "nothing was measured yet");
  private readonly legend: Legend;
  private readonly body: HTMLElement;
  private readonly live: HTMLButtonElement;
  private readonly sized = new ResizeObserver(() => this.shell.redraw());
  private meta: Frame<Meta>["meta"] | undefined;
  private lines: Lines | undefined;
  private reading: Reading | undefined;
  private cursor = -1;
  private bold: string | null = null;
  private pointer: [number, number] | null = null;
  private drag: { from: number; x: number; pan: boolean; view: Span } | null = null;
  private brush: Span | null = null;
  private anchor: number | null = null; // where a selection by keyboard began
  private asking = 0;

  constructor(private readonly shell: Shell<Meta>) {
    shell.root.append(el("style", {}, css));
    this.legend = new Legend({
      toggle: (label) => this.toggle(label),
      isolate: (label) => this.isolate(label),
      point: (label) => this.point(label),
    });
    this.plot.append(this.empty);
    this.body = el("div", { class: "ts-body" }, this.plot, this.legend.element);
    shell.root.append(this.body);
    const button = (text: string, title: string, click: () => void) =>
      el("button", { click, title, "aria-label": title, "aria-pressed": null }, text);
    this.live = button("Live", "follow the newest", () => this.look(null));
    shell.toolbar.append(
      this.live,
      button("−", "zoom out", () => this.zoom(2)),
      button("+", "zoom in", () => this.zoom(0.5)),
      button("All", "all that is kept", () => this.meta && this.look([...this.meta.history])),
    );
    this.listen();
    this.sized.observe(this.plot);
  }

  destroy(): void {
    this.sized.disconnect();
    clearTimeout(this.asking);
  }

  // What is seen

  /** The span looked back at; null: what Python shows, which is the newest while live. */
  private get view(): Span | null {
    return (this.shell.state["view"] as Span | undefined) ?? null;
  }

  private get hidden(): Set<string> {
    return ((this.shell.state["hidden"] as Set<string> | undefined) ??= new Set());
  }

  private set hidden(labels: Set<string>) {
    this.shell.state["hidden"] = labels;
  }

  private get span(): Span {
    return this.view ?? this.meta?.window ?? [0, 1];
  }

  private look(span: Span | null): void {
    this.shell.state["view"] = span ?? undefined;
    this.shell.redraw();
    clearTimeout(this.asking);
    this.asking = window.setTimeout(() => {
      const zero = this.meta?.zero;
      if (span) this.shell.send({ kind: "window", zero, from: span[0], to: span[1] });
      else this.shell.send({ kind: "window", zero, follow: true });
    }, SETTLE);
  }

  private zoom(factor: number, around?: number): void {
    const [from, to] = this.span;
    const middle = around ?? (this.meta?.follow && !this.view ? to : (from + to) / 2);
    const least = Math.max((this.meta?.width ?? 0) * 3, 1e-6);
    if ((to - from) * factor < least) return;
    this.look([middle - (middle - from) * factor, middle + (to - middle) * factor]);
  }

  private pan(seconds: number): void {
    const [from, to] = this.span;
    this.look([from + seconds, to + seconds]);
  }

  private toggle(label: string): void {
    const hidden = this.hidden;
    if (!hidden.delete(label)) hidden.add(label);
    this.shell.redraw();
  }

  private isolate(label: string): void {
    const others = (this.meta?.labels ?? []).filter((other) => other !== label);
    const alone = !this.hidden.has(label) && others.every((other) => this.hidden.has(other));
    this.hidden = alone ? new Set() : new Set(others);
    this.shell.redraw();
  }

  private point(label: string | null): void {
    this.bold = label;
    this.shell.redraw();
  }

  // Drawing

  draw(frame: Frame<Meta>): void {
    const { meta, columns } = frame;
    this.meta = meta;
    const column = (name: string) => columns[name] as Float64Array;
    const start = column("start");
    const lines: Lines = {
      labels: meta.labels,
      slots: meta.slots,
      start,
      stop: column("stop"),
      at: column("at"),
      seconds: column("seconds"),
      values: column("values"),
      lost: column("lost"),
      losses: meta.losses,
      resets: meta.resets,
      solid: meta.running && start.length > 1 ? start.length - 1 : start.length,
    };
    this.lines = lines;
    const reading = new Reading(lines, meta, this.span, this.hidden);
    this.reading = reading;
    const narrow = !meta.many || this.shell.width < NARROW;
    this.body.classList.toggle("ts-narrow", narrow);
    const shown = lines.labels.map((label) => !this.hidden.has(label));
    const entries = lines.labels.map((label, i) => ({
      label,
      slot: lines.slots[i] ?? -1,
      shown: shown[i] ?? true,
      numbers: reading.numbers(i),
    }));
    // In the order of their colours, which lines keep, not of their totals, which change places all the time.
    entries.sort((a, b) => (a.slot < 0 ? Infinity : a.slot) - (b.slot < 0 ? Infinity : b.slot));
    this.legend.update(entries, this.shell.colors);
    this.legend.element.hidden = lines.labels.length === 0;
    const [from, to] = this.span;
    const [low, high] = reading.extent(shown);
    const yAxis = axis(low, high, meta.unit, meta.per_second, meta.from_zero);
    const { clientWidth: width, clientHeight: height } = this.plot;
    if (this.pointer) this.cursor = this.nearest(this.pointer[0]);
    paint(this.canvas, {
      lines,
      from,
      to,
      zero: BigInt(meta.zero),
      wall: meta.wall,
      what: meta.what,
      yAxis,
      shown,
      bold: this.bold === null ? -1 : lines.labels.indexOf(this.bold),
      cursor: this.cursor,
      brush: this.brush,
      selected: meta.selected,
      colors: this.shell.colors,
      width,
      height,
    });
    this.empty.hidden = lines.labels.length > 0;
    const live = meta.source.live && !this.shell.offline;
    this.live.hidden = !live;
    this.live.setAttribute("aria-pressed", String(live && !this.view));
    this.canvas.setAttribute("aria-label", this.describe());
    this.showTip();
    this.shell.status(this.statusText());
  }

  private statusText(): string {
    const meta = this.meta;
    if (!meta) return "";
    const zero = BigInt(meta.zero);
    const parts = [...meta.notes];
    if (meta.selected) {
      const step = Math.max(meta.width, 1e-9);
      const [from, to] = meta.selected.map((second) => clock(second, zero, meta.wall, step));
      parts.unshift(`selected ${from} to ${to} (Esc clears)`);
    } else if (this.anchor !== null) parts.unshift("selecting: move with the arrows, Space ends");
    else if (this.view && meta.source.live) parts.unshift("looking back; Live follows again");
    return parts.join(" · ");
  }

  private describe(): string {
    const { meta, lines, reading } = this;
    if (!meta || !lines || !reading) return "time series";
    const now = lines.labels.map((label, i) => `${label} ${reading.numbers(i)[0]}`).slice(0, 9);
    const [from, to] = this.span;
    return `${meta.what} over ${Number((to - from).toPrecision(3))} seconds. Last: ${now.join(", ") || "nothing yet"}`;
  }

  // Pointing

  private get box() {
    return boxOf(this.plot.clientWidth, this.plot.clientHeight, this.meta?.losses ?? false);
  }

  private second(x: number): number {
    const { left, right } = this.box;
    const [from, to] = this.span;
    return from + ((Math.min(Math.max(x, left), right) - left) / (right - left)) * (to - from);
  }

  private nearest(x: number): number {
    return this.reading?.nearest(this.second(x)) ?? -1;
  }

  private showTip(): void {
    const { meta, lines, cursor } = this;
    if (!meta || !lines || cursor < 0 || cursor >= lines.at.length || this.drag?.pan) return this.shell.tooltip.hide();
    const [from, to] = this.span;
    const at = lines.at[cursor] ?? NaN;
    if (!(at >= from && at <= to)) return this.shell.tooltip.hide();
    const box = this.box;
    const x = box.left + ((at - from) / (to - from)) * (box.right - box.left);
    this.shell.tooltip.show(x, this.pointer?.[1] ?? box.top, this.reading?.tip(cursor, this.shell.colors) ?? "");
  }

  private listen(): void {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => {
      this.drag = this.brush = null;
      this.shell.redraw();
    });
    canvas.addEventListener("pointerleave", () => {
      if (this.drag) return;
      this.pointer = null;
      this.cursor = -1;
      this.shell.redraw();
    });
    canvas.addEventListener("dblclick", () => this.clear());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      if (!this.pointer) this.cursor = -1;
      this.shell.redraw();
    });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  private wheel(event: WheelEvent): void {
    const [from, to] = this.span;
    if (event.ctrlKey || event.metaKey) this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.second(event.offsetX));
    else if (event.shiftKey) this.pan((Math.sign(event.deltaY || event.deltaX) * (to - from)) / 10);
    else return;
    event.preventDefault();
  }

  private press(event: PointerEvent): void {
    if (event.button !== 0 || !this.meta) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { from: this.second(event.offsetX), x: event.offsetX, pan: event.shiftKey, view: [...this.span] };
  }

  private move(event: PointerEvent): void {
    this.pointer = [event.offsetX, event.offsetY];
    const drag = this.drag;
    if (drag?.pan) {
      const { left, right } = this.box;
      const shift = ((drag.x - event.offsetX) / (right - left)) * (drag.view[1] - drag.view[0]);
      this.look([drag.view[0] + shift, drag.view[1] + shift]);
    } else if (drag && Math.abs(event.offsetX - drag.x) > 3) {
      this.brush = this.snapped(drag.from, this.second(event.offsetX));
    }
    this.shell.redraw();
  }

  private release(event: PointerEvent): void {
    this.canvas.releasePointerCapture(event.pointerId);
    const brush = this.brush;
    this.drag = this.brush = null;
    if (brush) this.choose(brush);
    this.shell.redraw();
  }

  /** From bin edge to bin edge, where there are bins. */
  private snapped(a: number, b: number): Span {
    const width = this.meta?.width ?? 0;
    const [from, to] = a < b ? [a, b] : [b, a];
    if (!width) return [from, to];
    return [Math.floor(from / width) * width, Math.max(Math.ceil(to / width), Math.floor(from / width) + 1) * width];
  }

  private choose(span: Span): void {
    const meta = this.meta;
    if (!meta) return;
    if (!meta.selectable || this.shell.offline) return this.look(span);
    meta.selected = span;
    this.shell.send({ kind: "select", zero: meta.zero, from: span[0], to: span[1] });
    this.shell.announce("time range selected");
  }

  /** The selection goes first, then the zoom. */
  private clear(): void {
    this.anchor = null;
    this.brush = null;
    if (this.meta?.selected) {
      this.meta.selected = null;
      this.shell.send({ kind: "select", zero: this.meta.zero });
    } else if (this.view) this.look(null);
    this.shell.redraw();
  }

  private key(event: KeyboardEvent): void {
    const lines = this.lines;
    if (!lines || event.ctrlKey || event.altKey || event.metaKey) return;
    const [from, to] = this.span;
    const last = lines.at.length - 1;
    const inside = (wanted: number) => Math.max(0, Math.min(last, wanted));
    const step = event.key === "ArrowLeft" ? -1 : 1;
    switch (event.key) {
      case "ArrowLeft":
      case "ArrowRight":
        if (event.shiftKey) this.pan((step * (to - from)) / 10);
        else this.step(this.cursor < 0 ? this.nearest(this.box.right) : inside(this.cursor + step));
        break;
      case "Home":
        this.step(this.nearest(this.box.left));
        break;
      case "End":
        this.step(this.nearest(this.box.right));
        break;
      case "+":
      case "=":
        this.zoom(0.5, lines.at[this.cursor]);
        break;
      case "-":
        this.zoom(2, lines.at[this.cursor]);
        break;
      case " ":
        this.mark();
        break;
      case "Escape":
        this.clear();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private step(bin: number): void {
    this.pointer = null;
    this.cursor = bin;
    const lines = this.lines;
    if (!lines) return;
    if (this.anchor !== null) this.brush = this.snapped(this.anchor, lines.at[bin] ?? this.anchor);
    const { reading } = this;
    const said = reading?.ranked(bin).slice(0, 5).map(({ i, value }) => `${lines.labels[i]} ${reading.say(value)}`);
    this.shell.announce(`${reading?.when(bin) ?? ""}: ${said?.join(", ") || "nothing"}`);
    this.shell.redraw();
  }

  /** Space begins a selection at the cursor, and ends it. */
  private mark(): void {
    const at = this.lines?.at[this.cursor];
    if (at === undefined) return;
    if (this.anchor === null) {
      this.anchor = at;
      this.brush = this.snapped(at, at);
    } else {
      this.choose(this.snapped(this.anchor, at));
      this.anchor = null;
      this.brush = null;
    }
    this.shell.redraw();
  }
}
