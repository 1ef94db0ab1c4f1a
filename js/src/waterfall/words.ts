// What is said of spans.

import { humanize, time, whole } from "../lib/format";
import { ERROR, type Meta, type Spans } from "./spans";

/** To screen readers. */
export function say(spans: Spans, i: number): string {
  const odd = spans.oddities(i).map(({ text }) => text);
  return [spans.name.at(i), spans.service.at(i), humanize(spans.duration[i] ?? 0, "ns"), ...odd].filter(Boolean).join(", ");
}

/** Beside the pointer. */
export function tip(spans: Spans, i: number, tree: boolean): string {
  const lines = [
    `${spans.name.at(i) || "span"}  ${spans.service.at(i)}`.trim(),
    `${humanize(spans.duration[i] ?? 0, "ns", 4)} from +${humanize(spans.start[i] ?? 0, "ns", 4)}`,
    ...(tree ? [`self ${humanize(spans.alone[i] ?? 0, "ns", 4)}`] : []),
    ...spans.oddities(i).map(({ text }) => text),
  ];
  return lines.join("\n");
}

/** Of all that is drawn, below the picture. */
export function facts(spans: Spans, meta: Meta): string {
  const errors = Array.from(spans.flags).filter((flags) => flags & ERROR).length;
  const said = [`${whole(spans.length)} span${spans.length === 1 ? "" : "s"}`, humanize(meta.duration, "ns")];
  if (errors) said.push(`${whole(errors)} error${errors === 1 ? "" : "s"}`);
  if (meta.wall && spans.length) said.push(`from ${time(BigInt(meta.zero), 3)} UTC`);
  if (meta.selected.length) said.push(`${whole(meta.selected.length)} selected (Escape clears)`);
  return [...said, ...meta.notes].join(" · ");
}
