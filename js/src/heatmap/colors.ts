// From counts to colours, as in Python (bpfnb/views/heat/colors.py): viridis, dark where nothing was counted.

export type Mapping = "sqrt" | "log" | "linear";
export const MAPPINGS: Mapping[] = ["sqrt", "log", "linear"];

const FLOOR = 0.12;
export const ZERO: [number, number, number] = [14, 9, 22];

const VIRIDIS = [
  [0.2777273272234177, 0.005407344544966578, 0.3340998053353061],
  [0.1050930431085774, 1.404613529898575, 1.384590162594685],
  [-0.3308618287255563, 0.214847559468213, 0.09509516302823659],
  [-4.634230498983486, -5.799100973351585, -19.33244095627987],
  [6.228269936347081, 14.17993336680509, 56.69055260068105],
  [4.776384997670288, -13.74514537774601, -65.35303263337234],
  [-5.435455855934631, 4.645852612178535, 26.3124352495832],
] as const;

/** The colour of a share between 0 and 1 of the scale. */
export function color(share: number): [number, number, number] {
  const x = FLOOR + (1 - FLOOR) * Math.min(1, Math.max(0, share));
  const part = (i: 0 | 1 | 2) => {
    const value = VIRIDIS.reduceRight((sum, each) => sum * x + each[i], 0);
    return Math.round(255 * Math.min(1, Math.max(0, value)));
  };
  return [part(0), part(1), part(2)];
}

/** Where a count between 0 and `most` stands on the scale, 0 to 1. */
export function shade(count: number, most: number, mapping: Mapping): number {
  if (most <= 0 || count <= 0) return 0;
  if (mapping === "sqrt") return Math.sqrt(count / most);
  if (mapping === "log") return Math.log1p(count) / Math.log1p(most);
  return count / most;
}

/** The count that stands at a share of the scale: the inverse of `shade`. */
export function unshade(share: number, most: number, mapping: Mapping): number {
  if (mapping === "sqrt") return share * share * most;
  if (mapping === "log") return Math.expm1(share * Math.log1p(most));
  return share * most;
}

/** 256 colours as canvases store them: red lowest. Entry 0 is the smallest count's. */
export function table(): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, i) => pack(color(i / 255)));
}

export function pack([r, g, b]: [number, number, number]): number {
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}
