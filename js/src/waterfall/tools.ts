// The tools above the picture: which trace, what is searched for, and how it is drawn.

import { el, set } from "../lib/dom";
import { humanize, whole } from "../lib/format";
import type { Meta, TraceInfo } from "./spans";

export class Tools {
  readonly traces = el("select", { class: "wf-trace", "aria-label": "trace", title: "trace" });
  readonly sorts = el("select", { "aria-label": "order of the traces", title: "which traces come first" });
  readonly search = el("input", {
    class: "wf-search",
    type: "search",
    placeholder: "Search",
    "aria-label": "search spans",
    title: "names, services and attributes; Enter: the next one",
  });
  readonly count = el("span", { class: "b-dim", role: "status" });
  readonly path = el("button", { title: "what the trace waited for at each moment" }, "Critical path");
  readonly fold = el("button", { title: "show the roots' children only, or all" }, "Collapse");
  readonly whole = el("button", { title: "the whole time (double-click)" }, "Whole");
  private key = "";

  /** Above the names, where the axis leaves room. */
  readonly corner = el("div", { class: "wf-corner" }, this.fold, this.whole);

  get all(): HTMLElement[] {
    return [this.sorts, this.traces, this.search, this.count, this.path];
  }

  update(meta: Meta, state: { critical: boolean; view: unknown; closed: Set<number> }, offline: boolean): void {
    for (const tool of [this.path, this.fold]) tool.hidden = !meta.tree;
    set(this.path, { "aria-pressed": String(state.critical) });
    this.whole.disabled = state.view === null;
    this.fold.textContent = state.closed.size ? "Expand" : "Collapse";
    this.traces.hidden = !meta.tree || meta.count < 2;
    this.sorts.hidden = this.traces.hidden || offline;
    const key = JSON.stringify([meta.traces, meta.trace, meta.sort]);
    if (key === this.key || this.traces.matches(":focus")) return; // an open list must not change
    this.key = key;
    const option = (value: string, text: string, selected: boolean) => el("option", { value, selected }, text);
    this.sorts.replaceChildren(...meta.sorts.map((sort) => option(sort, `${sort} first`, sort === meta.sort)));
    this.traces.replaceChildren(...meta.traces.map((trace) => option(trace.id, titleOf(trace), trace.id === meta.trace)));
    const more = meta.count - meta.traces.length;
    if (more > 0) this.traces.append(el("option", { disabled: true }, `${whole(more)} more`));
  }
}

function titleOf(trace: TraceInfo): string {
  const parts = [
    `${trace.service} ${trace.name}`.trim() || trace.id,
    humanize(trace.duration, "ns"),
    `${whole(trace.spans)} spans`,
    ...(trace.errors ? [`${whole(trace.errors)} errors`] : []),
  ];
  return parts.join(" · ");
}
