// The page draws what the static picture draws: servicemap.json is checked by Python's tests too.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Box, type Curve, curve, labels, opacityOf, Room, shortened, widthOf } from "../src/servicemap/geometry";
import { Graph } from "../src/servicemap/graph";
import fixture from "./servicemap.json";

const near = (found: number[], wanted: number[]) => {
  assert.equal(found.length, wanted.length);
  found.forEach((value, i) => assert.ok(Math.abs(value - (wanted[i] ?? Number.NaN)) < 1e-5, `${found} is not ${wanted}`));
};

test("curves, widths and opacities are Python's", () => {
  for (const { ends, curve: wanted } of fixture.curves) {
    const [ax, ay, ar, bx, by, br, facing] = ends as [number, number, number, number, number, number, boolean];
    const found: Curve = curve(ax, ay, ar, bx, by, br, facing);
    near(found, wanted);
  }
  for (const [t = 0, crowd = 0, wanted = 0] of fixture.widths) near([widthOf(t, crowd)], [wanted]);
  for (const [width = 0, color = 0, crowd = 0, wanted = 0] of fixture.opacities) near([opacityOf(width, color, crowd)], [wanted]);
});

test("measures within a sentence are Python's", () => {
  for (const [metric, value, unit, counted, wanted] of fixture.amounts as [string, number, string | null, string, string][]) {
    const singular = (fixture.singulars as Record<string, string>)[counted];
    const graph = Object.assign(Object.create(Graph.prototype), { meta: { unit, counted, singular, metrics: { latency: { title: "latency p50" }, bytes: { title: "bytes" } } } });
    assert.equal(graph.amount(metric, value), wanted);
  }
});

test("long names lose their middle", () => {
  assert.equal(shortened("a".repeat(22)), "a".repeat(22));
  assert.equal(shortened("abcdefghijklmnopqrstuvwxyz"), "abcdefghijk…qrstuvwxyz");
});

test("labels never meet, and the important ones come first", () => {
  const nodes = Array.from({ length: 60 }, (_, i) => ({ x: (i % 10) * 40, y: Math.floor(i / 10) * 24, r: 8, name: `node number ${i}` }));
  const bounds: Box = [-60, -30, 460, 200];
  const order = nodes.map((_, i) => i).reverse();
  const found = labels(nodes, order, bounds, new Room());
  assert.equal(found[0]?.item, 59);
  assert.ok(found.length > 5 && found.length < 60);
  const boxes = found.map(({ x, y, text }) => [x - 3.15 * text.length, y - 10, x + 3.15 * text.length, y + 3] as Box);
  boxes.forEach((one, i) => {
    for (const other of boxes.slice(i + 1)) {
      assert.ok(one[0] >= other[2] || other[0] >= one[2] || one[1] >= other[3] || other[1] >= one[3]);
    }
  });
});

test("room is found across cells of the grid", () => {
  const room = new Room();
  room.take([-10, -10, 200, 5]);
  assert.ok(!room.free([190, 0, 260, 20]));
  assert.ok(room.free([200, 0, 260, 20]));
  assert.ok(!room.free([-9, -9, -8, -8]));
});
