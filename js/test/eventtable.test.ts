import assert from "node:assert/strict";
import { test } from "node:test";
import { Awaited } from "../src/eventtable/awaited";
import { nextSort } from "../src/eventtable/header";
import { Local } from "../src/eventtable/local";
import type { Block, Cells, Meta } from "../src/eventtable/meta";
import { Position, ROW, TALLEST } from "../src/eventtable/scroll";
import type { Frame } from "../src/lib/widget";

function at(rows: number, sight = 12.5, base = 0): Position {
  const position = new Position();
  position.set(base, rows, sight);
  return position;
}

test("few rows scroll as the browser does", () => {
  const position = at(1000);
  const range = position.height - 12.5 * ROW;
  position.fromBar(240, 0, range);
  assert.equal(position.top, 10);
  assert.equal(position.toBar(range), 240);
  position.fromBar(range, 240, range);
  assert.equal(position.top, 1000 - 12.5);
  assert.ok(position.atEnd);
});

test("ten million rows fit a bar of eight million pixels, to the last one", () => {
  const position = at(10_000_000);
  const range = position.height - 12.5 * ROW;
  assert.equal(position.height, TALLEST);
  position.fromBar(range, 0, range);
  assert.equal(position.top, 10_000_000 - 12.5);
  assert.equal(position.toBar(range), range);
  position.fromBar(range / 2, range, range);
  assert.ok(Math.abs(position.top - (10_000_000 - 12.5) / 2) < 1e-3);
  position.by(-ROW); // a wheel moves by what it says, whatever the scale
  assert.ok(Math.abs(position.top - ((10_000_000 - 12.5) / 2 - 1)) < 1e-3);
  const before = position.toBar(range);
  position.fromBar(before + 48, before, range); // so does a finger
  assert.ok(Math.abs(position.top - ((10_000_000 - 12.5) / 2 + 1)) < 1e-3);
});

test("what is in sight stays in sight while rows come and go", () => {
  const position = at(1000);
  position.to(500);
  position.set(200, 1300, 12.5); // 200 were forgotten, 500 came
  assert.equal(position.top, 500);
  position.set(700, 1300, 12.5);
  assert.equal(position.top, 700);
  position.set(0, 3, 12.5);
  assert.equal(position.top, 0);
});

test("revealing moves as little as it can", () => {
  const position = at(1000, 10);
  position.reveal(5);
  assert.equal(position.top, 0);
  position.reveal(10);
  assert.equal(position.top, 1);
  position.reveal(999);
  assert.equal(position.top, 990);
  position.reveal(980);
  assert.equal(position.top, 980);
});

test("a column is sorted up, down, not at all; with shift beside others", () => {
  assert.deepEqual(nextSort([], 2, false), [[2, "asc"]]);
  assert.deepEqual(nextSort([[2, "asc"]], 2, false), [[2, "desc"]]);
  assert.deepEqual(nextSort([[2, "desc"]], 2, false), []);
  assert.deepEqual(nextSort([[2, "asc"]], 1, false), [[1, "asc"]]);
  assert.deepEqual(nextSort([[2, "asc"]], 1, true), [[2, "asc"], [1, "asc"]]);
  assert.deepEqual(nextSort([[2, "asc"], [1, "asc"]], 2, true), [[2, "desc"], [1, "asc"]]);
  assert.deepEqual(nextSort([[2, "desc"], [1, "asc"]], 2, true), [[1, "asc"]]);
});

function local(show: (block: Block) => void): Local {
  const cells = (values: (string | number | bigint)[]): Cells => ({ length: values.length, at: (i) => values[i] });
  const column = (name: string) => ({ name, kind: "text", right: false });
  const meta = {
    columns: [{ ...column("n"), grouped: true }, column("comm")], shown: [0, 1], rows: 4, total: 4, base: 0, start: 0, epoch: 1, sort: [], filters: [],
    linked: "", follow: false, stream: true, map: false, newer: 0, sorted: "", raw: false, selected: 0, embedded: 4,
    source: { name: "", kind: "stream", live: false },
  } as unknown as Frame<Meta>["meta"];
  const columns = {
    "#": cells([10n, 11n, 12n, 13n]), c0: cells(["18,446,744,073,709,551,615", "5", "\0", "9"]), r0: cells([2, 0, 2 ** 32 - 1, 1]),
    c1: cells(["dd", 'c"t', "dd", "awk,"]), selected: cells([0, 0, 0, 0]),
  };
  return new Local({ seq: 1, full: true, meta, columns: columns as never }, show);
}

test("an offline page sorts by rank, filters by text and by value, and copies", async () => {
  let block: Block | undefined;
  const provider = local((shown) => (block = shown));
  const rows = () => Array.from({ length: block?.meta.rows ?? 0 }, (_, i) => String(block?.columns["#"]?.at(i)));
  provider.sort([[0, "desc"]]);
  assert.deepEqual(rows(), ["10", "13", "11", "12"]); // missing ones last
  provider.sort([[0, "asc"]]);
  assert.deepEqual(rows(), ["11", "13", "10", "12"]);
  const offer = await provider.values(1);
  assert.deepEqual(offer.labels, ["dd", 'c"t', "awk,"]);
  assert.deepEqual(offer.counts, [2, 1, 1]);
  await provider.filter({ column: 1, picks: [0, 2] });
  assert.deepEqual(rows(), ["13", "10", "12"]);
  assert.equal(await provider.filter({ column: 1, how: "contains", text: "AW" }), "");
  assert.deepEqual(rows(), ["13"]);
  assert.notEqual(await provider.filter({ column: 1, how: "matches", text: "(" }), "");
  await provider.filter({ clear: "all" });
  provider.sort([]);
  provider.select("one", "11");
  provider.select("range", "13");
  assert.equal(block?.meta.selected, 3);
  assert.equal((await provider.copy()).text, 'n,comm\r\n5,"c""t"\r\n,dd\r\n9,"awk,"\r\n');
});

test("filters and copies of counts have no commas", async () => {
  const provider = local(() => {});
  const exact = "18446744073709551615";
  assert.equal((await provider.values(0)).labels[0], exact);
  await provider.filter({ column: 0, how: "equals", text: exact });
  assert.equal((await provider.copy()).text, `n,comm\r\n${exact},dd\r\n`);
});

test("what keys ask of rows that are on their way is done when they are there, in order", () => {
  const there = new Map<number, string>();
  const done: string[] = [];
  const awaited = new Awaited((row) => there.get(row));
  const ask = (row: number) => awaited.row(row, (number) => done.push(number));
  const sight = { top: 0, sight: 12.5, base: 0, rows: 1000 };
  ask(-1); // no row
  ask(3);
  there.set(5, "105");
  ask(5); // there, but after the other
  ask(40);
  assert.deepEqual(done, []);
  there.set(3, "103");
  awaited.look(sight);
  assert.deepEqual(done, ["103", "105"]); // the one out of sight is forgotten
  there.set(40, "140");
  awaited.look(sight);
  ask(5);
  assert.deepEqual(done, ["103", "105", "105"]);
});

test("awaited rows are found where another epoch has them", () => {
  const done: string[] = [];
  const awaited = new Awaited((row) => (row === 13 ? "3" : undefined));
  awaited.row(3, (number) => done.push(number));
  awaited.move(10);
  awaited.look({ top: 10, sight: 12.5, base: 10, rows: 1000 });
  assert.deepEqual(done, ["3"]);
});
