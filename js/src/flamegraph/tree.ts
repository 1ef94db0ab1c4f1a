// A weighed tree in pre-order, as bpfnb/views/flames/tree.py builds it, and the other trees that its stacks make.

import { type Column, Dict, type Numbers } from "../lib/columns";

/** Whole numbers up to 2^53 and fractions, or 64-bit integers beyond. */
export type Weights = Float64Array | BigUint64Array;

export interface Tree {
  /** Texts of the names, and where each comes from (see paint.ts). */
  labels: string[];
  origins: Uint8Array;
  /** A node's name (-1: the root), parent (-1), depth, and the node after its last descendant. */
  name: Int32Array;
  parent: Int32Array;
  depth: Int32Array;
  end: Int32Array;
  /** What ended in the node itself; with all descendants, to lay out; the same of what it is compared with. */
  own: Weights;
  value: Float64Array;
  baseOwn?: Weights | undefined;
  base?: Float64Array | undefined;
}

export const ROOT = "all";

export function treeOf(columns: Record<string, Column>): Tree {
  const names = columns.name as Dict;
  const parent = columns.parent as Int32Array;
  const count = parent.length;
  const depth = new Int32Array(count);
  for (let node = 1; node < count; node++) depth[node] = depth[parent[node]!]! + 1;
  return weighed({
    labels: names.labels,
    origins: columns.origin as Uint8Array,
    name: names.codes,
    parent,
    depth,
    end: endsOf(parent),
    own: columns.own as Weights,
    baseOwn: columns.base as Weights | undefined,
  });
}

/** The same tree with the weights that changed: `own_at` says where, `own` what is there now; so of the base. */
export function updated(tree: Tree, columns: Record<string, Column>): Tree {
  const put = (weights: Weights, name: string): Weights => {
    const [at, values] = [columns[`${name}_at`] as Uint32Array, columns[name] as Weights];
    const now = weights.slice();
    for (let i = 0; i < at.length; i++) now[at[i]!] = values[i]!;
    return now;
  };
  return weighed({ ...tree, own: put(tree.own, "own"), baseOwn: tree.baseOwn && put(tree.baseOwn, "base") });
}

/** How many nodes weigh anything, without the root. */
export function used(tree: Tree): number {
  let count = 0;
  for (let node = 1; node < tree.parent.length; node++) if (tree.value[node]! > 0 || (tree.base?.[node] ?? 0) > 0) count++;
  return count;
}

export function label(tree: Tree, node: number): string {
  return tree.labels[tree.name[node] ?? -1] ?? ROOT;
}

/** The names from below the root to the node. */
export function pathOf(tree: Tree, node: number): string[] {
  const path: string[] = [];
  for (let at = node; at > 0; at = tree.parent[at]!) path.push(label(tree, at));
  return path.reverse();
}

/** The node at the end of a path, or of as much of it as there is. */
export function find(tree: Tree, path: readonly string[]): number {
  let node = 0;
  for (const name of path) {
    const child = childrenOf(tree, node).find((at) => label(tree, at) === name);
    if (child === undefined) break;
    node = child;
  }
  return node;
}

export function childrenOf(tree: Tree, node: number): number[] {
  const children: number[] = [];
  for (let child = node + 1; child < tree.end[node]!; child = tree.end[child]!) children.push(child);
  return children;
}

/** Exactly what a node weighs, with its descendants. */
export function weight(tree: Tree, node: number, base = false): number | bigint {
  const own = base ? tree.baseOwn : tree.own;
  if (own instanceof BigUint64Array) {
    let sum = 0n;
    for (let at = node; at < tree.end[node]!; at++) sum += own[at]!;
    return sum;
  }
  return (base ? tree.base : tree.value)?.[node] ?? 0;
}

/** The same stacks leaf first (callers below each function), or with direct recursion as one frame. */
export function turned(tree: Tree, inverted: boolean, merged: boolean): Tree {
  if (!inverted && !merged) return tree;
  const grown = new Grown(tree);
  const stack: number[] = [];
  for (let node = 0; node < tree.parent.length; node++) {
    if (!holds(tree.own, node) && !(tree.baseOwn && holds(tree.baseOwn, node))) continue;
    stack.length = 0;
    for (let at = node; at > 0; at = tree.parent[at]!) {
      const name = tree.name[at]!;
      if (!merged || stack[stack.length - 1] !== name) stack.push(name);
    }
    if (!inverted) stack.reverse();
    grown.add(stack, node);
  }
  return grown.tree();
}

export interface Cells {
  node: Numbers;
  step: Numbers;
  weight: Numbers | BigUint64Array;
}

/** The tree of some steps of time, compared with others, counted from the weights of stacks by steps. */
export function counted(tree: Tree, cells: Cells, window: readonly number[] | null, base: readonly number[] | null): Tree {
  const own = like(cells.weight, tree.parent.length);
  const baseOwn = base ? like(cells.weight, tree.parent.length) : tree.baseOwn;
  for (let i = 0; i < cells.node.length; i++) {
    const step = cells.step[i]!;
    if (!window || (step >= window[0]! && step < window[1]!)) add(own, cells.node[i]!, cells.weight, i);
    if (base && baseOwn && step >= base[0]! && step < base[1]!) add(baseOwn, cells.node[i]!, cells.weight, i);
  }
  return weighed({ ...tree, own, baseOwn });
}

/** The weight of the stacks that hold a name that is hit, each stack once. */
export function matched(tree: Tree, hits: Uint8Array): number {
  let total = 0;
  for (let node = 1; node < tree.parent.length; ) {
    if (hits[tree.name[node]!]) {
      total += tree.value[node]!;
      node = tree.end[node]!;
    } else node++;
  }
  return total;
}

export interface Function {
  name: number;
  own: number;
  total: number;
}

/** Names by their own weight, largest first; with callees counted once a stack, however often a name recurs in it. */
export function functions(tree: Tree): Function[] {
  const own = new Float64Array(tree.labels.length);
  const total = new Float64Array(tree.labels.length);
  const until = new Int32Array(tree.labels.length);
  for (let node = 1; node < tree.parent.length; node++) {
    const name = tree.name[node]!;
    own[name]! += Number(tree.own[node]!);
    if (until[name]! > node) continue;
    until[name] = tree.end[node]!;
    total[name]! += tree.value[node]!;
  }
  return Array.from(own, (weight, name) => ({ name, own: weight, total: total[name]! }))
    .filter((found) => found.total > 0)
    .sort((a, b) => b.own - a.own || b.total - a.total || a.name - b.name);
}

/** The share's change against the base: -1 a quarter or less, 0 equal, 1 four times or more. As Tree.drift in Python. */
export function drift(tree: Tree, node: number): number {
  if (!tree.base) return 0;
  const now = tree.value[node]! / Math.max(tree.value[0]!, 1e-300) + 1e-3;
  const then = tree.base[node]! / Math.max(tree.base[0]!, 1e-300) + 1e-3;
  return Math.min(1, Math.max(-1, Math.log2(now / then) / 2));
}

// Building

function weighed(tree: Omit<Tree, "value" | "base">): Tree {
  return {
    ...tree,
    value: summed(tree.own, tree.parent),
    base: tree.baseOwn && summed(tree.baseOwn, tree.parent),
  };
}

function summed(own: Weights, parent: Int32Array): Float64Array {
  const value = Float64Array.from(own as ArrayLike<number | bigint>, Number);
  for (let node = parent.length - 1; node > 0; node--) value[parent[node]!]! += value[node]!;
  return value;
}

function endsOf(parent: Int32Array): Int32Array {
  const end = new Int32Array(parent.length);
  for (let node = parent.length - 1; node >= 0; node--) {
    if (end[node]! <= node) end[node] = node + 1;
    const above = parent[node]!;
    if (above >= 0 && end[above]! < end[node]!) end[above] = end[node]!;
  }
  return end;
}

function like(weights: Cells["weight"], count: number): Weights {
  return weights instanceof BigUint64Array ? new BigUint64Array(count) : new Float64Array(count);
}

function add(to: Weights, place: number, from: Cells["weight"], at: number): void {
  if (to instanceof BigUint64Array) to[place]! += BigInt(from[at]!);
  else to[place]! += Number(from[at]!);
}

function holds(weights: Weights, node: number): boolean {
  return Number(weights[node]!) > 0;
}

/** A tree that grows by a stack at a time, then is put into pre-order, siblings by name. */
class Grown {
  private readonly nodes = new Map<number, number>();
  private readonly names: number[] = [-1];
  private readonly parents: number[] = [-1];
  private readonly ends: [number, number][] = [];

  constructor(private readonly source: Tree) {}

  add(stack: number[], from: number): void {
    let node = 0;
    for (const name of stack) {
      const key = node * this.source.labels.length + name;
      let next = this.nodes.get(key);
      if (next === undefined) {
        next = this.names.length;
        this.nodes.set(key, next);
        this.names.push(name);
        this.parents.push(node);
      }
      node = next;
    }
    this.ends.push([node, from]);
  }

  tree(): Tree {
    const { source } = this;
    const count = this.names.length;
    const order = this.preorder();
    const place = new Int32Array(count);
    order.forEach((node, at) => (place[node] = at));
    const parent = Int32Array.from(order, (node) => (node === 0 ? -1 : place[this.parents[node]!]!));
    const depth = new Int32Array(count);
    for (let node = 1; node < count; node++) depth[node] = depth[parent[node]!]! + 1;
    const own = like(source.own, count);
    const baseOwn = source.baseOwn && like(source.baseOwn, count);
    for (const [node, from] of this.ends) {
      add(own, place[node]!, source.own, from);
      if (baseOwn && source.baseOwn) add(baseOwn, place[node]!, source.baseOwn, from);
    }
    const name = Int32Array.from(order, (node) => this.names[node]!);
    return weighed({ labels: source.labels, origins: source.origins, name, parent, depth, end: endsOf(parent), own, baseOwn });
  }

  private preorder(): Int32Array {
    const rank = new Int32Array(this.source.labels.length);
    [...this.source.labels.keys()]
      .sort((a, b) => (this.source.labels[a]! < this.source.labels[b]! ? -1 : 1))
      .forEach((code, at) => (rank[code] = at));
    const children: number[][] = this.names.map(() => []);
    for (let node = 1; node < this.names.length; node++) children[this.parents[node]!]!.push(node);
    const order = new Int32Array(this.names.length);
    const todo = [0];
    for (let at = 0; todo.length > 0; at++) {
      const node = todo.pop()!;
      order[at] = node;
      todo.push(...children[node]!.sort((a, b) => rank[this.names[b]!]! - rank[this.names[a]!]!));
    }
    return order;
  }
}
