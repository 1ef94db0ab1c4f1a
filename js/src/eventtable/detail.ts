// One row with all its fields, beside the table.

import { el } from "../lib/dom";
import { whole } from "../lib/format";
import type { Field, Provider } from "./meta";

export class Detail {
  private readonly title = el("span", {});
  private readonly fields = el("div", { class: "et-fields", role: "table", tabindex: 0, "aria-label": "fields" });
  readonly pane: HTMLElement;
  private asked = "";

  constructor(
    private readonly provider: Provider,
    closed: () => void,
  ) {
    const close = el("button", { "aria-label": "close the detail", title: "close (Escape)", click: () => (this.close(), closed()) }, "✕");
    this.pane = el("aside", { class: "et-detail", "aria-label": "row detail", hidden: true }, el("header", {}, this.title, close), this.fields);
    this.pane.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Escape") return;
      this.close();
      closed();
    });
  }

  get isOpen(): boolean {
    return !this.pane.hidden;
  }

  async open(row: string): Promise<void> {
    this.asked = row;
    this.pane.hidden = false;
    const fields = await this.provider.detail(row);
    if (this.asked !== row) return; // another was asked for meanwhile
    this.title.textContent = `Row ${whole(BigInt(row))}`;
    this.fields.replaceChildren(
      ...(fields.length > 0 ? fields.map(line) : [el("p", { class: "et-hint", style: "padding:8px" }, "This row is not kept any more.")]),
    );
  }

  close(): void {
    this.asked = "";
    this.pane.hidden = true;
  }
}

function line({ name, value, raw, note }: Field): HTMLElement {
  return el(
    "div",
    { role: "row" },
    el("div", { class: "et-field", role: "rowheader" }, name, note ? el("small", {}, note) : null),
    el("div", { class: `et-value${value === "missing" ? " et-na" : ""}`, role: "cell" }, value),
    el("div", { class: "et-value et-rawvalue", role: "cell", title: raw ? "raw value" : "" }, raw),
  );
}
