// Weight over time. Dragging chooses a range; with Shift, the range to compare with. Arrow keys move and widen it.

import { el } from "../lib/dom";
import { humanize, time } from "../lib/format";
import type { Colors } from "../lib/theme";

export const STRIP = 46;
const LABELS = 14;
const EPOCH = 10n ** 17n; // smaller moments are of a clock of their own: elapsed time is shown

export interface Steps {
  /** The first step's begin in ns, as text, since it may be beyond exact numbers. */
  start: string;
  step: number;
  /** Ranges in steps, from the first on, or null. */
  window: readonly number[] | null;
  base: readonly number[] | null;
}

/** Steps from first to last, both included; null takes the range away. */
export type Choose = (range: readonly [number, number] | null, base: boolean) => void;

export class Strip {
  readonly box: HTMLElement;
  private readonly canvas = el("canvas", { style: "display:block" });
  private drag: { from: number; to: number; base: boolean } | undefined;
  private counts: ArrayLike<number> = [];
  private steps: Steps | undefined;

  constructor(
    private readonly choose: Choose,
    private readonly redraw: () => void,
    private readonly say: (text: string) => void,
  ) {
    const help = "samples over time: drag or use the arrow keys to choose a range, with Alt to move its end, Escape for all";
    this.box = el(
      "div",
      {
        class: "f-strip",
        tabindex: 0,
        role: "group",
        "aria-label": help,
        title: "drag: show this range of time; Shift and drag: compare with it; click: all",
        style: `flex:0 0 ${STRIP}px;cursor:crosshair;touch-action:none`,
        pointerdown: (event: PointerEvent) => this.down(event),
        pointermove: (event: PointerEvent) => this.move(event),
        pointerup: () => this.up(),
        pointercancel: () => this.cancel(),
        keydown: (event: KeyboardEvent) => this.key(event),
      },
      this.canvas,
    );
  }

  set(steps: Steps | undefined, counts: ArrayLike<number>): void {
    this.steps = steps;
    this.counts = counts;
    this.box.hidden = steps === undefined;
  }

  paint(width: number, colors: Colors): void {
    const { steps, counts } = this;
    if (!steps || width <= 0) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(STRIP * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${STRIP}px`;
    const context = this.canvas.getContext("2d")!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [each, tall] = [width / Math.max(1, counts.length), STRIP - LABELS - 4];
    let most = 1e-300;
    for (let i = 0; i < counts.length; i++) most = Math.max(most, counts[i]!);
    const shown = this.drag && !this.drag.base ? this.range() : steps.window;
    const base = this.drag?.base ? this.range() : steps.base;
    context.fillStyle = colors.soft;
    context.fillRect(0, 4, width, tall);
    for (let i = 0; i < counts.length; i++) {
      const inside = !shown || (i >= Math.floor(shown[0]!) && i < shown[1]!);
      const compared = base && i >= Math.floor(base[0]!) && i < base[1]!;
      context.globalAlpha = inside || compared ? 1 : 0.35;
      context.fillStyle = compared ? (colors.categories[1] ?? colors.warn) : colors.accent;
      const high = counts[i]! > 0 ? Math.max(1, (counts[i]! / most) * tall) : 0;
      context.fillRect(i * each, 4 + tall - high, Math.max(each - (each > 3 ? 1 : 0), 0.5), high);
    }
    context.globalAlpha = 1;
    this.bracket(context, shown, each, colors.fg, tall);
    this.bracket(context, base, each, colors.categories[1] ?? colors.warn, tall);
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    context.fillStyle = colors.dim;
    context.fillText(this.moment(0), 1, STRIP);
    const end = this.moment(counts.length);
    context.textAlign = "right";
    context.fillText(end, width - 1, STRIP);
    context.textAlign = "center";
    const said = [shown && `shown ${this.span(shown)}`, base && `compared with ${this.span(base)}`].filter(Boolean).join(", ");
    context.fillStyle = colors.fg;
    context.fillText(said || `each step ${humanize(steps.step, "ns")}; drag to choose a range`, width / 2, STRIP);
    context.textAlign = "left";
  }

  private bracket(context: CanvasRenderingContext2D, range: readonly number[] | null | undefined, each: number, color: string, tall: number): void {
    if (!range) return;
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.strokeRect(range[0]! * each + 0.75, 3, Math.max((range[1]! - range[0]!) * each - 1.5, 1), tall + 2);
  }

  /** The begin of a step as a person reads it. */
  private moment(step: number): string {
    const { start, step: size } = this.steps!;
    const ns = BigInt(start) + BigInt(Math.round(step * size));
    if (ns < EPOCH) return humanize(Number(ns), "ns", 5);
    return time(ns, size >= 1e9 ? 0 : size >= 1e6 ? 3 : 6);
  }

  private span(range: readonly number[]): string {
    return `${this.moment(range[0]!)} to ${this.moment(range[1]!)}`;
  }

  private range(): [number, number] {
    const { from, to } = this.drag!;
    return [Math.min(from, to), Math.max(from, to) + 1];
  }

  private stepAt(event: PointerEvent): number {
    const bounds = this.canvas.getBoundingClientRect();
    const share = (event.clientX - bounds.left) / Math.max(1, bounds.width);
    return Math.min(this.counts.length - 1, Math.max(0, Math.floor(share * this.counts.length)));
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.box.setPointerCapture(event.pointerId);
    const step = this.stepAt(event);
    this.drag = { from: step, to: step, base: event.shiftKey };
    this.moved = false;
    event.preventDefault();
    this.box.focus({ preventScroll: true });
  }

  private moved = false;

  private move(event: PointerEvent): void {
    if (!this.drag) return;
    this.drag.to = this.stepAt(event);
    this.moved ||= this.drag.to !== this.drag.from;
    this.redraw();
  }

  private up(): void {
    if (!this.drag) return;
    const { base } = this.drag;
    const [first, end] = this.range();
    this.drag = undefined;
    // A click on what is chosen, or in the open, shows all again.
    if (this.moved) this.pick(first, end - 1, base);
    else this.pick(null, null, base);
  }

  private cancel(): void {
    this.drag = undefined;
    this.redraw();
  }

  private pick(first: number | null, last: number | null, base: boolean): void {
    if (first === null || last === null) {
      this.say(base ? "compared with nothing" : "all of the time is shown");
      this.choose(null, base);
      return;
    }
    this.say(`${base ? "compared with" : "shown"} ${this.span([first, last + 1])}`);
    this.choose([first, last], base);
  }

  private key(event: KeyboardEvent): void {
    const base = event.shiftKey;
    const range = base ? this.steps?.base : this.steps?.window;
    const by = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (event.key === "Escape") this.pick(null, null, base);
    else if (by !== 0) {
      const clip = (step: number) => Math.min(this.counts.length - 1, Math.max(0, Math.round(step)));
      const tenth = Math.max(1, Math.round(this.counts.length / 10));
      const [first, end] = range ?? [by > 0 ? -by : this.counts.length - tenth + 1, by > 0 ? tenth - 1 : this.counts.length + 1];
      const from = clip(event.altKey ? first! : first! + by);
      this.pick(from, Math.max(from, clip(end! - 1 + by)), base);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
