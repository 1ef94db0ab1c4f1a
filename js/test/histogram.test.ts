import assert from "node:assert/strict";
import { test } from "node:test";
import { covered, flags, grid, labelEvery, merged, share, ticks } from "../src/histogram/scale";

test("bars are as tall as their counts, and a count of one is seen on the logarithmic axis", () => {
  assert.equal(share(50, 200, false), 0.25);
  assert.equal(share(0, 200, true), 0);
  assert.equal(share(200, 200, true), 1);
  assert.ok(share(1, 1e6, true) > 0.04);
  assert.equal(share(1, 0, false), 0);
});

test("ticks are round, few and within the axis", () => {
  assert.deepEqual(ticks(8700, false), [2000, 4000, 6000, 8000]);
  assert.deepEqual(ticks(3, false), [1, 2, 3]);
  assert.deepEqual(ticks(0, false), []);
  assert.deepEqual(ticks(50_000, true), [1, 10, 100, 1000, 10_000]);
  for (const most of [1, 9, 10, 99, 12_345, 9_999_999]) {
    const found = ticks(most, false);
    assert.ok(found.length >= 1 && found.length <= 5 && found.every((tick) => tick <= most), `${most}: ${found}`);
  }
});

test("labels do not touch", () => {
  assert.equal(labelEvery(["1 us", "2 us"], 100, 6), 1);
  assert.equal(labelEvery(["1.05 ms", "2 ms"], 20, 6), 3);
});

test("flags of percentiles overlap neither each other nor the edge", () => {
  const marks = [
    { label: "p50 1.2 us", at: 0 },
    { label: "p90 3.4 us", at: 2 },
    { label: "p99 9.9 us", at: 9 },
  ];
  const found = flags(marks, (at) => at * 10, 0, 100, 6);
  for (const a of found) {
    assert.ok(a.left + a.label.length * 6 <= 100);
    for (const b of found) {
      const apart = a.left >= b.left + b.label.length * 6 || b.left >= a.left + a.label.length * 6;
      assert.ok(a === b || a.row !== b.row || apart, `${a.label} and ${b.label}`);
    }
  }
});

test("runs of buckets that touch are one, and cover what they should", () => {
  assert.deepEqual(merged([[5, 6], [1, 3], [3, 4], [2, 2]]), [[1, 4], [5, 6]]);
  assert.equal(covered([[1, 2.5]], 2), 0.5);
  assert.equal(covered([[1, 2.5]], 3), 0);
});

test("small multiples are wider than tall", () => {
  assert.deepEqual(grid(1, 900, 320), { across: 1, down: 1 });
  assert.deepEqual(grid(9, 900, 440), { across: 3, down: 3 });
  assert.deepEqual(grid(4, 300, 440), { across: 1, down: 4 });
});
