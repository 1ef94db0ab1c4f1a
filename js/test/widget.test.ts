import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { Shell } from "../src/lib/widget";

test("an error is sent and logged once, until another comes or a draw succeeds", () => {
  const log = mock.method(console, "error", () => {});
  const sent: unknown[] = [];
  let trouble = "";
  const shell = Object.assign(Object.create(Shell.prototype), {
    client: {
      send: ({ message }: { message: string }) => sent.push(message.split("\n")[0]),
      painted: () => {},
      model: { get: () => "" },
    },
    drawing: {
      draw: () => {
        if (trouble) throw new Error(trouble);
      },
    },
    errorBox: {},
    failure: "",
    last: { seq: 0 },
    root: { clientWidth: 1 },
    width: 1,
    showBadges: () => {},
  });
  const drawn = ["one", "one", "one", "two", "one", "", "one", "one"].map((text) => {
    trouble = text;
    shell.paint();
    return shell.errorBox.hidden ? "" : shell.errorBox.textContent;
  });
  assert.deepEqual(sent, ["Error: one", "Error: two", "Error: one", "Error: one"]);
  assert.equal(log.mock.callCount(), sent.length);
  assert.deepEqual(drawn, ["one", "one", "one", "two", "one", "", "one", "one"].map((text) => text && `Error: ${text}`));
  log.mock.restore();
});
