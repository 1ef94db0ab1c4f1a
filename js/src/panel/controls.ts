// A control for each global variable. Values are the texts that Python sent and takes: no number passes through here
// but the positions of sliders, whose ranges Python keeps below 2^53.

import { el, set } from "../lib/dom";
import { humanize } from "../lib/format";

export interface Variable {
  name: string;
  kind: "slider" | "number" | "switch" | "choice" | "text" | "fixed";
  type: string;
  constant: boolean;
  unit: string;
  about: string;
  value: string;
  said: string;
  error: string;
  choices?: string[];
  range?: [low: string, high: string, step: string];
}

type Send = (name: string, value: string | boolean, number: number) => void;

const PACE = 50; // ms between two messages while a slider moves

/** This page, and the number of the change that it sent last: Python says which it heard. */
export const page = Math.random().toString(36).slice(2);
let sent = 0;

export class Controls {
  readonly element = el("div", { class: "b-variables", role: "group", "aria-label": "global variables", hidden: true });
  private readonly rows = new Map<string, Row>();

  constructor(
    private readonly send: Send,
    private readonly offline: boolean,
  ) {}

  update(variables: Variable[], heard: Record<string, number>): void {
    const last = heard[page] ?? 0;
    const fitting = variables.length === this.rows.size && variables.every(({ name }) => this.rows.has(name));
    if (!fitting) {
      this.rows.clear();
      for (const variable of variables) this.rows.set(variable.name, new Row(variable, this.send, this.offline));
      this.element.replaceChildren(...[...this.rows.values()].map((row) => row.element));
      this.element.hidden = variables.length === 0;
    }
    for (const variable of variables) this.rows.get(variable.name)?.update(variable, last);
  }
}

class Row {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement | HTMLSelectElement | HTMLElement;
  private readonly slider: HTMLInputElement | undefined;
  private readonly said = el("span", { class: "b-said b-dim" });
  private readonly error: HTMLElement;
  private value = "";
  private last = 0; // the number of the last change that was sent
  private timer = 0;
  private next: string | undefined;
  private choices = "";

  constructor(
    private readonly variable: Variable,
    private readonly send: Send,
    offline: boolean,
  ) {
    const { name, kind, type, constant, unit, about } = variable;
    const id = `b-${Math.random().toString(36).slice(2)}`;
    this.error = el("span", { class: "b-wrong", role: "alert", id: `${id}-error`, hidden: true });
    const shared = { id, disabled: offline, "aria-describedby": `${id}-error` };
    const enter = (event: KeyboardEvent) => this.key(event);
    if (kind === "switch") {
      this.input = el("button", { ...shared, role: "switch", class: "b-switch", "aria-label": name, click: () => this.flip() });
    } else if (kind === "choice") {
      this.input = el("select", { ...shared, change: () => this.commit() });
    } else if (kind === "fixed") {
      this.input = el("output", { id, class: "b-fixed" });
    } else {
      const numeric = kind !== "text";
      this.input = el("input", {
        ...shared,
        type: "text",
        class: numeric ? "b-number" : "b-text",
        inputmode: numeric ? "decimal" : "text",
        spellcheck: "false",
        autocomplete: "off",
        change: () => this.commit(),
        keydown: enter,
      });
    }
    if (kind === "slider") {
      this.slider = el("input", {
        type: "range",
        disabled: offline,
        "aria-label": `${name}, slider`,
        input: () => this.slide(),
        hidden: true,
      });
    }
    const label = el("label", { for: id, title: [type, about].filter(Boolean).join(": ") }, name);
    this.element = el(
      "div",
      { class: "b-variable" },
      label,
      el("span", { class: "b-control" }, this.slider, this.input, unit && el("span", { class: "b-unit" }, unit), this.said),
      el("span", { class: "b-dim b-type" }, constant ? `const ${type}` : type),
      about && el("span", { class: "b-dim b-about" }, about),
      this.error,
    );
  }

  /** *heard*: the last change that Python had taken in when it made this. */
  update(variable: Variable, heard: number): void {
    this.error.textContent = variable.error;
    this.error.hidden = variable.error === "";
    set(this.input, { "aria-invalid": variable.error ? "true" : null });
    if (this.last > heard || this.timer) return; // what the person just did is newer
    if (variable.range) {
      const [min, max, step] = variable.range;
      if (this.slider) set(this.slider, { min, max, step });
    }
    if (this.slider) {
      this.slider.hidden = variable.range === undefined;
      if (!this.slider.matches(":active")) this.slider.value = variable.value;
    }
    const choices = JSON.stringify(variable.choices);
    if (this.input instanceof HTMLSelectElement && choices !== this.choices) {
      this.choices = choices;
      this.input.replaceChildren(...(variable.choices ?? []).map((choice) => el("option", { value: choice }, choice)));
    }
    this.show(variable.value, variable.said, variable.error !== "");
  }

  private show(value: string, said: string, refused = false): void {
    this.said.textContent = said;
    if (this.input instanceof HTMLInputElement) {
      const typing = document.activeElement === this.input || this.input.getRootNode() !== document && this.input.matches(":focus");
      if (!(typing && this.input.value !== this.value) && !refused) this.input.value = value;
    } else if (this.input instanceof HTMLSelectElement) {
      this.input.value = value;
    } else if (this.variable.kind === "switch") {
      set(this.input, { "aria-checked": value });
      this.input.textContent = value === "true" ? "on" : "off";
    } else {
      this.input.textContent = value;
    }
    this.value = value;
  }

  private slide(): void {
    if (!this.slider || !(this.input instanceof HTMLInputElement)) return;
    this.next = this.slider.value;
    this.input.value = this.value = this.next;
    const { unit } = this.variable;
    this.said.textContent = unit ? humanize(Number(this.next), unit) : "";
    if (this.timer) return;
    this.push();
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      if (this.next !== undefined) this.slide();
    }, PACE);
  }

  private push(): void {
    if (this.next === undefined) return;
    const value = this.next;
    this.next = undefined;
    this.change(value);
  }

  private commit(): void {
    const value = (this.input as HTMLInputElement | HTMLSelectElement).value;
    if (value === this.value && this.error.hidden) return;
    this.value = value;
    this.change(value);
  }

  private flip(): void {
    const on = this.input.getAttribute("aria-checked") !== "true";
    this.show(String(on), "");
    this.change(on);
  }

  private change(value: string | boolean): void {
    this.last = ++sent;
    this.send(this.variable.name, value, this.last);
  }

  private key(event: KeyboardEvent): void {
    event.stopPropagation(); // the notebook has keys of its own
    if (event.key === "Enter") this.commit();
    if (event.key === "Escape" && this.input instanceof HTMLInputElement) {
      this.input.value = this.value;
      this.input.blur();
    }
  }
}
