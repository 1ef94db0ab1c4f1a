// Numbers as people read them, in the same words as Python's (bpfnb/views/_style.py).

const DURATIONS: [string, number][] = [
  ["ns", 1],
  ["us", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
];
const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 20 });

export function isDuration(unit: string | undefined | null): boolean {
  return DURATIONS.some(([name]) => name === unit);
}

/** 1500000, "ns" -> "1.5 ms"; 4096, "bytes" -> "4 KiB"; whole numbers without a unit exactly. */
export function humanize(value: number | bigint, unit?: string | null, digits = 3): string {
  if (typeof value === "bigint") {
    if (!isDuration(unit) && !isBytes(unit)) return whole(value) + (unit ? ` ${unit}` : "");
    value = Number(value);
  }
  if (!Number.isFinite(value)) return String(value);
  const factor = DURATIONS.find(([name]) => name === unit)?.[1];
  if (factor !== undefined) {
    const ns = value * factor;
    let [best, size]: [string, number] = ["ns", 1];
    for (const [name, each] of DURATIONS) {
      if (Number(Math.abs(ns).toPrecision(digits)) >= each) [best, size] = [name, each];
    }
    return `${rounded(ns / size, digits)} ${best}`;
  }
  if (isBytes(unit)) {
    let power = 0;
    let scaled = value;
    while (Math.abs(scaled) >= 1024 && power < BINARY.length - 1) {
      scaled /= 1024;
      power += 1;
    }
    return `${rounded(scaled, digits)} ${BINARY[power]}B`;
  }
  const tail = unit ? ` ${unit}` : "";
  return (Number.isInteger(value) ? whole(value) : rounded(value, digits)) + tail;
}

function isBytes(unit: string | undefined | null): boolean {
  return unit === "bytes" || unit === "B" || unit === "byte";
}

/** 1234567 -> "1,234,567", exactly. */
export function whole(value: number | bigint): string {
  return grouped.format(value);
}

/** 12345 -> "12.3k", for axes and legends. */
export function short(value: number): string {
  for (const [size, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (Math.abs(value) >= size) return `${rounded(value / size, 3)}${letter}`;
  }
  return rounded(value, 3);
}

export function percent(share: number): string {
  const value = 100 * share;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  return `${value === Math.round(value) ? value : value.toFixed(value < 1 ? 2 : 1)} %`;
}

/** Nanoseconds since 1970 as the time of day in UTC, as frames have it, with as many digits of the second as asked. */
export function time(ns: bigint | number, digits: 0 | 3 | 6 | 9 = 3): string {
  const exact = BigInt(ns);
  const clock = new Date(Number(exact / 1_000_000n)).toISOString().slice(11, 19);
  const fraction = String(((exact % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n).padStart(9, "0");
  return digits === 0 ? clock : `${clock}.${fraction.slice(0, digits)}`;
}

function rounded(value: number, digits: number): string {
  const text = Number(value.toPrecision(digits));
  return Math.abs(text) >= 1e9 ? whole(Math.round(text)) : String(text);
}
