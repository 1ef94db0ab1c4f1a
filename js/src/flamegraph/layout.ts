// Where frames stand: only what is wide enough to be seen is visited, so a tree of 100,000 nodes costs what it shows.

import { childrenOf, type Tree } from "./tree";

export interface Box {
  node: number;
  x: number;
  width: number;
  depth: number;
}

/** Boxes by depth, each row from left to right. */
export type Rows = Box[][];

/** What is narrower cannot be seen. */
const NARROWEST = 0.5;

/**
 * The frames above `zoom` over the whole width, and what is below it to scale. `values` is what the widths stand for; with
 * `heaviest`, siblings stand by weight, else by name.
 */
export function layout(tree: Tree, values: Float64Array, zoom: number, width: number, heaviest: boolean): Rows {
  const rows: Rows = [];
  for (let node = tree.parent[zoom] ?? -1; node >= 0; node = tree.parent[node]!) {
    rows[tree.depth[node]!] = [{ node, x: 0, width, depth: tree.depth[node]! }];
  }
  const total = values[zoom] ?? 0;
  if (!(total > 0)) return rows;
  const scale = width / total;
  let row: Box[] = [{ node: zoom, x: 0, width, depth: tree.depth[zoom]! }];
  while (row.length > 0) {
    rows[row[0]!.depth] = row;
    const next: Box[] = [];
    for (const box of row) {
      let { x } = box;
      const children = childrenOf(tree, box.node);
      if (heaviest) children.sort((a, b) => values[b]! - values[a]!);
      for (const node of children) {
        const wide = values[node]! * scale;
        if (wide >= NARROWEST) next.push({ node, x, width: wide, depth: box.depth + 1 });
        x += wide;
      }
    }
    row = next;
  }
  return rows;
}

/** The box at x of a row. */
export function boxAt(row: readonly Box[] | undefined, x: number): Box | undefined {
  if (!row) return undefined;
  let low = 0;
  let high = row.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const box = row[middle]!;
    if (x < box.x) high = middle - 1;
    else if (x >= box.x + box.width) low = middle + 1;
    else return box;
  }
  return undefined;
}
