// Which columns are seen, and in which order.

import { el } from "../lib/dom";
import type { Meta, Provider } from "./meta";
import type { Popover } from "./popover";

export function openColumns(popover: Popover, provider: Provider, meta: Meta, from: HTMLElement): void {
  // Seen ones in their order, then the others in the order of the source.
  let order = [...meta.shown, ...meta.columns.map((_, place) => place).filter((place) => !meta.shown.includes(place))];
  const seen = new Set(meta.shown);
  const list = el("div", { class: "et-list", role: "group", "aria-label": "columns" });
  const tell = () => provider.columns(order.filter((place) => seen.has(place)));

  const draw = (focus?: [place: number, step: number]) => {
    list.replaceChildren(
      ...order.map((place, at) => {
        const column = meta.columns[place];
        const box = el("input", { type: "checkbox", checked: seen.has(place), "data-move": `${place} 0` });
        box.addEventListener("change", () => {
          if (box.checked) seen.add(place);
          else if (seen.size > 1) seen.delete(place); // the last one stays
          const rest = order.filter((each) => !seen.has(each)).sort((a, b) => a - b);
          order = [...order.filter((each) => seen.has(each)), ...rest];
          tell();
          draw([place, 0]);
        });
        const move = (step: number, sign: string, label: string) =>
          el(
            "button",
            {
              "aria-label": `${column?.name} ${label}`,
              title: label,
              "data-move": `${place} ${step}`,
              disabled: at + step < 0 || at + step >= order.length,
              click: (event: Event) => {
                event.preventDefault();
                const next = [...order];
                next.splice(at, 1);
                next.splice(at + step, 0, place);
                order = next;
                tell();
                draw([place, step]);
              },
            },
            sign,
          );
        const name = el("span", { title: column?.description ?? "" }, column?.name ?? "");
        return el("label", { class: "et-pick" }, box, name, move(-1, "◀", "further left"), move(1, "▶", "further right"));
      }),
    );
    if (focus) list.querySelector<HTMLElement>(`[data-move="${focus[0]} ${focus[1]}"]`)?.focus();
  };

  draw();
  const all = el("button", {
    click: () => {
      order = meta.columns.map((_, place) => place);
      for (const place of order) seen.add(place);
      tell();
      draw();
    },
  }, "All, as they were");
  popover.open("columns", from, el("h4", {}, "Columns"), list, el("div", { class: "et-line" }, all));
}
