// Functions by their own weight: the numbers of the picture for those who read rather than look.

import { el } from "../lib/dom";
import { humanize, percent } from "../lib/format";
import { functions, type Tree } from "./tree";

const MOST = 200;

/** A table whose rows are buttons that search for the function. */
export function topTable(tree: Tree, unit: string, search: (name: string) => void): HTMLElement {
  const total = tree.value[0] || 1;
  const all = functions(tree);
  const rows = all.slice(0, MOST).map(({ name, own, total: whole }) => {
    const text = tree.labels[name] ?? "";
    const find = el("button", { class: "f-name", title: `search for ${text}`, click: () => search(text) }, text);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, find),
      el("td", { title: humanize(own, unit) }, percent(own / total)),
      el("td", { title: humanize(whole, unit) }, percent(whole / total)),
    );
  });
  const caption = all.length > MOST ? `first ${MOST} of ${all.length} functions` : `${all.length} functions`;
  return el(
    "table",
    { class: "f-top" },
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...["function", "self", "total"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows),
  );
}
