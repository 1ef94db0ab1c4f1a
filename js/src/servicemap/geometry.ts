// Curves of edges and room for labels, as the static picture has them (bpfnb/views/services/geometry.py).

export type Curve = [number, number, number, number, number, number, number, number];
export type Box = [number, number, number, number];

const GAP = 3;
const STEEP = 40;
const FACING = 7;
const THIN = 1.2;
const THICK = 7;
const LINE = 13;
const LETTER = 6.3;
const LONGEST = 22;

export function widthOf(t: number, crowd: number): number {
  return (THIN + t * (THICK - THIN)) * (1 - 0.4 * crowd);
}

export function opacityOf(width: number, color: number, crowd: number): number {
  const quiet = 0.85 - crowd * (0.68 - 0.4 * width);
  return quiet + (0.95 - quiet) * Math.min(1, 2.5 * color);
}

/** A cubic from node a to node b: start, two control points, the tip of the arrow. */
export function curve(ax: number, ay: number, ar: number, bx: number, by: number, br: number, facing: boolean): Curve {
  const dx = bx - ax;
  const dy = by - ay;
  if (dx === 0 && dy === 0) {
    return [ax - 0.5 * ar, ay - 0.8 * ar, ax - 2.2 * ar, ay - 3 * ar, ax + 2.2 * ar, ay - 3 * ar, ax + 0.5 * ar, ay - 0.8 * ar - GAP];
  }
  if (Math.abs(dx) <= STEEP) {
    const side = dy > 0 ? 1 : -1;
    const bulge = side * (22 + 0.22 * Math.abs(dy));
    const down = dy < 0 ? -1 : 1;
    const [sx, sy] = [ax + side * 0.8 * ar, ay + down * 0.6 * ar];
    const [ex, ey] = [bx + side * (0.8 * br + GAP), by - down * (0.6 * br + GAP / 2)];
    return [sx, sy, sx + bulge, sy + 0.2 * dy, ex + bulge, ey - 0.2 * dy, ex, ey];
  }
  if (dx > 0) {
    const turn = 0.6 * Math.atan2(dy, dx);
    const aside = facing ? -FACING : 0;
    const [sx, sy] = [ax + ar * Math.cos(turn), ay + ar * Math.sin(turn) + aside];
    const [ex, ey] = [bx - (br + GAP) * Math.cos(turn), by - (br + GAP) * Math.sin(turn) + aside];
    const reach = 0.42 * (ex - sx);
    return [sx, sy, sx + reach, sy + 0.12 * (ey - sy), ex - reach, ey - 0.12 * (ey - sy), ex, ey];
  }
  const bow = FACING + 12 + 0.06 * Math.abs(dx);
  const [sx, sy] = [ax - 0.8 * ar, ay + 0.6 * ar];
  const [ex, ey] = [bx + 0.8 * br + GAP, by + 0.6 * br + GAP / 2];
  const reach = 0.35 * (sx - ex);
  return [sx, sy, sx - reach, sy + bow, ex + reach, ey + bow, ex, ey];
}

export function at(c: Curve, t: number): [number, number] {
  const u = 1 - t;
  const [p, q, r, s] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return [p * c[0] + q * c[2] + r * c[4] + s * c[6], p * c[1] + q * c[3] + r * c[5] + s * c[7]];
}

/** The head at the end of a curve, and the curve up to its base, as paths. */
export function arrow(c: Curve, wide: number): { head: string; line: string } {
  const size = Math.hypot(c[6] - c[4], c[7] - c[5]) || 1;
  const [dx, dy] = [(c[6] - c[4]) / size, (c[7] - c[5]) / size];
  const [long, half] = [4.5 + 1.2 * wide, 2 + 0.9 * wide];
  const [bx, by] = [c[6] - long * dx, c[7] - long * dy];
  const n = (value: number) => value.toFixed(1);
  return {
    head: `M${n(c[6])} ${n(c[7])}L${n(bx - half * dy)} ${n(by + half * dx)}L${n(bx + half * dy)} ${n(by - half * dx)}Z`,
    line: `M${n(c[0])} ${n(c[1])}C${n(c[2])} ${n(c[3])} ${n(c[4])} ${n(c[5])} ${n(bx + dx)} ${n(by + dy)}`,
  };
}

export function shortened(label: string): string {
  return label.length <= LONGEST ? label : `${label.slice(0, LONGEST / 2)}…${label.slice(LONGEST / 2 + 1 - LONGEST)}`;
}

/** Boxes that are taken, found by where they are: thousands of questions for each picture. */
export class Room {
  private static readonly SIZE = 64;
  private readonly cells = new Map<number, Box[]>();

  take(box: Box): void {
    this.around(box, (key) => {
      const cell = this.cells.get(key);
      if (cell) cell.push(box);
      else this.cells.set(key, [box]);
      return false;
    });
  }

  free(box: Box, own?: Box): boolean {
    const meets = (o: Box) => o !== own && box[0] < o[2] && box[2] > o[0] && box[1] < o[3] && box[3] > o[1];
    return !this.around(box, (key) => this.cells.get(key)?.some(meets) ?? false);
  }

  private around([left, top, right, bottom]: Box, call: (key: number) => boolean): boolean {
    const cell = (value: number) => Math.floor(value / Room.SIZE);
    for (let x = cell(left); x <= cell(right); x++) {
      for (let y = cell(top); y <= cell(bottom); y++) if (call(x * 65536 + y)) return true;
    }
    return false;
  }
}

export interface Placed {
  item: number;
  x: number;
  y: number;
  text: string;
}

/** Labels of the nodes in *order* that have room between these: below their node, above it, or beside it. */
export function labels(
  nodes: { x: number; y: number; r: number; name: string }[],
  order: number[],
  bounds: Box,
  room: Room,
): Placed[] {
  const own = nodes.map(({ x, y, r }): Box => [x - r, y - r, x + r, y + r]);
  for (const item of order) {
    const box = own[item];
    if (box) room.take(box);
  }
  const found: Placed[] = [];
  for (const item of order) {
    const node = nodes[item];
    if (!node) continue;
    const { x, y, r } = node;
    const text = shortened(node.name);
    const wide = (LETTER * text.length) / 2;
    for (const [cx, base] of [[x, y + r + LINE - 1], [x, y - r - 5], [x + r + wide + 4, y + 4], [x - r - wide - 4, y + 4]] as const) {
      const box: Box = [cx - wide, base - LINE + 3, cx + wide, base + 3];
      const inside = box[0] >= bounds[0] && box[1] >= bounds[1] && box[2] <= bounds[2] && box[3] <= bounds[3];
      if (inside && room.free(box, own[item])) {
        room.take(box);
        found.push({ item, x: cx, y: base, text });
        break;
      }
    }
  }
  return found;
}
