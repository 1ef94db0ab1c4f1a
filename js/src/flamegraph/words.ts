// What is said of a frame.

import { el } from "../lib/dom";
import { humanize, percent } from "../lib/format";
import { ORIGINS } from "./paint";
import { label, type Tree, weight } from "./tree";

/** Beside the pointer: its weight, and its shares of what stands above it. */
export function tip(tree: Tree, node: number, zoom: number, unit: string, inverted: boolean): Node {
  const above = tree.parent[node]!;
  const share = (of: number) => percent(tree.value[node]! / (tree.value[of] || 1));
  const lines = [`${humanize(weight(tree, node), unit)}: ${share(0)} of all`];
  if (above > 0) lines.push(`${share(above)} of ${label(tree, above)}`);
  if (zoom > 0 && zoom !== node && zoom !== above) lines.push(`${share(zoom)} of ${label(tree, zoom)}`);
  if (!inverted) lines.push(`self ${humanize(tree.own[node]!, unit)} (${percent(Number(tree.own[node]!) / (tree.value[0] || 1))})`);
  if (tree.base) {
    const now = tree.value[node]! / (tree.value[0] || 1);
    const then = tree.base[node]! / (tree.base[0] || 1);
    const sign = now >= then ? "+" : "-";
    lines.push(`base ${humanize(weight(tree, node, true), unit)}: ${percent(then)}; change ${sign}${(100 * Math.abs(now - then)).toFixed(2)} % of all`);
  }
  const origin = node > 0 ? ` · ${ORIGINS[tree.origins[tree.name[node]!] ?? 3]}` : "";
  return el("div", {}, el("b", {}, label(tree, node)), el("span", { class: "b-dim" }, origin), `\n${lines.join("\n")}`);
}

/** To screen readers. */
export function say(tree: Tree, node: number, unit: string): string {
  const share = percent(tree.value[node]! / (tree.value[0] || 1));
  return `${label(tree, node)}, ${share} of all, ${humanize(weight(tree, node), unit)}, level ${tree.depth[node]! + 1}`;
}

/** The whole, and what it is compared with. */
export function total(tree: Tree, unit: string): string {
  const base = tree.base ? `, compared with ${humanize(weight(tree, 0, true), unit)}` : "";
  return humanize(weight(tree, 0), unit) + base;
}
