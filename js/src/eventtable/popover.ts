// A small box over the table, beside what opened it: closed by Escape, by a click elsewhere, or by itself.

import { el } from "../lib/dom";

export class Popover {
  private box: HTMLElement | undefined;
  private from: HTMLElement | undefined;

  constructor(private readonly root: HTMLElement) {
    this.outside = this.outside.bind(this);
  }

  get isOpen(): boolean {
    return this.box !== undefined;
  }

  open(label: string, from: HTMLElement, ...content: Node[]): void {
    const again = this.from === from;
    this.close();
    if (again) return;
    const box = el("div", { class: "et-pop", role: "dialog", "aria-label": label }, ...content);
    box.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Escape") return;
      this.close();
      from.focus();
    });
    this.box = box;
    this.from = from;
    this.root.append(box);
    this.place();
    document.addEventListener("pointerdown", this.outside, true);
    (box.querySelector<HTMLElement>("input[type=text]") ?? box.querySelector<HTMLElement>("input, button"))?.focus();
  }

  /** Beside what opened it, within the table. */
  place(): void {
    const { box, from } = this;
    if (!box || !from) return;
    const around = this.root.getBoundingClientRect();
    const edge = from.getBoundingClientRect();
    const top = Math.max(2, Math.min(edge.bottom - around.top + 4, around.height - 160));
    box.style.maxHeight = `${around.height - top - 4}px`;
    box.style.top = `${top}px`;
    box.style.left = `${Math.max(2, Math.min(edge.right - around.left - 40, around.width - box.offsetWidth - 6))}px`;
  }

  close(): void {
    this.box?.remove();
    this.box = this.from = undefined;
    document.removeEventListener("pointerdown", this.outside, true);
  }

  private outside(event: Event): void {
    const path = event.composedPath();
    if (!this.box || path.includes(this.box) || (this.from && path.includes(this.from))) return;
    this.close();
  }
}
