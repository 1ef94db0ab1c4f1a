// What Python (or, in an offline page, the local provider) says of the rows, and what the grid asks of it.

export interface ColumnInfo {
  name: string;
  kind: string;
  right: boolean;
  unit?: string;
  format?: string;
  description?: string;
  zone?: string;
  /** Cells have commas between thousands; filters and copies have none. */
  grouped?: boolean;
}

export type Way = "asc" | "desc";
export type SortKey = [column: number, way: Way];

export interface Chip {
  column: number;
  name: string;
  text: string;
}

export interface Meta {
  columns: ColumnInfo[];
  /** Places of the columns that are seen, in order. */
  shown: number[];
  /** Rows that pass the filters, of how many there are. */
  rows: number;
  total: number;
  /** Position of the first row, and of the first one in this block; they hold for one epoch. */
  base: number;
  start: number;
  epoch: number;
  sort: SortKey[];
  filters: Chip[];
  linked: string;
  follow: boolean;
  stream: boolean;
  map: boolean;
  newer: number;
  sorted: string;
  raw: boolean;
  selected: number;
  /** Rows that an offline page holds. */
  embedded?: number;
  /** Rows that there were when it was made. */
  of?: number;
  /** And which of them it holds: newest, first, last. */
  which?: string;
}

/** A column of a block: text, or the numbers of the rows. */
export interface Cells {
  readonly length: number;
  at(index: number): string | number | bigint | undefined;
}

/** Rows from `meta.start` on: `c3` is the text of column 3, `t3` what hovering says, `#` the numbers of the rows. */
export interface Block {
  meta: Meta;
  columns: Record<string, Cells>;
}

export interface Offer {
  how: string;
  text: string;
  labels: string[];
  counts: number[];
  picked: boolean[];
  distinct: number;
}

export type FilterChange =
  | { column: number; how: string; text: string }
  | { column: number; picks: number[] }
  | { column: number; name: string; clear: true }
  | { clear: "all" };

export interface Field {
  name: string;
  value: string;
  raw: string;
  note: string;
}

export interface Copied {
  text: string;
  rows: number;
  of: number;
}

/** Who has the rows. Whatever changes what is seen is answered by a block. */
export interface Provider {
  need(start: number, count: number, sight: number): void;
  sort(keys: SortKey[]): void;
  columns(shown: number[]): void;
  follow(on: boolean): void;
  raw(on: boolean): void;
  select(how: "one" | "toggle" | "range" | "all" | "none", row?: string): void;
  values(column: number): Promise<Offer>;
  /** Resolves to what is wrong with the filter, or "". */
  filter(change: FilterChange): Promise<string>;
  detail(row: string): Promise<Field[]>;
  copy(): Promise<Copied>;
}

/** A missing value among the cells' texts. */
export const NA = "\0";
