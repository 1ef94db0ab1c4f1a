// Text on the clipboard, by whatever way the browser allows.

import { el } from "../lib/dom";

/** Where nothing else works, a box in `root` shows the text, selected, to be copied by hand. */
export async function toClipboard(text: Promise<string>, root: HTMLElement): Promise<"copied" | "shown"> {
  try {
    // The item is given before its text is there: a browser counts the click only for a moment.
    const blob = text.then((ready) => new Blob([ready], { type: "text/plain" }));
    await navigator.clipboard.write([new ClipboardItem({ "text/plain": blob })]);
    return "copied";
  } catch {
    // no clipboard in this context, or it was refused
  }
  const ready = await text;
  const area = el("textarea", { readonly: true, "aria-label": "rows as CSV" });
  area.value = ready;
  const done = el("button", { click: () => box.remove() }, "Close");
  const box = el("div", { class: "et-hand", role: "dialog", "aria-label": "copy by hand" }, "Press Ctrl+C to copy", area, done);
  root.append(box);
  area.select();
  if (document.execCommand("copy")) {
    box.remove();
    return "copied";
  }
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") box.remove();
  });
  return "shown";
}
