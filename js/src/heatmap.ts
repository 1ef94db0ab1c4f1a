// Time by value: a canvas of cells under an SVG of axes, selection and pointer. Columns arrive as they change.

import { el, svg } from "./lib/dom";
import { Pointing } from "./lib/pointing";
import { type Frame, type Numbers, type Shell, widget } from "./lib/widget";
import { Cells } from "./heatmap/cells";
import { MAPPINGS } from "./heatmap/colors";
import { type Cell, type Meta, Plot, type Rectangle } from "./heatmap/plot";
import { legend, losses, nothing, pointer, selection, times, values } from "./heatmap/scene";
import { Store } from "./heatmap/store";

export default widget<Meta>((shell) => {
  const view = new View(shell);
  return {
    receive: (frame) => view.receive(frame),
    draw: () => view.draw(),
    destroy: () => view.destroy(),
  };
});

interface Held {
  from: Cell;
  to: Cell;
}

class View extends Pointing<Meta, Cell, Held> {
  private readonly store = new Store();
  private readonly cells = new Cells();
  private readonly overlay = svg("svg", { class: "b-heat", tabindex: 0, role: "img" });
  private readonly mappingPick = el(
    "select",
    { "aria-label": "from counts to colours", change: () => this.shell.set("mapping", this.mappingPick.value) },
    ...MAPPINGS.map((name) => el("option", { value: name }, `${name} colours`)),
  );
  private readonly clearButton = el("button", { click: () => this.clear(), hidden: true }, "clear selection");
  private plot: Plot | undefined; // as soon as a frame came
  private anchor: Cell | undefined;

  constructor(shell: Shell<Meta>) {
    super(shell);
    shell.root.append(el("style", {}, CSS), this.cells.element, this.overlay);
    shell.toolbar.append(this.mappingPick, this.clearButton);
    shell.onChange("mapping", () => shell.redraw());
    this.listen(this.overlay);
  }

  destroy(): void {
    this.cells.element.remove();
    this.overlay.remove();
  }

  receive(frame: Frame<Meta>): void {
    const { meta, columns } = frame;
    const all = { ...this.plot?.meta, ...meta }; // later frames say only what is new
    if (this.plot) this.plot.meta = all;
    else this.plot = new Plot(this.shell, this.store, all);
    this.store.take({
      binning: all.binning,
      first: meta.first,
      stop: meta.stop,
      from: meta.from,
      buckets: all.ranges.length,
      counts: columns["counts"] as Numbers,
      measured: columns["measured"] as Numbers | undefined,
      lost: columns["lost"] as Numbers | undefined,
    });
  }

  draw(): void {
    const { plot, shell, store, cursor, drag } = this;
    if (!plot) return;
    const { meta } = plot;
    const { most, total } = store.extent(plot.start);
    this.mappingPick.value = plot.mapping;
    this.clearButton.hidden = meta.selected === null;
    this.cells.paint(plot, most);
    this.overlay.setAttribute("viewBox", `0 0 ${shell.width} ${shell.height}`);
    this.overlay.setAttribute("aria-label", plot.spoken(total));
    const dragged = drag && rectangle(drag.from, drag.to);
    this.overlay.replaceChildren(
      ...(store.stop === store.first
        ? [nothing(plot)]
        : [...times(plot), ...losses(plot), ...selection(plot, dragged), ...(cursor ? pointer(plot, cursor) : [])]),
      ...values(plot),
      ...legend(plot, most),
    );
    const notes = [`${plot.amount(total)} shown`, meta.note, meta.filter && `filtered: ${meta.filter}`];
    shell.status(notes.filter(Boolean).join(" · "));
    if (cursor) shell.tooltip.show(plot.left(cursor.column + 1), plot.bottom(cursor.bucket), plot.told(cursor).join("\n"));
  }

  // Pointing

  private at(event: PointerEvent, held = false): Cell | undefined {
    const { plot, store } = this;
    if (!plot) return undefined;
    const box = this.overlay.getBoundingClientRect();
    const { x, y, wide, tall } = plot.box;
    const buckets = plot.meta.ranges.length;
    const column = plot.start + Math.floor(((event.clientX - box.left - x) / wide) * plot.meta.width);
    const bucket = Math.floor(((y + tall - (event.clientY - box.top)) / tall) * buckets);
    const inside = column >= plot.start && column < store.stop && bucket >= 0 && bucket < buckets;
    if (!inside && !held) return undefined;
    return plot.within({ column, bucket });
  }

  protected moved(event: PointerEvent): void {
    const cell = this.at(event, this.drag !== undefined);
    if (cell?.column === this.cursor?.column && cell?.bucket === this.cursor?.bucket) return;
    this.cursor = cell;
    if (this.drag && cell) this.drag.to = cell;
    if (!cell) this.shell.tooltip.hide();
    this.shell.redraw();
  }

  protected pressed(event: PointerEvent): void {
    const cell = this.at(event);
    if (!cell || event.button !== 0) return;
    this.overlay.setPointerCapture(event.pointerId);
    const anchor = event.shiftKey ? this.anchor : undefined;
    this.drag = { from: anchor ?? cell, to: cell };
    this.shell.redraw();
  }

  protected dragged({ from, to }: Held): void {
    this.select(from, to);
  }

  private select(from: Cell, to: Cell): void {
    const { plot } = this;
    if (!plot) return;
    this.anchor = from;
    const { columns, buckets } = rectangle(from, to);
    this.send({ columns, buckets });
    const [start, stop] = columns.map((column) => plot.clock(plot.moment(column)));
    const [low, high] = [plot.meta.ranges[buckets[0]], plot.meta.ranges[buckets[1] - 1]];
    this.shell.announce(`selected ${start} to ${stop}, ${low} to ${high}`);
  }

  private clear(): void {
    this.anchor = undefined;
    this.send(null);
    this.shell.announce("selection cleared");
  }

  private send(selected: Rectangle | null): void {
    const { plot, shell } = this;
    if (!plot) return;
    const { columns, buckets } = selected ?? { columns: null, buckets: null };
    shell.send({ kind: "select", binning: plot.meta.binning, columns, buckets });
    if (shell.offline) plot.meta.selected = selected;
    shell.redraw();
  }

  protected key(event: KeyboardEvent): void {
    const { plot, store } = this;
    if (!plot || store.stop === store.first) return;
    const cell = this.cursor ?? { column: store.stop, bucket: 0 };
    const step = STEPS[event.key];
    if (step) {
      this.cursor = plot.within({ column: cell.column + step[0], bucket: cell.bucket + step[1] });
      this.shell.announce(plot.told(this.cursor).join(", "));
      if (event.shiftKey) this.select(this.anchor ?? plot.within(cell), this.cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      const here = plot.within(cell);
      this.select(here, here);
    } else if (event.key === "Escape") {
      this.clear();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.shell.redraw();
  }
}

const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  PageUp: [-10, 0],
  PageDown: [10, 0],
  Home: [-1e9, 0],
  End: [1e9, 0],
};

function rectangle(a: Cell, b: Cell): Rectangle {
  return {
    columns: [Math.min(a.column, b.column), Math.max(a.column, b.column) + 1],
    buckets: [Math.min(a.bucket, b.bucket), Math.max(a.bucket, b.bucket) + 1],
  };
}

const CSS = `
.bpfnb .b-view .b-heat-cells,.bpfnb .b-view svg.b-heat{position:absolute;inset:0;width:100%;height:100%;max-width:none;margin:0}
.b-heat{font-size:11px;user-select:none;touch-action:none;cursor:crosshair}
.b-heat:focus:not(:focus-visible){outline:none}.b-heat:focus-visible{outline-offset:-2px}
.b-heat text{fill:var(--b-dim)}
.b-heat .b-empty{font-size:14px}
.b-heat .b-grid{stroke:var(--b-line)}.b-heat .b-hatch{stroke:var(--b-dim);opacity:.5;stroke-width:1.5}
.b-heat .b-swatch{stroke:var(--b-line)}
.b-heat .b-loss{fill:var(--b-bad)}
.b-heat .b-veil{fill:rgb(14 9 22/.6)}
.b-heat .b-box{fill:none;stroke:#fff;stroke-width:1.5;paint-order:stroke;filter:drop-shadow(0 0 1px #000)}
.b-heat .b-here{fill:none;stroke:#fff;filter:drop-shadow(0 0 1px #000)}
`;
