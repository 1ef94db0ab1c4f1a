// The event table: a grid over millions of rows, of which only those in sight travel.

import { openColumns } from "./eventtable/columns";
import { Detail } from "./eventtable/detail";
import { toClipboard } from "./eventtable/clipboard";
import { openFilter } from "./eventtable/filter";
import { follows, Grid } from "./eventtable/grid";
import { Local } from "./eventtable/local";
import type { Block, Cells, Chip, Meta, Provider } from "./eventtable/meta";
import { Popover } from "./eventtable/popover";
import { Remote } from "./eventtable/remote";
import css from "./eventtable/style.css";
import { el } from "./lib/dom";
import { whole } from "./lib/format";
import { type Frame, type Shell, widget } from "./lib/widget";

class EventTable {
  private readonly widths: Record<string, number>;
  private readonly box: HTMLElement;
  private readonly grid: Grid;
  private readonly popover: Popover;
  private readonly empty = el("div", { class: "et-empty", hidden: true });
  private readonly chips = el("span", { class: "b-tools", style: "flex:0 1 auto" });
  private readonly followButton = el("button", { class: "et-follow", title: "keep the newest row in sight (End)" });
  private readonly rawButton = el("button", { class: "et-raw", title: "values as the kernel wrote them" }, "Raw");
  private readonly columnsButton = el("button", { class: "et-columns", "aria-haspopup": "dialog", title: "which columns, in which order" }, "Columns");
  private readonly copyButton = el("button", { class: "et-copy", title: "selected rows, or all that pass the filters, as CSV (Ctrl+C)" }, "Copy");
  private provider: Provider;
  private detail: Detail;
  private drawn: Frame<Meta> | undefined;

  constructor(private readonly shell: Shell<Meta>) {
    this.widths = (shell.state["widths"] ??= {}) as Record<string, number>;
    this.provider = new Remote(shell, (block) => this.take(block));
    this.grid = new Grid(
      {
        need: (start, count, sight) => this.provider.need(start, count, sight),
        follow: (on) => this.provider.follow(on),
        select: (how, row) => this.provider.select(how, row),
        sort: (keys) => this.provider.sort(keys),
        columns: (shown) => this.provider.columns(shown),
        filter: (place, from) => this.filter(place, from),
        open: (row) => void this.detail.open(row),
        escape: () => (this.detail.isOpen ? this.detail.close() : this.provider.select("none")),
        copy: () => void this.copy(),
        resize: () => {},
        width: () => 0,
      },
      this.widths,
      String(shell.get("title") || "events"),
    );
    // The grid has commands of its own with Ctrl (copy, select all), which the shell leaves to the host
    this.box = el("div", { class: "et", "data-lm-suppress-shortcuts": "true" }, el("style", {}, css), this.grid.scroller, this.empty);
    this.popover = new Popover(this.box);
    this.detail = this.newDetail();
    shell.root.prepend(this.box);
    shell.toolbar.append(this.chips, el("span", { class: "et-gap", style: "flex:1" }), this.followButton, this.rawButton, this.columnsButton, this.copyButton);
    this.followButton.addEventListener("click", () => (this.grid.following ? this.unfollow() : this.grid.resume()));
    this.rawButton.addEventListener("click", () => this.provider.raw(!this.grid.meta?.raw));
    this.columnsButton.addEventListener("click", () => this.grid.meta && openColumns(this.popover, this.provider, this.grid.meta, this.columnsButton));
    this.copyButton.addEventListener("click", () => void this.copy());
  }

  private newDetail(): Detail {
    const detail = new Detail(this.provider, () => this.grid.scroller.focus({ preventScroll: true }));
    this.box.append(detail.pane);
    return detail;
  }

  draw(frame: Frame<Meta>): void {
    if (frame !== this.drawn) {
      this.drawn = frame;
      if (this.shell.offline) this.becomeLocal(frame);
      else {
        this.grid.show({ meta: frame.meta, columns: frame.columns as Record<string, Cells> });
        if (this.provider instanceof Remote) this.provider.frame();
      }
    }
    this.paint();
  }

  private becomeLocal(frame: Frame<Meta>): void {
    this.provider = new Local(frame, (block) => this.take(block));
    this.detail.pane.remove();
    this.detail = this.newDetail();
    this.rawButton.hidden = true;
  }

  /** Rows that came beside the frames. */
  private take(block: Block): void {
    this.grid.show(block);
    this.paint();
  }

  private paint(): void {
    this.grid.draw();
    const meta = this.grid.meta;
    if (meta) this.around(meta);
  }

  resize(): void {
    this.popover.place();
  }

  destroy(): void {
    this.popover.close();
  }

  // What stands around the rows

  private aroundKey = "";

  private around(meta: Meta): void {
    const { following } = this.grid;
    const paused = this.shell.get("state") === "paused";
    const key = JSON.stringify([meta.rows, meta.total, meta.filters, meta.linked, meta.newer, meta.sorted, meta.selected, meta.raw, meta.shown, following, paused]);
    if (key === this.aroundKey) return;
    this.aroundKey = key;
    this.shell.status(sentence(meta, paused));
    this.chips.replaceChildren(...meta.filters.map((chip) => this.chip(chip)), ...(meta.linked ? [linked(meta.linked)] : []));
    this.followButton.hidden = !follows(meta);
    this.followButton.textContent = following ? "Following" : "Follow";
    this.followButton.setAttribute("aria-pressed", String(following));
    this.rawButton.setAttribute("aria-pressed", String(meta.raw));
    const hidden = meta.columns.length - meta.shown.length;
    this.columnsButton.textContent = hidden > 0 ? `Columns (${hidden} hidden)` : "Columns";
    this.copyButton.textContent = meta.selected > 0 ? `Copy ${whole(meta.selected)}` : "Copy";
    this.showEmpty(meta);
  }

  private chip(chip: Chip): HTMLElement {
    const remove = () => void this.provider.filter({ column: chip.column, name: chip.name, clear: true });
    return el(
      "span",
      { class: "et-chip" },
      el("span", { title: chip.text }, chip.text),
      el("button", { "aria-label": `remove the filter ${chip.text}`, title: "remove", click: remove }, "✕"),
    );
  }

  private showEmpty(meta: Meta): void {
    this.empty.hidden = meta.rows > 0;
    if (meta.rows > 0) return;
    const filtered = meta.filters.length > 0;
    const clear = el("button", { click: () => void this.provider.filter({ clear: "all" }) }, "Clear the filters");
    const words = filtered || meta.linked ? "no rows pass the filters" : meta.stream ? "no rows yet" : "no rows";
    this.empty.replaceChildren(el("div", {}, words), ...(filtered ? [clear] : []));
  }

  // What a person does

  private unfollow(): void {
    this.grid.following = false;
    this.provider.follow(false);
    this.paint();
  }

  private filter(place: number, from: HTMLElement): void {
    const column = this.grid.meta?.columns[place];
    if (column) void openFilter(this.popover, this.provider, column, place, from);
  }

  private async copy(): Promise<void> {
    const copied = this.provider.copy();
    const how = await toClipboard(copied.then(({ text }) => text), this.box);
    const { rows, of } = await copied;
    const words = `${whole(rows)}${of > rows ? ` of ${whole(of)}` : ""} rows ${how === "copied" ? "copied as CSV" : "to copy"}`;
    this.shell.announce(words);
    const before = this.copyButton.textContent;
    this.copyButton.textContent = words;
    setTimeout(() => (this.copyButton.textContent = before), 2500);
  }
}

/** How many rows, and why there may be others. */
function sentence(meta: Meta, paused: boolean): string {
  const parts = [meta.rows === meta.total ? `${whole(meta.rows)} rows` : `${whole(meta.rows)} of ${whole(meta.total)} rows`];
  const { embedded = 0, of = 0, which = "" } = meta;
  if (embedded < of) parts.push(`this page holds the ${which} ${whole(embedded)} of ${whole(of)}`);
  const newer = meta.newer > 0 ? `${whole(meta.newer)} newer rows` : "";
  if (paused) parts.push(`paused${newer ? `, ${newer}` : ""}`);
  else if (meta.sorted) parts.push(`sorted as of ${meta.sorted}${newer ? `, ${newer}` : ""}`);
  if (meta.selected > 0) parts.push(`${whole(meta.selected)} selected`);
  return parts.join("  ·  ");
}

function linked(text: string): HTMLElement {
  return el("span", { class: "et-chip et-linked", title: `selected in a linked view: ${text}` }, el("span", {}, text));
}

export default widget<Meta>((shell) => new EventTable(shell));
