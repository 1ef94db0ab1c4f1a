// The filter of one column: text or a range to type, and the values that occur, most frequent first.

import { el } from "../lib/dom";
import { whole } from "../lib/format";
import type { ColumnInfo, Offer, Provider } from "./meta";
import type { Popover } from "./popover";

const RANGES: Record<string, string> = {
  int: "> 1000, 10..20, 42",
  float: "> 0.5, 1..2",
  duration: "> 1ms, 10us..1s",
  time: "12:00:03, > 12:00, 12:00..12:05",
};
const TYPING = 350; // ms without a key until what was typed counts

export async function openFilter(popover: Popover, provider: Provider, column: ColumnInfo, place: number, from: HTMLElement): Promise<void> {
  const offer = await provider.values(place);
  const wrong = el("div", { class: "et-wrong", role: "alert", hidden: true });
  const apply = async (how: string, text: string) => {
    const error = await provider.filter({ column: place, how, text });
    wrong.textContent = error;
    wrong.hidden = error === "";
  };
  const clear = el("button", { click: () => (popover.close(), provider.filter({ column: place, name: column.name, clear: true })) }, "Clear");
  const close = el("button", { click: () => (popover.close(), from.focus()) }, "Close");
  popover.open(
    `filter ${column.name}`,
    from,
    el("h4", {}, el("span", {}, column.name), el("span", { class: "et-hint" }, column.unit ?? "")),
    typed(column, offer, apply),
    wrong,
    ...values(offer, (picks) => void provider.filter({ column: place, picks })),
    el("div", { class: "et-line" }, clear, el("span", { class: "et-gap" }), close),
  );
}

function typed(column: ColumnInfo, offer: Offer, apply: (how: string, text: string) => void): HTMLElement {
  const ranged = offer.how === "range";
  const input = el("input", {
    type: "text",
    value: offer.text,
    "aria-label": ranged ? `range of ${column.name}` : `text in ${column.name}`,
    placeholder: ranged ? (RANGES[column.kind] ?? "") : "text",
    spellcheck: "false",
    autocomplete: "off",
  });
  const how = el(
    "select",
    { "aria-label": "how the text is compared" },
    ...[["contains", "contains"], ["equals", "equals"], ["matches", "regex"]].map(([value, label]) =>
      el("option", { value: value ?? "", selected: value === offer.how }, label),
    ),
  );
  let timer = 0;
  const now = () => {
    clearTimeout(timer);
    apply(ranged ? "range" : how.value, input.value);
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(now, TYPING);
  });
  input.addEventListener("keydown", (event) => event.key === "Enter" && now());
  how.addEventListener("change", () => input.value !== "" && now());
  return el("div", { class: "et-line" }, ranged ? null : how, input);
}

function values(offer: Offer, pick: (picks: number[]) => void): HTMLElement[] {
  if (offer.labels.length === 0) return [];
  const most = Math.max(1, ...offer.counts);
  const boxes: HTMLInputElement[] = [];
  const lines = offer.labels.map((label, place) => {
    const box = el("input", { type: "checkbox", checked: offer.picked[place] === true });
    box.addEventListener("change", () => pick(boxes.flatMap((each, at) => (each.checked ? [at] : []))));
    boxes.push(box);
    const count = offer.counts[place] ?? 0;
    const share = el("b", { style: `width:${((count / most) * 60).toFixed(1)}%`, "aria-hidden": "true" });
    return el("label", { class: "et-pick" }, box, el("span", { title: label }, label), el("i", {}, whole(count)), share);
  });
  const more = offer.distinct - lines.length;
  return [
    el("div", { class: "et-list", role: "group", "aria-label": "values" }, ...lines),
    ...(more > 0 ? [el("div", { class: "et-hint" }, `${whole(more)} more values: type to find them`)] : []),
  ];
}
