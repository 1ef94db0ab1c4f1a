// The axis of time: round moments, in UTC as in frames.

export const SECOND = 1_000_000_000;

const STEPS: number[] = [
  ...Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat(),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * 60 * SECOND),
  ...[1, 2, 3, 6, 12].map((n) => n * 3600 * SECOND),
  ...[1, 2, 5, 10, 50, 100, 1000].map((n) => n * 86_400 * SECOND),
];

export interface Tick {
  at: number; // 0 to 1 of the span
  label: string;
}

/** At most `count` ticks over `span` ns from `start` on. */
export function ticks(start: bigint, span: number, count: number, clock: boolean): Tick[] {
  const step = STEPS.find((each) => span / each <= Math.max(1, count)) ?? span;
  const size = BigInt(step);
  let next = (start / size) * size;
  if (next < start) next += size;
  const out: Tick[] = [];
  for (; Number(next - start) <= span; next += size) {
    out.push({ at: Number(next - start) / span, label: clock ? wall(next, step) : elapsed(next) });
  }
  return out;
}

/** Nanoseconds since 1970 as the time of day, as fine as the step asks, the date where a day begins. */
function wall(ns: bigint, step: number): string {
  const day = BigInt(86_400 * SECOND);
  const rest = ((ns % day) + day) % day;
  if (rest === 0n || step >= 86_400 * SECOND) return new Date(Number(ns / 1_000_000n)).toISOString().slice(5, 10);
  const seconds = Number(rest / BigInt(SECOND));
  const two = (value: number) => String(value).padStart(2, "0");
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}`;
  if (step >= 60 * SECOND) return clock;
  const fraction = String(rest % BigInt(SECOND)).padStart(9, "0").replace(/0+$/, "");
  return `${clock}:${two(seconds % 60)}${step < SECOND && fraction ? `.${fraction}` : ""}`;
}

/** Nanoseconds of a clock of their own, in the largest unit that leaves them whole. */
export function elapsed(ns: bigint): string {
  for (const [unit, size] of [["s", 1_000_000_000n], ["ms", 1_000_000n], ["us", 1_000n]] as const) {
    if (ns % (size / 100n || 1n) === 0n && (ns >= size || ns <= -size)) return `${Number(ns) / Number(size)} ${unit}`;
  }
  return `${ns} ns`;
}
