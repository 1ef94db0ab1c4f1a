// How frames look, and what their colours mean.

import { el } from "../lib/dom";
import type { Paint } from "./canvas";
import { DIFFERENCES, diverging, ofName, ofOrigin, ORIGINS } from "./paint";
import type { Settings } from "./tools";
import { drift, label, type Tree } from "./tree";

const HIT = "#b5179e"; // much darker or much lighter than what steps back, for every kind of colour vision
const DIM = 0.45; // beyond it a difference's colour is dark, and its text light

export interface Looks {
  color: Settings["color"];
  dark: boolean;
  /** The root's colour. */
  plain: string;
  zoom: number;
  /** By name, where something is searched for. */
  hits: Uint8Array | undefined;
}

export function paintOf(tree: Tree, { color, dark, plain, zoom, hits }: Looks): Paint {
  const ink = dark ? "#f0f3f6" : "#1f2328";
  const cache = new Map<number, string>();
  const named = (name: number) => {
    let found = cache.get(name);
    if (found === undefined) {
      const text = tree.labels[name] ?? "";
      found = color === "name" ? ofName(text, dark) : ofOrigin(text, tree.origins[name] ?? 3, dark);
      cache.set(name, found);
    }
    return found;
  };
  const above = new Set<number>();
  for (let node = tree.parent[zoom]!; node >= 0; node = tree.parent[node]!) above.add(node);
  const hit = (node: number) => hits !== undefined && node > 0 && hits[tree.name[node]!] === 1;
  return {
    label: (node) => label(tree, node),
    fill: (node) => {
      if (hit(node)) return HIT;
      if (color === "diff" && tree.base) return diverging(drift(tree, node), dark);
      return node === 0 ? plain : named(tree.name[node]!);
    },
    ink: (node) => (hit(node) || (color === "diff" && tree.base && Math.abs(drift(tree, node)) > DIM) ? "#ffffff" : ink),
    faint: (node) => (hits === undefined ? above.has(node) : !hit(node)),
  };
}

/** Each colour with what it stands for. */
export function legendOf(tree: Tree, color: Settings["color"], dark: boolean): Node[] {
  let marks: [string, string][] = [];
  if (color === "diff" && tree.base) {
    marks = DIFFERENCES.map(([t, text]) => [diverging(t, dark), text]);
  } else if (color === "origin") {
    const seen = new Set(tree.origins);
    marks = ORIGINS.map((text, i) => [i, text] as const)
      .filter(([i]) => seen.has(i))
      .map(([i, text]) => [ofOrigin("", i, dark), text]);
  }
  return marks.map(([shade, text]) => el("span", {}, el("i", { style: `background:${shade}` }), text));
}
