// The rows are in Python's hands: each question travels with a number, the answer with the same.

import type { Column } from "../lib/columns";
import type { Shell } from "../lib/widget";
import type { Block, Cells, Copied, Field, FilterChange, Meta, Offer, Provider, SortKey } from "./meta";

type Content = Record<string, unknown>;

export class Remote implements Provider {
  private next = 1;
  private readonly waiting = new Map<number, (content: Content) => void>();
  private asked = 0;
  private wanted: Content | undefined;

  constructor(
    private readonly shell: Shell<Meta>,
    private readonly show: (block: Block) => void,
  ) {
    shell.onMessage("rows", (content, columns) => this.rows(content, columns));
    for (const kind of ["values", "filter", "detail", "copy"]) shell.onMessage(kind, (content) => this.answer(content));
  }

  /** One question for rows at a time; of those that come meanwhile, the last one counts. */
  need(start: number, count: number, sight: number): void {
    this.wanted = { kind: "rows", start, count, sight };
    if (this.asked === 0) this.ask();
  }

  private ask(): void {
    if (!this.wanted) return;
    this.asked = this.next++;
    this.shell.send({ ...this.wanted, id: this.asked });
    this.wanted = undefined;
  }

  private rows(content: Content, columns: Record<string, Column>): void {
    if (content["id"] !== this.asked) return;
    this.asked = 0;
    this.show({ meta: content["meta"] as Meta, columns: columns as Record<string, Cells> });
    this.ask();
  }

  /** Python may have been interrupted, or a message lost: a new frame says that it is there again. */
  frame(): void {
    this.asked = 0;
    this.ask();
  }

  sort(keys: SortKey[]): void {
    this.shell.send({ kind: "sort", keys });
  }
  columns(shown: number[]): void {
    this.shell.send({ kind: "columns", shown });
  }
  follow(on: boolean): void {
    this.shell.send({ kind: "follow", on });
  }
  raw(on: boolean): void {
    this.shell.send({ kind: "raw", on });
  }
  select(how: string, row?: string): void {
    this.shell.send(row === undefined ? { kind: "select", how } : { kind: "select", how, row });
  }

  async values(column: number): Promise<Offer> {
    return (await this.question({ kind: "values", column })) as unknown as Offer;
  }
  async filter(change: FilterChange): Promise<string> {
    return String((await this.question({ kind: "filter", ...change }))["error"] ?? "");
  }
  async detail(row: string): Promise<Field[]> {
    return (await this.question({ kind: "detail", row }))["fields"] as Field[];
  }
  async copy(): Promise<Copied> {
    return (await this.question({ kind: "copy" })) as unknown as Copied;
  }

  private question(content: Content): Promise<Content> {
    const id = this.next++;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.shell.send({ ...content, id });
    });
  }

  private answer(content: Content): void {
    const id = Number(content["id"]);
    this.waiting.get(id)?.(content);
    this.waiting.delete(id);
  }
}
