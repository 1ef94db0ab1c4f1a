// The panel of an object: its state with buttons, what its programs, streams and maps do, a control for each variable.

import { el, set } from "./lib/dom";
import { type Shell, widget } from "./lib/widget";
import { Controls, page, type Variable } from "./panel/controls";
import { type Cell, Grid } from "./panel/grid";
import css from "./panel/panel.css";

interface Fill {
  share: number;
  text: string;
}

interface Meta {
  state: string;
  tone: string;
  note: string;
  cost: string;
  verbs: string[];
  programs: { name: string; section: string; attached: string; runs: string; average: string; share: string; history: number[] }[];
  streams: { name: string; rows: string; received: string; rate: string; history: number[]; lost: string; fill: Fill | null }[];
  maps: { name: string; type: string; entries: string; most: string; fill: Fill | null; refused: string }[];
  variables: Variable[];
  heard: Record<string, number>;
}

const VERBS: Record<string, [string, string]> = {
  attach: ["Attach", "attach the programs to their hooks"],
  pause: ["Pause", "detach until Resume; maps keep their contents"],
  resume: ["Resume", "attach again"],
  stop: ["Stop", "detach for good; maps and rows stay readable"],
};

export default widget<Meta>((shell: Shell<Meta>) => {
  const badge = el("span", { class: "b-badge", role: "status" });
  const cost = el("span", { class: "b-dim b-cost" });
  const buttons = el("span", { class: "b-buttons" });
  const note = el("p", { class: "b-note", role: "status", hidden: true });
  const programs = new Grid("program", ["section", "attached", "runs", "average", "CPU"]);
  const streams = new Grid("stream", ["rows kept", "received", "rate", "lost", "buffer fill"]);
  const maps = new Grid("map", ["kind", "entries", "max entries", "fill", "refused"]);
  const controls = new Controls((name, value, number) => shell.send({ kind: "set", name, value, number, page }), shell.offline);
  let verbs = "";

  shell.toolbar.append(badge, cost, buttons);
  shell.toolbar.setAttribute("aria-label", "the object");
  shell.root.classList.add("b-object");
  shell.root.style.minHeight = `${Number(shell.get("_least")) || 0}px`;
  shell.root.append(el("style", {}, css), note, programs.element, streams.element, maps.element, controls.element);

  function act(verb: string): void {
    for (const button of buttons.querySelectorAll("button")) button.disabled = true;
    shell.announce(`${VERBS[verb]?.[0] ?? verb} …`);
    shell.send({ kind: "do", verb });
  }

  function head(meta: Meta): void {
    if (badge.textContent !== meta.state) shell.announce(`${shell.get("title")} is ${meta.state}`);
    set(badge, { class: meta.tone ? `b-badge b-${meta.tone}` : "b-badge" });
    badge.textContent = meta.state;
    cost.textContent = meta.cost;
    note.textContent = meta.note;
    note.hidden = meta.note === "";
    const wanted = shell.offline ? "" : meta.verbs.join();
    const waiting = buttons.querySelector("button:disabled") !== null;
    if (wanted === verbs && !waiting) return;
    if (wanted === "" && !shell.offline && buttons.childElementCount > 0) return; // being carried out: they stay, disabled
    verbs = wanted;
    buttons.replaceChildren(
      ...(wanted ? wanted.split(",") : []).map((verb) => {
        const [label, title] = VERBS[verb] ?? [verb, ""];
        return el("button", { class: `b-${verb}`, title, click: () => act(verb) }, label);
      }),
    );
  }

  return {
    draw({ meta }) {
      shell.root.style.minHeight = "";
      head(meta);
      programs.update(
        meta.programs.map(({ name, section, attached, runs, average, share, history }) => [
          name,
          [{ text: section, code: true }, attached, number(runs), number(average), { ...number(share), spark: history }],
        ]),
      );
      streams.update(
        meta.streams.map(({ name, rows, received, rate, history, lost, fill }) => [
          name,
          [number(rows), number(received), { ...number(rate), spark: history }, loss(lost), full(fill)],
        ]),
      );
      maps.update(
        meta.maps.map(({ name, type, entries, most, fill, refused }) => [
          name,
          [type, number(entries), number(most), full(fill), loss(refused)],
        ]),
      );
      controls.update(meta.variables, meta.heard);
    },
  };
});

function number(text: string): Cell & object {
  return { text, number: true };
}

function loss(text: string): Cell {
  return { text, number: true, bad: text !== "0" && text !== "-" };
}

function full(fill: Fill | null): Cell {
  return fill ? { text: fill.text, number: true, bar: fill.share } : number("-");
}
