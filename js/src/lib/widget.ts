// A view in the page: title, tools, the picture, status and errors around what a family draws.

import type { Column } from "./columns";
import { el } from "./dom";
import { whole } from "./format";
import { type Client, clientOf, type Frame, type Model } from "./model";
import { type Colors, colorsOf, isDark, onThemeChange, stylesheet } from "./theme";

export type { Column, Dict, Integers, Numbers, Text } from "./columns";
export type { Frame, Source } from "./model";

export interface Drawing<Meta = Record<string, never>> {
  /** Paint the newest frame. Once an animation frame at most, never while hidden. */
  draw(frame: Frame<Meta>): void;
  /** Every frame as it arrives, for views whose frames say only what is new. No painting here. */
  receive?(frame: Frame<Meta>): void;
  /** The size changed; `draw` follows. */
  resize?(): void;
  /** The host's colours changed; `draw` follows. */
  theme?(): void;
  destroy?(): void;
}

export type Family<Meta> = (shell: Shell<Meta>) => Drawing<Meta>;

/** What the default export of a bundle is made of. */
export function widget<Meta = Record<string, never>>(family: Family<Meta>): object {
  return {
    initialize({ model }: { model: Model }) {
      clientOf(model);
    },
    render({ model, el: host }: { model: Model; el: HTMLElement }) {
      const shell = new Shell<Meta>(clientOf(model), host, family);
      return () => shell.destroy();
    },
  };
}

export class Shell<Meta = Record<string, never>> {
  readonly root: HTMLElement;
  readonly toolbar: HTMLElement;
  readonly offline: boolean;
  /** Kept over re-renderings of the same view: zoom, sort ... */
  readonly state: Record<string, unknown>;
  readonly tooltip: Tooltip;
  width = 0;
  height = 0;
  dark = false;
  colors!: Colors;
  visible = true;

  private readonly frame_: HTMLElement;
  private readonly titleLine: HTMLElement;
  private readonly badges: HTMLElement;
  private readonly statusLine: HTMLElement;
  private readonly noteBox: HTMLElement;
  private readonly errorBox: HTMLElement;
  private readonly live: HTMLElement;
  private readonly ends: (() => void)[] = [];
  private readonly hears = new Map<string, (content: Record<string, unknown>, columns: Record<string, Column>) => void>();
  private drawing: Drawing<Meta> | undefined;
  private last: Frame<Meta> | undefined;
  private scheduled = 0;
  private acknowledged = 0;
  private synced = false;
  private failure = ""; // what failed last, until a draw succeeds

  constructor(
    private readonly client: Client,
    host: HTMLElement,
    family: Family<Meta>,
  ) {
    this.offline = client.offline;
    this.state = client.state;
    this.titleLine = el("span", { class: "b-title" });
    this.toolbar = el("div", { class: "b-tools", role: "toolbar", "aria-label": "options of the view" });
    this.badges = el("div", { class: "b-tools", style: "flex:0 0 auto" });
    this.root = el("div", { class: "b-view" });
    this.statusLine = el("div", { class: "b-foot" });
    this.noteBox = el("p", { class: "b-note", role: "status", hidden: true });
    this.errorBox = el("div", { class: "b-error", role: "alert", hidden: true });
    this.live = el("div", { class: "b-sr", "aria-live": "polite" });
    this.frame_ = el(
      "section",
      { class: "bpfnb" },
      el("style", {}, stylesheet),
      el("div", { class: "b-head" }, this.titleLine, this.toolbar, this.badges),
      this.root,
      this.statusLine,
      this.noteBox,
      this.errorBox,
      this.live,
    );
    host.classList.add("b-host");
    host.replaceChildren(this.frame_);
    this.tooltip = new Tooltip(this.root);
    this.onChange("title", () => this.label());
    this.onChange("height", () => this.measure());
    this.onChange("note", () => this.showNote());
    this.onChange("error", () => this.showError());
    this.onChange("state", () => this.showBadges());
    this.label();
    this.recolor();
    this.measure();
    this.watch();
    try {
      this.drawing = family(this);
    } catch (error) {
      this.fail(error);
    }
    const shell = this;
    const leave = client.join({
      frame: (frame) => this.receive(frame as Frame<Meta>),
      message: (kind, content, columns) => this.guard(() => this.hears.get(kind)?.(content, columns)),
      get visible() {
        return shell.visible;
      },
    });
    this.ends.push(leave);
    this.showNote();
    this.showError();
    this.showBadges();
  }

  // For families

  get<T = unknown>(name: string): T {
    return this.client.model.get(name) as T;
  }

  set(name: string, value: unknown): void {
    this.client.model.set(name, value);
    this.client.model.save_changes();
  }

  onChange(name: string, call: () => void): void {
    const guarded = () => this.guard(call);
    this.client.model.on(`change:${name}`, guarded as never);
    this.ends.push(() => this.client.model.off(`change:${name}`, guarded as never));
  }

  /** To the view's `_on_message` in Python. Nothing listens in an offline page. */
  send(content: Record<string, unknown>, buffers?: ArrayBuffer[]): void {
    if (!this.offline) this.client.send(content, buffers);
  }

  /** What Python answers beside the frames, by its kind. */
  onMessage(kind: string, call: (content: Record<string, unknown>, columns: Record<string, Column>) => void): void {
    this.hears.set(kind, call);
  }

  /** Ask for a `draw` of the last frame in the next animation frame. */
  redraw(): void {
    if (this.scheduled || !this.visible) return;
    this.scheduled = requestAnimationFrame(() => {
      this.scheduled = 0;
      this.paint();
    });
  }

  status(text: string): void {
    if (this.statusLine.textContent !== text) this.statusLine.textContent = text;
  }

  /** Say to screen readers. */
  announce(text: string): void {
    this.live.textContent = text;
  }

  fail(error: unknown): void {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    this.errorBox.textContent = text;
    this.errorBox.hidden = false;
    if (text === this.failure) return; // a draw that fails does so frame by frame: it is said once
    this.failure = text;
    console.error(error);
    this.send({ kind: "error", message: error instanceof Error ? (error.stack ?? text) : text });
  }

  guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.fail(error);
    }
  }

  destroy(): void {
    cancelAnimationFrame(this.scheduled);
    for (const end of this.ends.splice(0)) end();
    this.guard(() => this.drawing?.destroy?.());
    this.frame_.remove();
  }

  // Frames

  private receive(frame: Frame<Meta>): void {
    if (!this.synced && !frame.full) return;
    this.synced = true;
    this.last = frame;
    this.guard(() => this.drawing?.receive?.(frame));
    this.redraw();
  }

  private paint(): void {
    const frame = this.last;
    if (!frame || this.width === 0) return;
    if (this.root.clientWidth === 0) return this.redraw(); // a host that changes its theme takes the layout away for a moment
    this.showBadges();
    try {
      this.drawing?.draw(frame);
      if (this.failure) {
        this.failure = "";
        this.showError();
      }
    } catch (error) {
      this.fail(error);
    }
    if (this.acknowledged !== frame.seq) {
      this.acknowledged = frame.seq;
      this.client.painted(frame.seq);
    }
  }

  // The page around

  private watch(): void {
    const resize = new ResizeObserver(() => this.measure());
    resize.observe(this.frame_);
    const sight = new IntersectionObserver((entries) => {
      this.visible = entries[entries.length - 1]?.isIntersecting ?? true;
      this.client.look();
      if (this.visible) this.redraw();
    });
    sight.observe(this.frame_);
    const keys = (event: KeyboardEvent) => this.claim(event);
    window.addEventListener("keydown", keys, true);
    this.ends.push(
      () => window.removeEventListener("keydown", keys, true),
      () => resize.disconnect(),
      () => sight.disconnect(),
      onThemeChange(() => this.recolor()),
    );
  }

  /** Plain keys within the view are the view's: JupyterLab would move between cells with arrows, and delete on "d d". */
  private claim(event: KeyboardEvent): void {
    const target = event.target;
    if (!(target instanceof Element) || !this.frame_.contains(target)) return;
    const command = event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
    target.toggleAttribute("data-lm-suppress-shortcuts", !command); // JupyterLab looks at the focused element first
  }

  private measure(): void {
    if (this.colors.bg === "") this.recolor(); // hosts render before the element is in the page
    const height = Number(this.get("height")) || 0;
    const width = Math.floor(this.frame_.clientWidth);
    this.root.style.height = height > 0 ? `${height}px` : "auto";
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    this.guard(() => this.drawing?.resize?.());
    this.redraw();
  }

  private recolor(): void {
    const colors = colorsOf(this.frame_);
    if (this.colors && colors.fg === this.colors.fg && colors.bg === this.colors.bg) return;
    this.colors = colors;
    this.dark = isDark(colors);
    if (colors.bg !== "") this.send({ kind: "theme", dark: this.dark }); // the static picture has its host's colours
    this.guard(() => this.drawing?.theme?.());
    this.redraw();
  }

  private label(): void {
    const title = String(this.get("title") ?? "");
    this.titleLine.textContent = title;
    this.titleLine.hidden = title === "";
    this.frame_.setAttribute("aria-label", title || "view");
  }

  /** Why the data ended too early, or why there are none. */
  private showNote(): void {
    const text = String(this.get("note") ?? "");
    this.noteBox.textContent = text;
    this.noteBox.hidden = text === "";
  }

  private showError(): void {
    const text = String(this.get("error") ?? "");
    this.errorBox.textContent = text;
    this.errorBox.hidden = text === "";
  }

  private badgesKey = "";

  /** State, pause and stop, and what was lost: always seen when anything was. */
  private showBadges(): void {
    const source = this.last?.meta.source;
    const state = String(this.get("state"));
    const key = JSON.stringify([state, source]);
    if (key === this.badgesKey) return;
    this.badgesKey = key;
    const parts: Node[] = [];
    if (source?.lost) {
      const where = Object.entries(source.lost_by ?? {}).map(([place, count]) => `${whole(count)} ${place}`);
      parts.push(
        el("span", { class: "b-badge b-bad b-lost", title: where.join(", "), role: "status" }, `${whole(source.lost)} lost`),
      );
    }
    if (source?.origin) parts.push(el("span", { class: "b-dim b-origin" }, source.origin));
    if (source?.evicted) {
      const title = "rows that the frame's bound left out";
      parts.push(el("span", { class: "b-dim", title }, `${whole(source.evicted)} older rows left out`));
    }
    if (source?.live && !this.offline && state !== "done") {
      const paused = state === "paused";
      const control = (verb: string) => () => this.send({ kind: "control", verb });
      parts.push(
        el("span", { class: `b-badge ${paused ? "b-warn" : "b-ok"}` }, paused ? "paused" : source.origin ? "replay" : "live"),
        el("button", { click: control(paused ? "resume" : "pause"), class: "b-pause" }, paused ? "Resume" : "Pause"),
        el("button", { click: control("stop"), class: "b-stop", title: "leave a static picture" }, "Freeze"),
      );
    }
    this.badges.replaceChildren(...parts);
  }
}

class Tooltip {
  private readonly box = el("div", { class: "b-tip", role: "tooltip", hidden: true });

  constructor(private readonly root: HTMLElement) {
    root.append(this.box);
  }

  /** Beside the point x, y of the view, within its bounds. */
  show(x: number, y: number, content: Node | string): void {
    if (!this.box.isConnected) this.root.append(this.box); // a family may have emptied the view
    this.box.replaceChildren(content);
    this.box.hidden = false;
    const { offsetWidth: wide, offsetHeight: tall } = this.box;
    const left = x + 12 + wide <= this.root.clientWidth ? x + 12 : Math.max(0, x - 12 - wide);
    const top = Math.max(0, Math.min(y + 12, this.root.clientHeight - tall));
    this.box.style.left = `${left}px`;
    this.box.style.top = `${top}px`;
  }

  hide(): void {
    this.box.hidden = true;
  }
}
