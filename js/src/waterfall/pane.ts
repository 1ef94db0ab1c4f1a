// What is known of one span: times, what is odd about it, and all attributes.

import { el } from "../lib/dom";
import { humanize } from "../lib/format";
import type { Meta, Spans } from "./spans";

export interface Acts {
  select(by: "row" | "name" | "service", row: number): void;
  zoom(): void;
  close(): void;
}

export function pane(spans: Spans, meta: Meta, i: number, attributes: [string, string][] | null, acts: Acts, offline: boolean): Node[] {
  const row = spans.row[i] ?? -1;
  const act = (text: string, title: string, click: () => void) => el("button", { click, title }, text);
  const duration = spans.duration[i] ?? 0;
  const facts: [string, string][] = [
    ["service", spans.service.at(i)],
    ["kind", spans.kind.at(i)],
    ["status", spans.status.at(i)],
    ["starts at", `+${humanize(spans.start[i] ?? 0, "ns", 6)}`],
    ["duration", duration ? humanize(duration, "ns", 6) : "none: an event"],
  ];
  if (meta.tree) {
    const alone = spans.alone[i] ?? 0;
    const share = duration ? ` (${((100 * alone) / duration).toFixed(1)} %)` : "";
    facts.push(["self time", humanize(alone, "ns", 6) + share], ["descendants", String((spans.size[i] ?? 1) - 1)]);
  }
  const rows = (pairs: [string, string][]) =>
    pairs.filter(([, text]) => text !== "").map(([name, text]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, text)));
  const buttons = [act("Zoom", "zoom to this span", () => acts.zoom())];
  if (!offline) {
    buttons.push(act("Select", "select this span's row in all linked views", () => acts.select("row", row)));
    if (meta.roles.name) buttons.push(act("All of this name", "select by name", () => acts.select("name", row)));
    if (meta.roles.service) buttons.push(act("All of this service", "select by service", () => acts.select("service", row)));
  }
  buttons.push(act("Close", "close the attributes (Escape)", () => acts.close()));
  return [
    el("h4", {}, spans.name.at(i) || "span"),
    ...spans.oddities(i).map(({ text, kind }) => el("div", { class: kind }, text)),
    el("div", { class: "wf-acts" }, ...buttons),
    el("table", { "aria-label": "the span" }, el("tbody", {}, ...rows(facts))),
    el("table", { "aria-label": "its attributes", style: "margin-top:8px" }, el("tbody", {}, ...(attributes ? rows(attributes) : []))),
    ...(attributes ? [] : [el("div", { class: "b-dim" }, "…")]),
  ];
}
