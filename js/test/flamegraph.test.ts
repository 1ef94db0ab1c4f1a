import assert from "node:assert/strict";
import { test } from "node:test";
import { boxAt, layout } from "../src/flamegraph/layout";
import { hashed } from "../src/flamegraph/paint";
import { hitsOf, query } from "../src/flamegraph/search";
import { counted, find, functions, label, matched, pathOf, type Tree, treeOf, turned, updated, used, weight, type Weights } from "../src/flamegraph/tree";
import { Dict } from "../src/lib/columns";

// all(0) > a 3+.. : "a" 1, "a;b" 2, "a;b;c" 4, "a;x;x;b" 8, "c;a" 16
const LABELS = ["a", "b", "c", "x"];
const NODES: [number, number, number][] = [
  [-1, -1, 0], [0, 0, 1], [1, 1, 2], [2, 2, 4], [3, 1, 0], [3, 4, 0], [1, 5, 8], [2, 0, 0], [0, 7, 16],
];
const tree = (own: Weights = Float64Array.from(NODES, (n) => n[2]), base?: Weights): Tree =>
  treeOf({
    name: new Dict(Int32Array.from(NODES, (n) => n[0]), LABELS),
    parent: Int32Array.from(NODES, (n) => n[1]),
    origin: new Uint8Array(4),
    own,
    ...(base ? { base } : {}),
  });
const stacks = (t: Tree) =>
  Object.fromEntries(
    Array.from(t.parent, (_, n) => [pathOf(t, n).join(";"), Number(t.own[n])] as const).filter(([, w]) => w > 0),
  );

test("a node weighs what ended in it and below it", () => {
  const t = tree();
  assert.deepEqual([...t.value], [31, 15, 6, 4, 8, 8, 8, 16, 16]);
  assert.deepEqual([...t.end], [9, 7, 4, 4, 7, 7, 7, 9, 9]);
  assert.equal(label(t, 0), "all");
  assert.equal(find(t, ["a", "x", "x"]), 5);
  assert.equal(find(t, ["a", "gone"]), 1);
});

test("inverted stacks are the same stacks read from the leaf", () => {
  const t = turned(tree(), true, false);
  assert.deepEqual(stacks(t), { a: 1, "b;a": 2, "c;b;a": 4, "b;x;x;a": 8, "a;c": 16 });
  assert.equal(t.value[0], 31);
  assert.deepEqual(stacks(turned(t, true, false)), stacks(tree()));
});

test("merged recursion keeps the weight", () => {
  assert.deepEqual(stacks(turned(tree(), false, true)), { a: 1, "a;b": 2, "a;b;c": 4, "a;x;b": 8, "c;a": 16 });
});

test("a matching stack counts once, however often it matches", () => {
  const t = tree();
  const share = (text: string) => matched(t, hitsOf(t.labels, query(text)!));
  assert.equal(share("x"), 8);
  assert.equal(share("B"), 14);
  assert.equal(share("/^[bx]$/"), 14);
  assert.equal(share("a"), 31);
});

test("a broken expression matches nothing and says why", () => {
  const found = query("/(/")!;
  assert.match(found.error ?? "", /group/i);
  assert.equal(found.test("("), false);
  assert.equal(query(""), null);
});

test("functions by their own weight; recursion counts once", () => {
  const t = tree();
  const found = functions(t).map(({ name, own, total }) => [t.labels[name], own, total]);
  assert.deepEqual(found, [["a", 17, 31], ["b", 10, 14], ["c", 4, 20], ["x", 0, 8]]);
});

test("64-bit weights stay exact", () => {
  const big = BigUint64Array.from(NODES, (n) => (n[2] === 16 ? 2n ** 63n + 1n : BigInt(n[2])));
  const t = tree(big);
  assert.equal(weight(t, 0), 2n ** 63n + 1n + 15n);
  assert.equal(weight(turned(t, true, false), 0), 2n ** 63n + 16n);
});

test("narrow frames are left out, their parents keep their width", () => {
  const t = tree();
  const rows = layout(t, t.value, 0, 3, false); // 3 px for 31: a frame of 4 has 0.39 px
  assert.deepEqual(rows.map((row) => row.map((box) => label(t, box.node))), [["all"], ["a", "c"], ["b", "x", "a"], ["x"], ["b"]]);
  assert.equal(rows[1]![0]!.width, (15 / 31) * 3);
  assert.equal(boxAt(rows[1], 1.4)?.node, 1);
  assert.equal(boxAt(rows[1], 1.5)?.node, 7);
  assert.equal(boxAt(rows[1], 3), undefined);
});

test("zoom gives a frame the whole width, with its callers above it", () => {
  const t = tree();
  const rows = layout(t, t.value, 4, 80, true);
  assert.deepEqual(rows.map((row) => row.map((box) => [label(t, box.node), box.width])), [
    [["all", 80]], [["a", 80]], [["x", 80]], [["x", 80]], [["b", 80]],
  ]);
});

test("siblings by weight", () => {
  const t = tree();
  assert.deepEqual(layout(t, t.value, 0, 310, true)[1]!.map((box) => label(t, box.node)), ["c", "a"]);
});

test("a range of time is counted from the cells of stacks and steps", () => {
  const cells = { node: Int32Array.of(2, 2, 3, 8), step: Int32Array.of(0, 1, 1, 2), weight: Float64Array.of(1, 2, 3, 4) };
  const t = counted(tree(), cells, [1, 3], [0, 1]);
  assert.deepEqual(stacks(t), { "a;b": 2, "a;b;c": 3, "c;a": 4 });
  assert.equal(t.value[0], 9);
  assert.equal(t.base?.[0], 1);
  assert.equal(counted(tree(), cells, null, null).value[0], 10);
});

test("hashes are those of Python", () => {
  assert.equal(Math.round(hashed("") * 0xffffffff), 0x811c9dc5);
  assert.equal(Math.round(hashed("foobar") * 0xffffffff), 0xbf9cf968); // the published test vector of FNV-1a
});

test("an update changes the weights that it names, and sums them anew", () => {
  const first = tree(undefined, new Float64Array(9));
  const next = updated(first, {
    own_at: Uint32Array.of(3, 7),
    own: Float64Array.of(0, 5),
    base_at: Uint32Array.of(8),
    base: Float64Array.of(2),
  });
  assert.deepEqual(stacks(next), { a: 1, "a;b": 2, "a;x;x;b": 8, c: 5, "c;a": 16 });
  assert.deepEqual([...next.value], [32, 11, 2, 0, 8, 8, 8, 21, 16]);
  assert.deepEqual([...next.base!], [2, 0, 0, 0, 0, 0, 0, 2, 2]);
  assert.deepEqual([...first.value], [31, 15, 6, 4, 8, 8, 8, 16, 16]);
  assert.deepEqual([used(first), used(next)], [8, 7]);
  const big = tree(BigUint64Array.from(NODES, (n) => BigInt(n[2])));
  const most = 2n ** 64n - 32n;
  const beyond = updated(big, { own_at: Uint32Array.of(8), own: BigUint64Array.of(most) });
  assert.equal(weight(beyond, 0), most + 15n);
});

test("ranges of time are counted from cells in few bytes", () => {
  const cells = { node: Uint8Array.of(1, 3, 8), step: Uint8Array.of(0, 1, 2), weight: Uint16Array.of(300, 5, 7) };
  assert.deepEqual(stacks(counted(tree(), cells, [1, 3], null)), { "a;b;c": 5, "c;a": 7 });
});
