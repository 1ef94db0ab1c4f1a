// Where the arrow keys lead: through a tree as ARIA's treegrid has it, through lanes by time.

import type { Line, Spans } from "./spans";

/** To a span, a subtree opened or closed (by row number), all opened; null: the key means nothing here. */
export type Step = { to: number } | { toggle: number } | "expand" | null;

export function treeStep(key: string, i: number, spans: Spans, lines: Line[], closed: Set<number>): Step {
  const line = Math.max(0, lineOf(lines, i));
  const at = (wanted: number) => ({ to: lines[Math.max(0, Math.min(wanted, lines.length - 1))]?.span ?? -1 });
  const row = spans.row[i] ?? -1;
  const children = (spans.size[i] ?? 1) > 1;
  if (key === "ArrowDown") return at(i < 0 ? 0 : line + 1);
  if (key === "ArrowUp") return at(line - 1);
  if (key === "ArrowRight" && children) return closed.has(row) ? { toggle: row } : at(line + 1);
  if (key === "ArrowLeft" && i >= 0) return children && !closed.has(row) ? { toggle: row } : { to: spans.parent[i] ?? -1 };
  return key === "*" ? "expand" : null;
}

export function laneStep(key: string, i: number, spans: Spans, lines: Line[]): Step {
  const line = Math.max(0, lineOf(lines, i));
  const here = lines[line]?.spans ?? [];
  if (i < 0 && key.startsWith("Arrow")) return { to: 0 };
  if (key === "ArrowRight") return { to: here[here.indexOf(i) + 1] ?? i };
  if (key === "ArrowLeft") return { to: here[here.indexOf(i) - 1] ?? i };
  if (key === "ArrowDown") return { to: nearest(i, spans, lines[Math.min(line + 1, lines.length - 1)]) };
  return key === "ArrowUp" ? { to: nearest(i, spans, lines[Math.max(line - 1, 0)]) } : null;
}

export const lineOf = (lines: Line[], i: number): number => lines.findIndex((line) => line.spans.includes(i));

/** The span of a line that starts next to when span `i` does. */
function nearest(i: number, spans: Spans, line: Line | undefined): number {
  const from = (j: number) => Math.abs((spans.start[j] ?? Infinity) - (spans.start[i] ?? 0));
  return (line?.spans ?? []).reduce((best, j) => (best < 0 || from(j) < from(best) ? j : best), -1);
}
