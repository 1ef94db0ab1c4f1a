// Colours of frames, the same as in static pictures (bpfnb/views/flames/paint.py says why these).

export const ORIGINS = ["kernel", "user", "interpreter, JIT", "unknown"] as const;

/** Places on the scale of differences. */
export const DIFFERENCES: readonly (readonly [number, string])[] = [
  [-1, "¼ or less"],
  [-0.5, "½"],
  [0, "same share"],
  [0.5, "2x"],
  [1, "4x or more"],
];

// Hue, saturation, lightness on light pages and on dark ones.
const TONES = [
  [30, 88, 69, 37],
  [206, 66, 73, 40],
  [160, 42, 66, 31],
  [0, 0, 80, 38],
] as const;
const SPREAD = 6;
const encoder = new TextEncoder();

/** FNV-1a, 32 bits, as a number from 0 to 1. */
export function hashed(name: string): number {
  let value = 0x811c9dc5;
  for (const byte of encoder.encode(name)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value / 0xffffffff;
}

export function ofOrigin(name: string, origin: number, dark: boolean): string {
  const [hue, saturation, light, darker] = TONES[origin] ?? TONES[3];
  const shade = 2 * hashed(name) - 1;
  return hsl(hue + 7 * shade, saturation, (dark ? darker : light) + SPREAD * shade);
}

export function ofName(name: string, dark: boolean): string {
  return hsl(360 * hashed(name), dark ? 48 : 60, dark ? 36 : 74);
}

/** -1 blue (less), 0 grey, 1 red (more). */
export function diverging(t: number, dark: boolean): string {
  const middle = dark ? [58, 62, 68] : [238, 238, 238];
  const end = t > 0 ? (dark ? [229, 83, 75] : [202, 50, 42]) : dark ? [60, 140, 230] : [38, 110, 190];
  const much = Math.abs(t) ** 0.7; // small differences are to be seen too
  return `rgb(${middle.map((a, i) => Math.round(a + (end[i]! - a) * much)).join(",")})`;
}

function hsl(hue: number, saturation: number, lightness: number): string {
  return `hsl(${((hue + 360) % 360).toFixed(1)} ${saturation}% ${lightness.toFixed(1)}%)`;
}
