// The span that was opened: what is known of it stands beside the picture, its attributes as soon as they are there.

import { el } from "../lib/dom";
import type { Frame, Shell } from "../lib/widget";
import { pane } from "./pane";
import type { Meta, Spans } from "./spans";

interface Acts {
  select(by: "row" | "name" | "service", row: number): void;
  zoom(start: number, duration: number): void;
  close(): void;
}

export class Details {
  readonly box = el("aside", { class: "wf-pane", "aria-label": "attributes of the span", hidden: true });
  /** The span's row number. */
  row: number | undefined;
  private values: [string, string][] | null = null;
  private asked: number | undefined;
  private spans: Spans | undefined; // the newest, though what is shown of them may be the same
  private key = "";

  constructor(
    private readonly shell: Shell<Meta>,
    private readonly acts: Acts,
  ) {
    shell.onMessage("attributes", (content) => {
      if (Number(content["row"]) !== this.row) return;
      this.values = content["values"] as [string, string][];
      shell.redraw();
    });
  }

  open(row: number): void {
    if (row === this.row) return;
    this.row = row;
    this.values = null;
    this.asked = undefined;
  }

  close(): void {
    this.row = undefined;
    this.box.hidden = true;
  }

  show(spans: Spans, frame: Frame<Meta>): void {
    const { row, shell, acts } = this;
    const i = spans.at(row);
    if (row === undefined || i < 0) {
      this.box.hidden = true;
      return;
    }
    const { meta } = frame;
    this.spans = spans;
    if (!meta.embedded && this.asked !== row) {
      this.asked = row;
      shell.send({ kind: "attributes", row });
    }
    const attributes = meta.embedded ? spans.attributes(i) : this.values;
    const key = JSON.stringify([meta.trace, row, spans.start[i], spans.duration[i], spans.alone[i], spans.size[i], spans.flags[i], attributes]);
    if (key === this.key && !this.box.hidden) return; // buttons stay while they are clicked
    this.key = key;
    this.box.hidden = false;
    this.box.replaceChildren(...pane(spans, meta, i, attributes, { ...acts, zoom: () => this.zoom() }, shell.offline));
  }

  private zoom(): void {
    const { spans, row } = this;
    const i = spans?.at(row) ?? -1;
    if (spans && i >= 0) this.acts.zoom(spans.start[i] ?? 0, Math.max(spans.duration[i] ?? 0, 1000));
  }
}
