import assert from "node:assert/strict";
import { test } from "node:test";
import { Dict, Text } from "../src/lib/columns";
import type { Frame } from "../src/lib/widget";
import { laneStep, treeStep } from "../src/waterfall/keys";
import { invert, ticks, within, xOf } from "../src/waterfall/scale";
import { ERROR, type Meta, ORPHAN, Spans } from "../src/waterfall/spans";

const text = (values: string[]): Text => {
  const parts = values.map((value) => new TextEncoder().encode(value));
  const offsets = new Uint32Array(values.length + 1);
  parts.forEach((part, i) => (offsets[i + 1] = (offsets[i] ?? 0) + part.length));
  return new Text(offsets, Uint8Array.from(parts.flatMap((part) => [...part])));
};
const dict = (values: string[]): Dict => {
  const labels = [...new Set(values)];
  return new Dict(Int32Array.from(values.map((value) => labels.indexOf(value))), labels);
};

// a( b( c ) d ), e: an orphan
const tree = new Spans({
  seq: 1,
  full: true,
  meta: { tree: true, attributes: ["url"] },
  columns: {
    row: Float64Array.of(10, 11, 12, 13, 14),
    start: Float64Array.of(0, 1, 2, 5, 7),
    duration: Float64Array.of(10, 3, 1, 4, 0),
    parent: Int32Array.of(-1, 0, 1, 0, -1),
    size: Int32Array.of(4, 2, 1, 1, 1),
    depth: Int32Array.of(0, 1, 2, 1, 0),
    flags: Uint8Array.of(0, 0, ERROR, 0, ORPHAN),
    name: dict(["a", "b", "c", "d", "e"]),
    service: dict(["web", "web", "db", "db", "db"]),
    kind: dict(["", "", "", "", ""]),
    status: dict(["", "", "", "", ""]),
    "a:url": dict(["/x", "/y", "/x", "/z", "/Xylophone"]),
    critical_span: Int32Array.of(0, 0),
    critical_start: Float64Array.of(5, 0),
    critical_stop: Float64Array.of(10, 1),
  },
} as unknown as Frame<Meta>);

const names = (closed: number[]) => tree.lines(new Set(closed)).map((line) => tree.name.at(line.span)).join("");

test("closed subtrees are left out", () => {
  assert.equal(names([]), "abcde");
  assert.equal(names([11]), "abde");
  assert.equal(names([10]), "ae");
  assert.deepEqual(tree.ancestors(2), [1, 0]);
  assert.deepEqual(tree.critical.get(0), [[5, 10], [0, 1]]);
});

test("a search looks into names, services and attributes, in any case", () => {
  assert.deepEqual([...tree.search("DB")], [12, 13, 14]);
  assert.deepEqual([...tree.search("/x")], [10, 12, 14]);
  assert.equal(tree.search("nothing").size, 0);
});

test("what is odd is said in words", () => {
  assert.deepEqual(tree.oddities(2).map(({ text }) => text), ["error"]);
  assert.deepEqual(tree.oddities(4).map(({ text }) => text), ["its parent is missing"]);
});

test("arrows walk a tree as a treegrid", () => {
  const lines = tree.lines(new Set());
  const step = (key: string, i: number, closed: number[] = []) => treeStep(key, i, tree, lines, new Set(closed));
  assert.deepEqual(step("ArrowDown", -1), { to: 0 });
  assert.deepEqual(step("ArrowDown", 4), { to: 4 });
  assert.deepEqual(step("ArrowRight", 0), { to: 1 });
  assert.deepEqual(step("ArrowRight", 1, [11]), { toggle: 11 });
  assert.deepEqual(step("ArrowLeft", 1), { toggle: 11 });
  assert.deepEqual(step("ArrowLeft", 2), { to: 1 });
  assert.equal(step("*", 0), "expand");
  assert.equal(step("x", 0), null);
});

test("arrows walk lanes by time", () => {
  const lanes = new Spans({
    seq: 1,
    full: true,
    meta: { tree: false, attributes: [] },
    columns: {
      row: Float64Array.of(0, 1, 2, 3),
      start: Float64Array.of(0, 10, 9, 30),
      line: Int32Array.of(0, 0, 1, 1),
      lanes: text(["7", ""]),
    },
  } as unknown as Frame<Meta>);
  const lines = lanes.lines(new Set());
  assert.deepEqual(lines.map((line) => [line.label, line.spans]), [["7", [0, 1]], ["", [2, 3]]]);
  assert.deepEqual(laneStep("ArrowRight", 0, lanes, lines), { to: 1 });
  assert.deepEqual(laneStep("ArrowRight", 1, lanes, lines), { to: 1 });
  assert.deepEqual(laneStep("ArrowDown", 1, lanes, lines), { to: 2 });
  assert.deepEqual(laneStep("ArrowUp", 3, lanes, lines), { to: 1 });
});

test("a place on the axis is the moment it shows", () => {
  const view = { from: 100, to: 1100, left: 200, width: 1208 };
  assert.equal(xOf(view, 100), 200);
  assert.equal(invert(view, xOf(view, 600)), 600);
  assert.deepEqual(ticks(view), [200, 400, 600, 800, 1000]);
});

test("the span under a moment, the next that matches, and what can be closed", () => {
  const line = { span: 0, spans: [1, 3, 4], label: "" }; // from 1 to 4, 5 to 9, at 7
  assert.equal(tree.running(line, 4.4, 0.3), -1);
  assert.equal(tree.running(line, 4.2, 0.3), 1);
  assert.equal(tree.running(line, 9, 0), 3);
  assert.deepEqual([0, 3, 4].map((i) => tree.next(i, new Set([12, 14]))), [2, 4, 2]);
  assert.equal(tree.next(-1, new Set([10])), 0);
  assert.equal(tree.next(0, new Set()), -1);
  assert.deepEqual(tree.inner(), [11]);
});

test("a zoom stays within the whole", () => {
  assert.deepEqual(within([-50, 50], 1000), [0, 100]);
  assert.deepEqual(within([990, 1090], 1000), [900, 1000]);
  assert.deepEqual(within([500, 501], 1000), [500, 510]);
  assert.equal(within([-1, 1001], 1000), null);
});
