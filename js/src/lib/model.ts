// The one connection of a widget's model with Python, shared by all places that show it.

import { type Column, type ColumnHeader, unpack } from "./columns";
import { Keeper } from "./reopen";

/** What anywidget, marimo and the offline page give: https://anywidget.dev/en/afm/ */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(event: string, call: (...what: never[]) => void): void;
  off(event: string, call?: (...what: never[]) => void): void;
  widget_manager?: unknown;
}

export interface Source {
  name: string;
  kind: string;
  live: boolean;
  origin?: string;
  lost?: number;
  lost_by?: Record<string, number>;
  evicted?: number;
}

export interface Frame<Meta = Record<string, never>> {
  seq: number;
  full: boolean;
  meta: Meta & { source: Source };
  columns: Record<string, Column>;
}

interface Listener {
  frame(frame: Frame<never>): void;
  message(kind: string, content: Record<string, unknown>, columns: Record<string, Column>): void;
  readonly visible: boolean;
}

type Message = { kind: string; seq?: number; full?: boolean; meta?: unknown; columns?: ColumnHeader[] };
type Picture = { id: string; html: string };

/** Frames in, acknowledgements out. Python sends nothing while `visible` is false, and at most two frames ahead. */
export class Client {
  readonly state: Record<string, unknown> = {};
  readonly offline: boolean;
  private readonly id = Math.random().toString(36).slice(2);
  private readonly listeners = new Set<Listener>();
  private readonly keeper: Keeper;
  private seq = 0;
  private source: Source = { name: "", kind: "", live: false };
  private seen: boolean | undefined;

  constructor(readonly model: Model) {
    this.offline = model.get("_offline") === true;
    this.keeper = new Keeper(model, () => this.send({ kind: "static" }));
    model.on("msg:custom", ((content: Message, buffers: DataView[] = []) => this.receive(content, buffers)) as never);
    document.addEventListener("visibilitychange", () => this.look());
    window.addEventListener("pagehide", ({ persisted }) => {
      if (persisted || this.seen === undefined) return;
      this.seen = undefined; // that it is hidden, too, is said only now
      this.send({ kind: "away" });
    });
  }

  join(listener: Listener): () => void {
    this.listeners.add(listener);
    this.seen = true;
    this.send({ kind: "hello", visible: true });
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) {
        this.seen = undefined;
        this.send({ kind: "bye" });
      } else this.look();
    };
  }

  /** Tells Python when the picture can be seen no more, or again. */
  look(): void {
    const seen = !document.hidden && [...this.listeners].some((listener) => listener.visible);
    if (this.seen === undefined || seen === this.seen) return;
    this.seen = seen;
    this.send({ kind: "visible", visible: seen });
  }

  painted(seq: number): void {
    this.send({ kind: "ack", seq });
    this.keeper.painted();
  }

  send(content: Record<string, unknown>, buffers: ArrayBuffer[] = []): void {
    this.model.send({ ...content, client: this.id }, undefined, buffers);
  }

  private receive(content: Message, buffers: DataView[]): void {
    if (content.kind === "static") {
      const { id, html } = content as unknown as Picture;
      this.keeper.keep(id, html);
      return;
    }
    if (content.kind !== "frame") {
      const columns = unpack(content.columns ?? [], buffers);
      for (const listener of this.listeners) listener.message(content.kind, content as never, columns);
      return;
    }
    const { seq = 0, full = true } = content;
    if (!full && seq !== this.seq + 1) {
      this.send({ kind: "resync", visible: this.seen ?? true });
      return;
    }
    this.seq = seq;
    const meta = content.meta as Frame["meta"];
    this.source = meta.source ??= this.source; // said anew when it changes
    const frame: Frame = { seq, full, meta, columns: unpack(content.columns ?? [], buffers) };
    for (const listener of this.listeners) listener.frame(frame as never);
  }
}

const clients = new Map<string, Client>();

/** The client of a model. Hosts wrap models anew for each view, so it goes by the view's own key. */
export function clientOf(model: Model): Client {
  const key = String(model.get("_key"));
  let client = clients.get(key);
  if (!client) clients.set(key, (client = new Client(model)));
  return client;
}
