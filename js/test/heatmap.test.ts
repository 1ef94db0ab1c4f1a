import assert from "node:assert/strict";
import { test } from "node:test";
import { elapsed, SECOND, ticks } from "../src/heatmap/clock";
import { color, MAPPINGS, shade, table, unshade } from "../src/heatmap/colors";
import { type Columns, Store } from "../src/heatmap/store";

const block = (from: number, counts: number[][], more: Partial<Columns> = {}): Columns => ({
  binning: 1,
  first: from,
  stop: from + counts.length,
  from,
  buckets: 2,
  counts: counts.flat(),
  measured: counts.map(() => 1),
  lost: counts.map(() => 0),
  ...more,
});

const row = (store: Store, column: number) => [store.count(column, 0), store.count(column, 1)];

test("columns are appended, changed and forgotten", () => {
  const store = new Store();
  store.take(block(5, [[1, 2], [3, 4]]));
  store.take(block(6, [[3, 9], [5, 6]], { first: 5, stop: 8 }));
  assert.deepEqual([5, 6, 7].map((column) => row(store, column)), [[1, 2], [3, 9], [5, 6]]);
  store.take(block(8, [[7, 8]], { first: 7, stop: 9 }));
  assert.deepEqual([5, 6, 7, 8].map((column) => row(store, column)), [[0, 0], [0, 0], [5, 6], [7, 8]]);
  assert.deepEqual(store.extent(0), { most: 8, total: 26 });
  assert.deepEqual(store.extent(8), { most: 8, total: 15 });
});

test("a long run holds what was sent last, whatever the capacity was", () => {
  const store = new Store();
  const sent = new Map<number, number[]>();
  for (let stop = 1; stop <= 500; stop++) {
    const counts = [[stop, 1], [stop, 2]].slice(stop === 1 ? 1 : 0);
    const from = stop - counts.length;
    store.take(block(from, counts, { first: Math.max(0, stop - 60), stop }));
    counts.forEach((each, i) => sent.set(from + i, each));
    for (let column = store.first; column < stop; column++) assert.deepEqual(row(store, column), sent.get(column));
  }
});

test("all was measured and nothing lost where nothing else is said", () => {
  const store = new Store();
  store.take(block(0, [[0, 0], [0, 1]], { measured: undefined, lost: undefined }));
  assert.deepEqual([0, 1, 2].map((column) => store.isMeasured(column)), [true, true, false]);
  assert.deepEqual([0, 1].map((column) => store.lostIn(column)), [0, 0]);
});

test("columns that were skipped are gaps, and a count says that something was measured", () => {
  const store = new Store();
  store.take(block(0, [[1, 1]]));
  store.take(block(3, [[0, 0]], { first: 0, stop: 4 }));
  store.take(block(4, [[0, 2]], { first: 0, stop: 5, measured: [0] }));
  assert.deepEqual([0, 1, 2, 3, 4].map((column) => store.isMeasured(column)), [true, false, false, true, true]);
});

test("other buckets start again", () => {
  const store = new Store();
  store.take(block(0, [[1, 1], [2, 2]]));
  store.take(block(0, [[9, 9]], { binning: 2 }));
  assert.deepEqual(store.extent(0), { most: 9, total: 18 });
  assert.equal(store.isMeasured(1), false);
});

test("pixels: the highest bucket on top, gaps transparent, zero apart from counts", () => {
  const store = new Store();
  store.take(block(0, [[0, 5], [0, 0]], { stop: 3, lost: [0, 3], measured: [1, 1] }));
  const pixels = new Uint32Array(6);
  store.paint(pixels, 3, 7, (count) => 100 + count);
  assert.deepEqual([...pixels], [105, 7, 0, 7, 7, 0]);
  assert.equal(store.lostIn(1), 3);
});

test("colours grow lighter, and shading has an inverse", () => {
  const light = Array.from({ length: 11 }, (_, i) => color(i / 10).reduce((sum, part, c) => sum + part * [0.2126, 0.7152, 0.0722][c]!, 0));
  for (let i = 1; i < light.length; i++) assert.ok(light[i]! > light[i - 1]!);
  assert.equal(table().length, 256);
  for (const mapping of MAPPINGS) {
    for (const count of [1, 10, 99]) assert.ok(Math.abs(unshade(shade(count, 99, mapping), 99, mapping) - count) < 1e-9);
  }
});

test("ticks of time stand at round moments, in UTC", () => {
  const start = 1_760_000_000n * BigInt(SECOND); // 2025-10-09 08:53:20 UTC
  const found = ticks(start, 180 * SECOND, 6, true);
  assert.deepEqual(found.map((tick) => tick.label), ["08:53:30", "08:54:00", "08:54:30", "08:55:00", "08:55:30", "08:56:00"]);
  assert.equal(found[0]?.at, 10 / 180);
  assert.deepEqual(ticks(start, 2 * SECOND, 4, true).map((tick) => tick.label), ["08:53:20", "08:53:20.5", "08:53:21", "08:53:21.5", "08:53:22"]);
  assert.deepEqual(ticks(0n, 3 * SECOND, 3, false).map((tick) => tick.label), ["0 ns", "1 s", "2 s", "3 s"]);
  assert.equal(elapsed(1_500_000n), "1.5 ms");
});
