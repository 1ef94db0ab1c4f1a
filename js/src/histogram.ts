// Bars of counts by bucket, live: as small multiples or stacked, with percentiles, pointing and selecting.

import { el, svg } from "./lib/dom";
import { percent, whole } from "./lib/format";
import { Pointing } from "./lib/pointing";
import { type Frame, type Shell, widget } from "./lib/widget";
import { merged, type Span } from "./histogram/scale";
import { type Bar, BOTTOM, type Drag, type Meta, ordered, rows, Scene, sum, values } from "./histogram/scene";

export default widget<Meta>((shell) => {
  const view = new View(shell);
  return {
    draw: (frame) => view.draw(frame),
    destroy: () => view.destroy(),
  };
});

type Held = Drag & { keep: boolean; group: number };

class View extends Pointing<Meta, Bar, Held> {
  private readonly picture = svg("svg", { width: "100%", height: "100%", tabindex: 0, role: "img", class: "b-hist" });
  private readonly logButton = el("button", { click: () => this.shell.set("log", !this.log) }, "log counts");
  private readonly layoutButton = el("button", {
    click: () => this.shell.set("arrangement", this.scene?.stacked ? "multiples" : "stacked"),
  });
  private readonly clearButton = el("button", { click: () => this.clear(), hidden: true }, "clear selection");
  private scene: Scene | undefined; // as soon as a frame came

  constructor(shell: Shell<Meta>) {
    super(shell);
    const style = el("style", {}, CSS);
    shell.root.append(style, this.picture);
    shell.toolbar.append(this.logButton, this.layoutButton, this.clearButton);
    shell.onChange("log", () => shell.redraw());
    shell.onChange("arrangement", () => shell.redraw());
    this.listen(this.picture);
  }

  destroy(): void {
    this.picture.remove();
  }

  private get meta(): Meta | undefined {
    return this.scene?.meta;
  }

  private get panels() {
    return this.scene?.panels ?? [];
  }

  private get log(): boolean {
    return this.shell.get<boolean>("log") === true;
  }

  draw(frame: Frame<Meta>): void {
    const { shell } = this;
    const { meta, columns } = frame;
    const groups = meta.groups.length;
    const stacked = shell.get<string>("arrangement") === "stacked" && groups > 1;
    const behind = columns["behind"] && rows(columns["behind"] as BigUint64Array, groups);
    const scene = new Scene(shell, meta, rows(columns["counts"] as BigUint64Array, groups), behind, this.log, stacked);
    this.scene = scene;
    this.logButton.setAttribute("aria-pressed", String(this.log));
    this.layoutButton.hidden = groups < 2;
    this.layoutButton.textContent = stacked ? "side by side" : "stacked";
    this.clearButton.hidden = meta.selected.length === 0 && meta.chosen.length === 0;
    this.picture.setAttribute("viewBox", `0 0 ${shell.width} ${shell.height}`);
    this.picture.setAttribute("aria-label", this.spoken());
    this.picture.replaceChildren(...scene.draw(this.cursor, this.drag));
    const missing = meta.missing ? `${whole(meta.missing)} missing values (NaN) are in no bucket` : "";
    const notes = [values(scene.total), meta.note, missing, meta.filter && `filtered: ${meta.filter}`];
    shell.status(notes.filter(Boolean).join(" · "));
    if (this.cursor) this.tell();
  }

  private spoken(): string {
    const { meta, panels } = this.scene ?? { meta: undefined, panels: [] };
    const what = panels.map((panel) => {
      const found = panel.marks.map((mark) => mark.label).join(", ");
      return `${panel.title ? `${panel.title}: ` : ""}${values(panel.total)}${found ? `, ${found}` : ""}`;
    });
    return `Histogram of ${meta?.name || "values"}. ${what.join("; ")}. Arrow keys move over the bars, Enter selects.`;
  }

  // Pointing

  private at(event: PointerEvent): { panel: number; bucket: number } | undefined {
    const box = this.picture.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const panel = this.panels.findIndex(
      (each) => x >= each.x && x < each.x + each.wide && y >= each.y - 20 && y < each.y + each.tall + BOTTOM,
    );
    const found = this.panels[panel];
    if (!found) return undefined;
    return { panel, bucket: Math.floor(((x - found.x) / found.wide) * found.counts.length) };
  }

  protected moved(event: PointerEvent): void {
    const at = this.at(event);
    if (this.drag) {
      const panel = this.panels[this.drag.panel];
      if (!panel) return;
      const x = event.clientX - this.picture.getBoundingClientRect().left;
      const bucket = Math.floor(((x - panel.x) / panel.wide) * panel.counts.length);
      this.drag.to = Math.min(panel.counts.length - 1, Math.max(0, bucket));
      this.cursor = { panel: this.drag.panel, bucket: this.drag.to };
    } else if (at?.panel === this.cursor?.panel && at?.bucket === this.cursor?.bucket) {
      return;
    } else {
      this.cursor = at;
    }
    if (!this.cursor) this.shell.tooltip.hide();
    this.shell.redraw();
  }

  protected pressed(event: PointerEvent): void {
    const at = this.at(event);
    if (!at || event.button !== 0 || !this.meta?.selectable) return;
    this.picture.setPointerCapture(event.pointerId);
    const group = (event.target as Element).getAttribute("data-group");
    this.drag = {
      panel: at.panel,
      from: at.bucket,
      to: at.bucket,
      keep: event.shiftKey || event.ctrlKey || event.metaKey,
      group: group === null ? (this.panels[at.panel]?.group ?? -1) : this.meta.groups.findIndex((g) => g.label === group),
    };
    this.shell.redraw();
  }

  protected dragged({ from, to, group, keep }: Held): void {
    this.select(ordered(from, to), group, keep);
  }

  private select(span: Span, group: number, keep: boolean): void {
    const { meta } = this;
    if (!meta?.selectable) return;
    const before = keep ? meta.selected.map(([a, b]): Span => [Math.floor(a), Math.ceil(b)]) : [];
    const found = meta.groups[group];
    const named = found && !found.others && meta.groups.length > 1 ? [found.label] : [];
    const groups = keep && meta.chosen.length === 0 && meta.selected.length > 0 ? [] : [...(keep ? meta.chosen : []), ...named];
    const buckets = merged([...before, span]);
    this.send(buckets, [...new Set(groups)]);
    const ranges = `${meta.ranges[span[0]]}${span[1] - span[0] > 1 ? ` to ${meta.ranges[span[1] - 1]}` : ""}`;
    this.shell.announce(`selected ${ranges}${groups.length ? ` of ${groups.join(", ")}` : ""}`);
  }

  private send(buckets: Span[], groups: string[]): void {
    if (!this.meta) return;
    this.shell.send({ kind: "select", binning: this.meta.binning, buckets, groups });
    if (this.shell.offline) {
      this.meta.selected = buckets;
      this.meta.chosen = groups;
    }
    this.shell.redraw();
  }

  private clear(): void {
    this.send([], []);
    this.shell.announce("selection cleared");
  }

  protected key(event: KeyboardEvent): void {
    const { meta } = this;
    if (!meta) return;
    const size = meta.ranges.length;
    const cursor = this.cursor ?? { panel: 0, bucket: -1 };
    const moves: Record<string, () => void> = {
      ArrowRight: () => (this.cursor = { ...cursor, bucket: Math.min(size - 1, cursor.bucket + 1) }),
      ArrowLeft: () => (this.cursor = { ...cursor, bucket: Math.max(0, cursor.bucket - 1) }),
      ArrowDown: () => (this.cursor = { panel: Math.min(this.panels.length - 1, cursor.panel + 1), bucket: Math.max(0, cursor.bucket) }),
      ArrowUp: () => (this.cursor = { panel: Math.max(0, cursor.panel - 1), bucket: Math.max(0, cursor.bucket) }),
      Home: () => (this.cursor = { ...cursor, bucket: 0 }),
      End: () => (this.cursor = { ...cursor, bucket: size - 1 }),
    };
    const move = moves[event.key];
    if (move) {
      move();
      this.shell.announce(this.words().join(", "));
      if (event.shiftKey && this.cursor) {
        this.select([this.cursor.bucket, this.cursor.bucket + 1], this.panels[this.cursor.panel]?.group ?? -1, true);
      }
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor && this.cursor.bucket >= 0) {
      const keep = event.shiftKey || event.ctrlKey || event.metaKey;
      this.select([this.cursor.bucket, this.cursor.bucket + 1], this.panels[this.cursor.panel]?.group ?? -1, keep);
    } else if (event.key === "Escape") {
      this.clear();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.shell.redraw();
  }

  /** What stands under the cursor, line by line. */
  private words(): string[] {
    const { cursor, meta } = this;
    const panel = cursor && this.panels[cursor.panel];
    if (!panel || !meta || cursor.bucket < 0 || cursor.bucket >= panel.counts.length) return [];
    const of = (part: bigint) => (panel.total > 0n ? percent(Number(part) / Number(panel.total)) : "-");
    const count = panel.counts[cursor.bucket] ?? 0n;
    const lines = [meta.ranges[cursor.bucket] ?? ""];
    if (panel.title) lines[0] = `${panel.title}: ${lines[0]}`;
    lines.push(`${values(count)} · ${of(count)}`);
    lines.push(`${of(sum(panel.counts.slice(0, cursor.bucket + 1)))} up to here`);
    if (panel.behind) lines.push(`${whole(panel.behind[cursor.bucket] ?? 0n)} without the filter`);
    if (this.scene?.stacked) {
      this.scene.counts.forEach((counts, i) => {
        const part = counts[cursor.bucket] ?? 0n;
        if (part > 0n) lines.push(`${meta.groups[i]?.label}: ${whole(part)}`);
      });
    }
    return lines;
  }

  private tell(): void {
    const { cursor } = this;
    const panel = cursor && this.panels[cursor.panel];
    const lines = this.words();
    if (!panel || lines.length === 0) {
      this.shell.tooltip.hide();
      return;
    }
    const step = panel.wide / panel.counts.length;
    this.shell.tooltip.show(panel.x + (cursor.bucket + 1) * step - 8, panel.y, lines.join("\n"));
  }
}

const CSS = `
.bpfnb .b-view svg.b-hist{display:block;max-width:none;height:100%;margin:0;font-size:11px;user-select:none;touch-action:none;cursor:crosshair}
.b-hist:focus:not(:focus-visible){outline:none}.b-hist:focus-visible{outline-offset:-2px}
.b-hist text{fill:var(--b-dim)}
.b-hist .b-strong,.b-hist .b-marktext{fill:var(--b-fg)}.b-hist .b-strong{font-weight:600;font-size:12px}
.b-hist .b-marktext{paint-order:stroke;stroke:var(--b-bg);stroke-width:3px}
.b-hist .b-empty{font-size:14px}
.b-hist .b-grid{stroke:var(--b-line);shape-rendering:crispEdges}
.b-hist .b-mark{stroke:var(--b-fg);stroke-dasharray:3 3;opacity:.8}
.b-hist .b-hbar{fill:var(--b-accent)}.b-hist .b-behind{fill:var(--b-line)}
.b-hist .b-dimmed{opacity:.35}
.b-hist .b-selected{fill:var(--b-accent);opacity:.16}
.b-hist .b-cursor{fill:var(--b-fg);opacity:.09}
.b-hist .b-cursor,.b-hist .b-selected,.b-hist .b-mark{pointer-events:none}
`;
