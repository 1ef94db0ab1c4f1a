import assert from "node:assert/strict";
import { test } from "node:test";
import { axis, clock, timeTicks, withUnit } from "../src/timeseries/scale";

const T0 = 1_763_700_000_000_000_000n;

test("axes have round numbers in the unit that suits, from zero where wanted", () => {
  assert.deepEqual(axis(3, 122, null, true, true), {
    low: 0,
    high: 150,
    ticks: [0, 50, 100, 150],
    labels: ["0", "50/s", "100/s", "150/s"],
  });
  assert.deepEqual(axis(0, 1_400_000, "ns", false, true).labels, ["0", "0.5 ms", "1 ms", "1.5 ms"]);
  assert.deepEqual(axis(0, 640 * 1024, "bytes", true, true).labels, ["0", "200 KiB/s", "400 KiB/s", "600 KiB/s", "800 KiB/s"]);
  assert.equal(axis(-5, 5, null, false, false).low, -5);
  assert.deepEqual(axis(0, 0, null, true, true).ticks.at(0), 0);
});

test("numbers read as in Python", () => {
  assert.equal(withUnit(1_500_000, "ns", false), "1.5 ms");
  assert.equal(withUnit(12_600, "bytes", true), "12.3 KiB/s");
  assert.equal(withUnit(4500.4, null, true), "4,500/s");
  assert.equal(withUnit(0.123456, null, false), "0.123");
  assert.equal(withUnit(2_345_678, null, true), "2.35 M/s");
  assert.equal(withUnit(NaN, null, true), "-");
});

test("ticks are round moments, whatever zero is", () => {
  const zero = T0 + 250_000_000n;
  const { ticks, step } = timeTicks(0, 10, zero, 6);
  assert.equal(step, 2);
  assert.deepEqual(ticks.map((tick) => clock(tick, zero, true, step)), ["04:40:02", "04:40:04", "04:40:06", "04:40:08", "04:40:10"]);
});

test("a moment shows as many digits as its step needs, without a float's error", () => {
  assert.equal(clock(0.1 + 0.2, T0, true, 0.1), "04:40:00.3");
  assert.equal(clock(1e-6, T0, true, 1e-6), "04:40:00.000001");
  assert.equal(clock(86_400, T0, true, 86_400), "2025-11-22");
  assert.equal(clock(90, T0, true, 60), "04:41");
  assert.equal(clock(2.5, 0n, false, 0.5), "2500 ms");
});
