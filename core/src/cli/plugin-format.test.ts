/** What `k3s-p plugin` prints of a server's answers. */
import { expect, test } from "vitest";
import type { ListResult } from "../admin/protocol.ts";
import { listText } from "./plugin-format.ts";

test("the list shows what ails a plugin now, and not what has passed", () => {
  const plugin = (id: string, ...health: ListResult["plugins"][number]["health"]): ListResult["plugins"][number] =>
    ({ id, version: "0.1.0", slots: [], mode: "inline", criticality: "required", state: "ready", since: 0, restarts: 0, health });
  const text = listText({ plugins: [plugin("well", { ok: false, message: "no answer" }, { ok: true }), plugin("ill", { ok: true }, { ok: false, message: "no answer" })], leftOut: [] }, 5000);
  expect(text.split("\n").map((line) => line.replace(/ +/g, " "))).toEqual([
    "NAME VERSION SLOT MODE STATE SINCE RESTARTS MESSAGE", "ill 0.1.0 - inline ready 5s 0 no answer", "well 0.1.0 - inline ready 5s 0", "",
  ]);
});
