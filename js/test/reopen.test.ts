import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Keeper } from "../src/lib/reopen";
import type { Model } from "../src/lib/model";

const VIEW = "application/vnd.jupyter.widget-view+json";
const STATE = "application/vnd.jupyter.widget-state+json";

type Json = any;

function host(notebook: Json) {
  const context = { model: { toJSON: () => structuredClone(notebook) } };
  const ends: (() => void)[] = [];
  const model = {
    get: () => "~0.11.*",
    on: (event: string, call: () => void) => event === "destroy" && ends.push(call),
    widget_manager: { context },
  } as unknown as Model;
  return { context, model, destroy: () => ends.forEach((end) => end()) };
}

const notebook = (...ids: string[]): Json => ({
  cells: [
    { cell_type: "markdown" },
    ...ids.map((id) => ({
      outputs: [{ data: { [VIEW]: { model_id: id }, "text/html": "old", "text/plain": "text" } }, { text: "a" }],
    })),
  ],
  metadata: { kernelspec: {} },
});

test("a saved notebook holds the picture in the output and in a model of the same id", () => {
  const { context, model } = host(notebook("a", "b"));
  new Keeper(model, () => {}).keep("a", "<svg>1</svg>");
  const saved = context.model.toJSON();
  assert.equal(saved.cells[1].outputs[0].data["text/html"], "<svg>1</svg>");
  assert.equal(saved.cells[1].outputs[0].data["text/plain"], "text");
  assert.deepEqual(saved.cells[1].outputs[0].data[VIEW], { model_id: "a" });
  assert.equal(saved.cells[2].outputs[0].data["text/html"], "old");
  const { state, ...versions } = saved.metadata.widgets[STATE];
  assert.deepEqual(versions, { version_major: 2, version_minor: 0 });
  assert.deepEqual(Object.keys(state), ["a"]);
  assert.equal(state.a.state._static, "<svg>1</svg>");
  assert.equal(state.a.model_module_version, "~0.11.*");
  assert.ok(JSON.stringify(state.a).length < 600);
});

test("until there is a picture of now, it is the one that came with the output", () => {
  const html = '<section class="bpfnb b-still b-panel"><img></section>';
  const written = notebook("a", "b");
  written.cells[1].outputs[0].data["text/html"] = html;
  const { context, model } = host(written);
  const keeper = new Keeper(model, () => {});
  const { state } = context.model.toJSON().metadata.widgets[STATE];
  assert.deepEqual(Object.keys(state), ["a"], "b's is not ours");
  assert.equal(state.a.state._static, html);
  assert.equal(state.a.model_module_version, "~0.11.*");
  keeper.keep("a", "now");
  const saved = context.model.toJSON();
  assert.equal(saved.metadata.widgets[STATE].state.a.state._static, "now");
  assert.equal(saved.cells[1].outputs[0].data["text/html"], "now");
});

test("models of one notebook share it, and a later picture replaces the earlier", () => {
  const { context, model } = host(notebook("a", "b"));
  new Keeper(model, () => {}).keep("a", "1");
  const second = new Keeper(model, () => {});
  second.keep("b", "2");
  second.keep("b", "3");
  const { state } = context.model.toJSON().metadata.widgets[STATE];
  assert.deepEqual([state.a.state._static, state.b.state._static], ["1", "3"]);
});

test("other widgets' states stay; pictures of outputs that are gone do not", () => {
  const first = host(notebook("a"));
  new Keeper(first.model, () => {}).keep("a", "1");
  const written = first.context.model.toJSON();
  written.metadata.widgets[STATE].state.slider = { model_name: "IntSliderModel", state: { value: 3 } };
  written.metadata.widgets.more = 1;
  written.cells[1].outputs[0].data[VIEW].model_id = "c";
  const later = host(written);
  const keeper = new Keeper(later.model, () => {});
  const widgets = later.context.model.toJSON().metadata.widgets;
  assert.deepEqual(Object.keys(widgets[STATE].state), ["slider"]);
  assert.equal(widgets.more, 1);
  keeper.keep("c", "2");
  assert.deepEqual(Object.keys(later.context.model.toJSON().metadata.widgets[STATE].state), ["slider", "c"]);
});

test("a picture from an earlier session stays as long as its output does", () => {
  const first = host(notebook("a"));
  new Keeper(first.model, () => {}).keep("a", "1");
  const later = host(first.context.model.toJSON());
  new Keeper(later.model, () => {});
  assert.equal(later.context.model.toJSON().metadata.widgets[STATE].state.a.state._static, "1");
});

test("a notebook without pictures is written as it was", () => {
  const plain = { cells: [], metadata: {} };
  const { context, model, destroy } = host(plain);
  new Keeper(model, () => {}).keep("a", "1");
  assert.deepEqual(context.model.toJSON(), plain);
  destroy();
  assert.deepEqual(context.model.toJSON(), plain);
});

test("pictures are asked for soon after the first painting, then seldom, never unasked", () => {
  mock.timers.enable();
  try {
    const { model, destroy } = host(notebook("a"));
    let asked = 0;
    const keeper = new Keeper(model, () => (asked += 1));
    mock.timers.tick(60_000);
    assert.equal(asked, 0);
    for (let i = 0; i < 100; i++) keeper.painted();
    mock.timers.tick(1_000);
    assert.equal(asked, 1);
    keeper.keep("a", "1");
    mock.timers.tick(60_000);
    assert.equal(asked, 1);
    keeper.painted();
    mock.timers.tick(9_999);
    assert.equal(asked, 1);
    mock.timers.tick(1);
    assert.equal(asked, 2);
    keeper.painted();
    destroy();
    mock.timers.tick(60_000);
    assert.equal(asked, 2);
  } finally {
    mock.timers.reset();
  }
});

test("hosts without such a notebook are left alone", () => {
  for (const widget_manager of [undefined, {}, { context: {} }, { context: { model: {} } }]) {
    let asked = 0;
    const model = { get: () => "", on: () => {}, widget_manager } as unknown as Model;
    mock.timers.enable();
    const keeper = new Keeper(model, () => (asked += 1));
    keeper.painted();
    keeper.keep("a", "1");
    mock.timers.tick(60_000);
    mock.timers.reset();
    assert.equal(asked, 0);
  }
});
