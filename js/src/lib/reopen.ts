// What a notebook saved while a view is live holds for whoever opens it without the kernel: the last static picture.
//
// JupyterLab and Notebook 7 save an output that names a widget's model, but not the model, and then show "model not
// found". So the JSON that they write gets two things more, the document itself stays as it is: the picture beside
// the widget in the output, for readers that know no widgets, and a tiny model under the same id that shows it.
// Until Python sent one, and where nothing was painted yet, it is the picture that came with the output itself.

import type { Model } from "./model";

const VIEW = "application/vnd.jupyter.widget-view+json";
const STATE = "application/vnd.jupyter.widget-state+json";
const PICTURES = Symbol.for("bpfnb.pictures"); // on the document, since each model has a copy of this module
const ESM = 'export default{render({model,el}){el.innerHTML=model.get("_static")}}';
const MARK = 'class="bpfnb b-still'; // of the static pictures that Python puts beside its widgets

const SOON = 1_000; // ms from the first painting until its picture is asked for
const SELDOM = 10_000; // and from a later one

type Pictures = Map<string, string>; // HTML by model
type Json = Record<string, unknown>;

interface Notebook {
  cells: { outputs?: { data?: Json }[] }[];
  metadata: Json & { widgets?: Json };
}

interface Document {
  model: { toJSON(): Notebook };
  [PICTURES]?: Pictures;
}

/** Keeps the last picture of one model where its notebook finds it. Does nothing in hosts without such a notebook. */
export class Keeper {
  private readonly pictures: Pictures | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private id = "";

  /** `ask` makes Python answer with the picture: see `keep`. */
  constructor(
    model: Model,
    private readonly ask: () => void,
  ) {
    this.pictures = quietly(() => picturesOf(model));
    model.on("destroy", (() => this.forget()) as never);
  }

  /** Something new was painted. */
  painted(): void {
    if (!this.pictures || this.timer !== undefined) return;
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        this.ask();
      },
      this.id ? SELDOM : SOON,
    );
  }

  /** Python's answer: the model's id and its picture of now. */
  keep(id: string, html: string): void {
    this.id = id;
    this.pictures?.set(id, html);
  }

  private forget(): void {
    clearTimeout(this.timer);
    this.pictures?.delete(this.id);
  }
}

function picturesOf(model: Model): Pictures | undefined {
  const document = (model.widget_manager as { context?: Document } | undefined)?.context;
  if (!document || typeof document.model?.toJSON !== "function") return undefined;
  return (document[PICTURES] ??= hook(document, model.get("_model_module_version")));
}

function hook(document: Document, version: unknown): Pictures {
  const pictures: Pictures = new Map();
  const { model } = document;
  const before = model.toJSON;
  model.toJSON = () => {
    const notebook = before.call(model);
    quietly(() => complete(notebook, pictures, version));
    return notebook;
  };
  return pictures;
}

/** Puts the pictures into a notebook's JSON, and takes out those that no output shows any more. */
function complete(notebook: Notebook, pictures: Pictures, version: unknown): void {
  const shown: Pictures = new Map();
  for (const { data } of notebook.cells.flatMap((cell) => cell.outputs ?? [])) {
    const id = (data?.[VIEW] as { model_id?: string } | undefined)?.model_id;
    if (!data || !id) continue;
    const picture = pictures.get(id);
    if (picture !== undefined) data["text/html"] = picture;
    shown.set(id, String(data["text/html"]));
  }
  const widgets = notebook.metadata.widgets?.[STATE] as { state?: Record<string, Json> } | undefined;
  const kept = Object.entries(widgets?.state ?? {}).filter(([id, model]) => shown.has(id) || !ours(model));
  const state = Object.fromEntries(kept);
  for (const [id, html] of shown) {
    if (pictures.has(id)) state[id] = standIn(html, version);
    else if (html.includes(MARK)) state[id] ??= standIn(html, version);
  }
  if (Object.keys(state).length > 0) {
    const all = { version_major: 2, version_minor: 0, ...widgets, state };
    notebook.metadata.widgets = { ...notebook.metadata.widgets, [STATE]: all };
  } else if (widgets) {
    const { [STATE]: _, ...others } = notebook.metadata.widgets ?? {};
    notebook.metadata.widgets = others;
    if (Object.keys(others).length === 0) delete notebook.metadata.widgets;
  }
}

function ours(model: Json): boolean {
  return (model["state"] as Json | undefined)?.["_esm"] === ESM;
}

function standIn(html: string, version: unknown): Json {
  return {
    model_module: "anywidget",
    model_name: "AnyModel",
    model_module_version: version,
    state: {
      _model_module: "anywidget",
      _model_name: "AnyModel",
      _model_module_version: version,
      _view_module: "anywidget",
      _view_name: "AnyView",
      _view_module_version: version,
      _anywidget_id: "bpfnb.picture",
      _esm: ESM,
      _static: html,
    },
  };
}

/** Saving must not fail because of us. */
function quietly<Result>(call: () => Result): Result | undefined {
  try {
    return call();
  } catch (error) {
    console.warn("bpfnb: no picture for the saved notebook:", error);
    return undefined;
  }
}
