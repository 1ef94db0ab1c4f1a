// Axes, legend, losses, selection and pointer, as SVG over the cells.

import { svg } from "../lib/dom";
import { humanize, short } from "../lib/format";
import { ticks } from "./clock";
import { color, unshade, ZERO } from "./colors";
import { type Cell, LEFT, LETTER, type Plot, type Rectangle, RIGHT } from "./plot";

export function nothing(plot: Plot): SVGElement {
  const { x, y, wide, tall } = plot.box;
  return svg("text", { class: "b-empty", x: x + wide / 2, y: y + tall / 2, "text-anchor": "middle" }, "no rows yet");
}

/** Moments below, in UTC as everywhere; the first and the last label stay clear of what is beside them. */
export function times(plot: Plot): SVGElement[] {
  const meta = plot.meta;
  const { x, y, wide, tall } = plot.box;
  const span = Number(meta.every) * meta.width;
  const marks = ticks(plot.moment(plot.start), span, Math.floor(wide / 90), meta.clock).flatMap((tick) => {
    const at = x + tick.at * wide;
    const half = (tick.label.length * LETTER) / 2;
    const middle = Math.max(x + half - 2, Math.min(at, x + wide + RIGHT - half));
    const label = svg("text", { x: middle, y: y + tall + 17, "text-anchor": "middle" }, tick.label);
    return [svg("line", { class: "b-grid", x1: at, x2: at, y1: y + tall, y2: y + tall + 4 }), label];
  });
  return meta.clock ? [...marks, svg("text", { x: x - 6, y: y + tall + 17, "text-anchor": "end" }, "UTC")] : marks;
}

export function values(plot: Plot): SVGElement[] {
  const { labels } = plot.meta;
  const step = plot.box.tall / Math.max(1, labels.length - 1);
  const every = Math.max(1, Math.ceil(15 / step));
  return labels.flatMap((label, i) =>
    i % every === 0 ? [svg("text", { x: LEFT - 6, y: plot.bottom(i) + 4, "text-anchor": "end" }, label)] : [],
  );
}

/** A red mark over each column in which events were lost. */
export function losses(plot: Plot): SVGElement[] {
  const out: SVGElement[] = [];
  const wide = Math.max(2, plot.left(1) - plot.left(0));
  for (let column = Math.max(plot.start, plot.store.first); column < plot.store.stop; column++) {
    if (plot.store.lostIn(column) > 0) {
      out.push(svg("rect", { class: "b-loss", x: plot.left(column), y: 0, width: wide, height: 6 }));
    }
  }
  return out;
}

/** The scale with its numbers, what a gap looks like, and what a loss looks like. */
export function legend(plot: Plot, most: number): SVGElement[] {
  const meta = plot.meta;
  const y = plot.shell.height - 22;
  const wide = 140;
  const stops = Array.from({ length: 9 }, (_, i) =>
    svg("stop", { offset: i / 8, "stop-color": `rgb(${color(i / 8).join(",")})` }),
  );
  const id = `b-scale-${meta.binning}`;
  const out: SVGElement[] = [
    svg("linearGradient", { id }, ...stops),
    svg("rect", { x: LEFT, y, width: 12, height: 10, fill: `rgb(${ZERO.join(",")})`, class: "b-swatch" }),
    svg("text", { x: LEFT + 6, y: y + 20, "text-anchor": "middle" }, "0"),
    svg("rect", { x: LEFT + 22, y, width: wide, height: 10, fill: `url(#${id})` }),
  ];
  for (const share of most > 0 ? [0, 0.5, 1] : []) {
    const count = share === 0 ? Math.min(1, most) : unshade(share, most, plot.mapping);
    const shown = meta.whatUnit ? humanize(count, meta.whatUnit) : short(count < 10 ? Number(count.toPrecision(2)) : Math.round(count));
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    out.push(svg("text", { x: LEFT + 22 + share * wide, y: y + 20, "text-anchor": anchor }, shown));
  }
  let x = LEFT + 22 + wide + 10;
  const say = (text: string) => {
    out.push(svg("text", { x, y: y + 9 }, text));
    x += text.length * LETTER + 16;
  };
  say(`${meta.what} a cell`);
  if (plot.hasGaps) {
    for (const i of [0, 1, 2]) out.push(svg("line", { class: "b-hatch", x1: x + i * 4, x2: x + 4 + i * 4, y1: y + 10, y2: y }));
    out.push(svg("rect", { class: "b-swatch", x, y, width: 12, height: 10, fill: "none" }));
    x += 17;
    say("not measured");
  }
  if (losses(plot).length > 0) {
    out.push(svg("rect", { class: "b-loss", x, y: y + 2, width: 12, height: 6 }));
    x += 17;
    say("events lost");
  }
  return out;
}

/** What is selected, and what is being dragged over. */
export function selection(plot: Plot, drag: Rectangle | undefined): SVGElement[] {
  const { meta } = plot;
  const out: SVGElement[] = [];
  const box = (columns: [number, number], buckets: [number, number]) => {
    const [x1, x2] = columns.map((column) => plot.left(Math.min(Math.max(column, plot.start), plot.store.stop))) as [number, number];
    const [y1, y2] = [plot.bottom(buckets[1]), plot.bottom(buckets[0])];
    if (x2 > x1 && y2 > y1) {
      const { x, y, wide, tall } = plot.box;
      const outline = (a: number, b: number, w: number, h: number) => `M${a},${b}h${w}v${h}h${-w}z`;
      const around = outline(x, y, wide, tall) + outline(x1, y1, x2 - x1, y2 - y1);
      out.push(svg("path", { class: "b-veil", "fill-rule": "evenodd", d: around }));
      out.push(svg("rect", { class: "b-box", x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
    }
  };
  if (meta.selected) {
    const [from, to] = meta.selected.columns ?? [null, null];
    box([from ?? plot.start, to ?? plot.store.stop], meta.selected.buckets ?? [0, meta.ranges.length]);
  }
  if (drag) box(drag.columns, drag.buckets);
  return out;
}

export function pointer(plot: Plot, cursor: Cell): SVGElement[] {
  const [x, y] = [plot.left(cursor.column), plot.bottom(cursor.bucket + 1)];
  const [wide, tall] = [plot.left(cursor.column + 1) - x, plot.bottom(cursor.bucket) - y];
  return [svg("rect", { class: "b-here", x: x - 1, y: y - 1, width: wide + 2, height: tall + 2 })];
}
