// The host's colours as plain values, for canvases: JupyterLab's variables, VS Code's, or a light and a dark pair.

import css from "./theme.css";

export interface Colors {
  fg: string;
  dim: string;
  bg: string;
  soft: string;
  line: string;
  accent: string;
  ok: string;
  warn: string;
  bad: string;
  /** Okabe and Ito's, told apart whatever way one sees colours. */
  categories: string[];
  /** cividis, 0 to 1: even steps in lightness for every kind of colour vision. */
  sequential: (t: number) => string;
}

const NAMES = ["fg", "dim", "bg", "soft", "line", "accent", "ok", "warn", "bad"] as const;
const CATEGORIES = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b5a600", "#7f7f7f",
];

export const stylesheet: string = css;

export function colorsOf(element: HTMLElement): Colors {
  const probe = document.createElement("span");
  element.append(probe);
  const found = Object.fromEntries(
    NAMES.map((name) => {
      probe.style.color = `var(--b-${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  ) as Record<(typeof NAMES)[number], string>;
  probe.remove();
  return { ...found, categories: CATEGORIES, sequential: cividis };
}

export function isDark(colors: Colors): boolean {
  const [r = 255, g = 255, b = 255] = (colors.bg.match(/[\d.]+/g) ?? []).map(Number);
  return 0.299 * r + 0.587 * g + 0.114 * b < 128;
}

/** Calls back when the host changes its theme; returns what ends that. */
export function onThemeChange(call: () => void): () => void {
  const observer = new MutationObserver(call);
  for (const element of [document.documentElement, document.body]) {
    if (element) observer.observe(element, { attributes: true, attributeFilter: THEME_ATTRIBUTES });
  }
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", call);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", call);
  };
}

const THEME_ATTRIBUTES = ["class", "style", "data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-kind", "data-theme"];

// Nuñez, Anderton and Renslow, "Optimizing colormaps with consideration for color vision deficiency" (2018); the
// polynomial is fitted to their table, as in d3-scale-chromatic.
export function cividis(t: number): string {
  const x = Math.min(1, Math.max(0, t));
  const part = (value: number) => Math.round(Math.min(255, Math.max(0, value)));
  const r = -4.54 - x * (35.34 - x * (2381.73 - x * (6402.7 - x * (7024.72 - x * 2710.57))));
  const g = 32.49 + x * (170.73 + x * (52.82 - x * (131.46 - x * (176.58 - x * 67.37))));
  const b = 81.24 + x * (442.36 - x * (2482.43 - x * (6167.24 - x * (6614.94 - x * 2475.67))));
  return `rgb(${part(r)},${part(g)},${part(b)})`;
}
