// Lengths of bars, ticks of the axis of counts, and which labels fit. No DOM: tested by themselves.

export interface Mark {
  label: string;
  at: number;
}

/** How much of a plot's height a count takes, 0 to 1. On the logarithmic axis a count of one is to be seen. */
export function share(count: number, most: number, log: boolean): number {
  if (count <= 0 || most <= 0) return 0;
  return log ? Math.log2(count * 2) / Math.log2(most * 2) : count / most;
}

/** Two to five round whole counts up to `most`; powers of ten on the logarithmic axis. */
export function ticks(most: number, log: boolean): number[] {
  if (most < 1) return [];
  const digits = String(Math.floor(most)).length;
  if (log) {
    const every = Math.ceil(digits / 5);
    return Array.from({ length: Math.ceil(digits / every) }, (_, i) => 10 ** (i * every));
  }
  const power = 10 ** (digits - 1);
  const steps = [Math.max(1, Math.floor(power / 2)), power, 2 * power, 5 * power];
  const step = steps.find((size) => Math.floor(most / size) <= 4) ?? power;
  return Array.from({ length: Math.floor(most / step) }, (_, i) => (i + 1) * step);
}

/** Every how many edges a label fits, none touching the next. */
export function labelEvery(labels: string[], step: number, letter: number): number {
  const widest = Math.max(1, ...labels.map((label) => label.length)) * letter + 10;
  return Math.max(1, Math.ceil(widest / step));
}

export interface Flag extends Mark {
  x: number;
  row: number;
  left: number;
}

const GAP = 4; // px between a line and its label

/**
 * Labels beside their lines like flags, none touching another nor crossed by a line: in as few rows as possible, to the
 * right of the line where that is possible, between `left` and `right` as far as they fit. As Python's flags.py.
 */
export function flags(marks: Mark[], x: (at: number) => number, left: number, right: number, letter: number): Flag[] {
  const choices = (row: number, mark: Mark): Flag[] => {
    const [at, wide] = [x(mark.at), mark.label.length * letter];
    const starts = [at + GAP, at - GAP - wide].filter((start) => left <= start && start + wide <= right);
    return Array.from({ length: row + 1 }, (_, row) => row).flatMap((row) => starts.map((left) => ({ ...mark, x: at, row, left })));
  };
  const fit = (rest: Mark[], top: number, found: Flag[]): Flag[] | undefined => {
    const [first, ...others] = rest;
    if (!first) return found;
    for (const flag of choices(top, first)) {
      if (found.some((other) => meet(flag, other, letter))) continue;
      const all = fit(others, top, [...found, flag]);
      if (all) return all;
    }
    return undefined;
  };
  for (let top = 0; top < marks.length; top++) {
    const found = fit(marks, top, []);
    if (found) return found;
  }
  return marks.map((mark, row) => {
    const [at, wide] = [x(mark.at), mark.label.length * letter];
    return { ...mark, x: at, row, left: Math.max(left, Math.min(at + GAP, right - wide)) };
  });
}

function meet(a: Flag, b: Flag, letter: number): boolean {
  const [endA, endB] = [a.left + a.label.length * letter, b.left + b.label.length * letter];
  if (a.row === b.row && a.left < endB + GAP && b.left < endA + GAP) return true;
  return (a.row >= b.row && b.left < a.x && a.x < endB) || (b.row >= a.row && a.left < b.x && b.x < endA);
}

export type Span = [number, number];

/** Runs of buckets in order; those that touch are one. */
export function merged(spans: Span[]): Span[] {
  const out: Span[] = [];
  for (const [start, stop] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = out[out.length - 1];
    if (last && start <= last[1]) last[1] = Math.max(last[1], stop);
    else if (start < stop) out.push([start, stop]);
  }
  return out;
}

/** The share of the buckets' width that spans cover in bucket `i`, 0 to 1. */
export function covered(spans: Span[], i: number): number {
  return spans.reduce((sum, [start, stop]) => sum + Math.max(0, Math.min(stop, i + 1) - Math.max(start, i)), 0);
}

/** Columns of small multiples so that each is about 2.4 times as wide as tall. */
export function grid(count: number, width: number, height: number): { across: number; down: number } {
  let best = { across: 1, down: count };
  let error = Infinity;
  for (let across = 1; across <= count; across++) {
    const down = Math.ceil(count / across);
    const off = Math.abs(Math.log(width / across / (height / down) / 2.4)) + (across * down - count) * 0.05;
    if (off < error && width / across >= 190) [best, error] = [{ across, down }, off];
  }
  return best;
}
