// Round numbers and moments for axes, in the same words as Python's (bpfnb/views/lines/chart.py, moments.py).

import { humanize, isDuration, whole } from "../lib/format";

const DURATIONS: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };
const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

export interface Axis {
  low: number;
  high: number;
  ticks: number[];
  labels: string[];
}

/** About `count` round numbers in the unit that suits `high`; from zero on where that is wanted. */
export function axis(low: number, high: number, unit: string | null, perSecond: boolean, zero: boolean, count = 4): Axis {
  if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (high <= low) high = low + (Math.abs(low) || 1);
  const [factor, name] = scaleOf(Math.max(Math.abs(low), Math.abs(high)), unit);
  const step = roundStep((high - low) / factor / count) * factor;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  const labels = ticks.map((tick) =>
    tick === 0 ? "0" : `${grouped(tick / factor)}${name}${perSecond ? "/s" : ""}`,
  );
  return { low: first * step, high: last * step, ticks, labels };
}

/** "1.5 ms", "12.3 KiB/s", "4,500/s". */
export function withUnit(value: number, unit: string | null, perSecond: boolean): string {
  if (Number.isNaN(value)) return "-";
  const text = isDuration(unit) || unit === "bytes" ? humanize(value, unit) : plain(value) + (unit ? ` ${unit}` : "");
  return text + (perSecond ? "/s" : "");
}

function plain(value: number): string {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"]] as const) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${letter}`;
  }
  return Math.abs(value) >= 100 ? whole(Math.round(value)) : String(Number(value.toPrecision(3)));
}

function grouped(value: number): string {
  return Number(value.toPrecision(10)).toLocaleString("en-US", { maximumFractionDigits: 10 });
}

function scaleOf(size: number, unit: string | null): [number, string] {
  if (unit !== null && unit in DURATIONS) {
    const base = DURATIONS[unit] ?? 1;
    const name = ["s", "ms", "us"].find((n) => size * base >= (DURATIONS[n] ?? 1)) ?? "ns";
    return [(DURATIONS[name] ?? 1) / base, ` ${name}`];
  }
  if (unit === "bytes") {
    let power = 0;
    while (size >= 1024 && power < 6) [size, power] = [size / 1024, power + 1];
    return [1024 ** power, ` ${BINARY[power]}B`];
  }
  const found = ([[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const).find(([each]) => size >= each);
  return [found?.[0] ?? 1, (found?.[1] ?? "") + (unit ? ` ${unit}` : "")];
}

function roundStep(rough: number): number {
  if (!(rough > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((digit) => power * digit >= rough * (1 - 1e-9)) ?? 10);
}

const STEPS = [
  ...Array.from({ length: 9 }, (_, i) => 10 ** (i - 9)).flatMap((power) => [power, 2 * power, 5 * power]),
  ...[1, 2, 5, 10, 15, 30].flatMap((n) => [n]),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * 60),
  ...[1, 2, 3, 6, 12].map((n) => n * 3600),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((n) => n * 86_400),
];

/** Round moments within [from, to], in seconds after `zero` (ns, exact), and how far they are apart in seconds. */
export function timeTicks(from: number, to: number, zero: bigint, count: number): { ticks: number[]; step: number } {
  const step = STEPS.find((each) => (to - from) / each <= Math.max(count, 1)) ?? 1e9;
  // Round are the moments themselves, so what zero lacks to a round one comes in.
  const stepNs = BigInt(Math.max(1, Math.round(step * 1e9)));
  const offset = Number(zero % stepNs) / 1e9;
  const first = Math.ceil((from + offset) / step - 1e-9);
  const last = Math.floor((to + offset) / step + 1e-9);
  return { ticks: Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step - offset), step };
}

/** The moment `seconds` after zero: time of day (UTC), or elapsed where the clock is not the wall's. */
export function clock(seconds: number, zero: bigint, wall: boolean, step: number): string {
  if (!wall) {
    const ns = Number(zero) + seconds * 1e9;
    const name = ["s", "ms", "us"].find((n) => step * 1e9 >= (DURATIONS[n] ?? 1)) ?? "ns";
    return `${Number((ns / (DURATIONS[name] ?? 1)).toPrecision(12))} ${name}`;
  }
  let ns = zero + BigInt(Math.round(seconds * 1e9));
  // Half of the last digit shown, so that a float's error does not show 09.999 for 10.
  const digits = step >= 1 ? 0 : Math.min(9, Math.ceil(-Math.log10(step) - 1e-9));
  const last = 10n ** BigInt(9 - digits);
  ns = ((ns + last / 2n) / last) * last;
  const date = new Date(Number(ns / 1_000_000n));
  if (step >= 86_400) return date.toISOString().slice(0, 10);
  const text = date.toISOString().slice(11, step >= 60 ? 16 : 19);
  return digits === 0 ? text : `${text}.${String(ns % 1_000_000_000n).padStart(9, "0").slice(0, digits)}`;
}
