// The tools above the flame graph: what they say and what they set.

import { el } from "../lib/dom";

export interface Settings {
  style: "icicle" | "flame";
  color: "origin" | "name" | "diff";
  inverted: boolean;
  merged: boolean;
  /** Siblings by weight instead of by name. */
  heaviest: boolean;
  /** Widths stand for what is compared with. */
  swapped: boolean;
  /** The table of functions is open. */
  top: boolean;
}

type Switch = "inverted" | "merged" | "heaviest" | "swapped" | "top";

const SWITCHES: [Switch, string, string][] = [
  ["inverted", "Callers", "from the leaf: under each function, who called it"],
  ["merged", "Merge", "a function that calls itself directly is one frame"],
  ["heaviest", "By weight", "the heaviest first, instead of by name"],
  ["swapped", "Swap", "widths show what is compared with"],
  ["top", "Top", "a table of the functions by their own weight"],
];

export class Tools {
  readonly search: HTMLInputElement;
  readonly found = el("span", { class: "b-dim f-found", "aria-live": "polite" });
  private readonly style: HTMLButtonElement;
  readonly color: HTMLSelectElement;
  private readonly switches = new Map<Switch, HTMLButtonElement>();
  readonly select: HTMLButtonElement;

  constructor(
    bar: HTMLElement,
    change: <K extends keyof Settings>(name: K, value: Settings[K]) => void,
    private readonly settings: Settings,
    actions: { search: (text: string) => void; select: () => void; canSelect: boolean },
  ) {
    this.search = el("input", {
      class: "f-search",
      type: "search",
      placeholder: "Search",
      title: "text in any case of letters, or /regular expression/",
      "aria-label": "search functions: text or /regular expression/",
      input: () => actions.search(this.search.value),
    });
    this.style = el("button", { click: () => change("style", settings.style === "flame" ? "icicle" : "flame") });
    this.color = el(
      "select",
      { class: "f-color", "aria-label": "colour by", title: "colour by", change: () => change("color", this.color.value as Settings["color"]) },
      el("option", { value: "origin" }, "origin"),
      el("option", { value: "name" }, "name"),
      el("option", { value: "diff" }, "difference"),
    );
    this.select = el(
      "button",
      { class: "f-select", title: "select the rows under this frame, for linked views (Ctrl and click)", click: actions.select },
      "Select rows",
    );
    this.select.hidden = !actions.canSelect;
    bar.append(this.search, this.style);
    for (const [name, text, title] of SWITCHES) {
      const button = el("button", { class: `f-${name}`, title, click: () => change(name, !settings[name]) }, text);
      this.switches.set(name, button);
      bar.append(button);
    }
  }

  show(compared: boolean, frame: string, selected: boolean): void {
    const { settings } = this;
    this.style.textContent = settings.style === "flame" ? "Flame" : "Icicle";
    this.style.title = settings.style === "flame" ? "the root is at the bottom" : "the root is at the top";
    this.color.value = settings.color;
    for (const [name, button] of this.switches) button.setAttribute("aria-pressed", String(settings[name]));
    this.switches.get("swapped")!.hidden = !compared;
    (this.color.lastElementChild as HTMLOptionElement).disabled = !compared;
    this.select.disabled = frame === "" && !selected;
    this.select.textContent = selected ? "Selected: clear" : "Select rows";
  }
}
