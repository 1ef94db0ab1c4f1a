// From moments to pixels and back.

/** The moments in sight, in ns, and where they are: from `left`, before which names stand, to `width`. */
export interface View {
  from: number;
  to: number;
  left: number;
  width: number;
}

export const xOf = (view: View, ns: number): number => view.left + ((ns - view.from) / (view.to - view.from)) * (view.width - view.left - 8);

export const invert = (view: View, x: number): number =>
  view.from + ((x - view.left) / (view.width - view.left - 8)) * (view.to - view.from);

/** A range of time that lies within the `whole`; null: all of it. */
export function within(range: [number, number] | null, whole: number): [number, number] | null {
  if (!range) return null;
  const wide = Math.min(Math.max(range[1] - range[0], 10), whole);
  const from = Math.min(Math.max(range[0], 0), whole - wide);
  return wide >= whole ? null : [from, from + wide];
}

/** Round moments in ns within the view. */
export function ticks(view: View): number[] {
  const count = Math.max(2, Math.floor((view.width - view.left) / 110));
  const rough = (view.to - view.from) / count;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-3)));
  const step = power * ([1, 2, 5, 10].find((digit) => power * digit >= rough) ?? 10);
  const first = Math.ceil(view.from / step - 1e-9);
  const last = Math.floor(view.to / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}
