import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseCidr } from "@k3s-p/plugin-api";
import { openLeases } from "./leases.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "leases-"))));
afterEach(() => rmSync(dir, { recursive: true }));
const open = () => openLeases(join(dir, "addresses"), parseCidr("10.77.0.0/29")!);

test("each owner has one address, never the network's, the gateway's or the broadcast", () => {
  const leases = open();
  expect(["a", "b", "a", "c"].map(leases.take)).toEqual(["10.77.0.2", "10.77.0.3", "10.77.0.2", "10.77.0.4"]);
  expect(["d", "e"].map(leases.take)).toEqual(["10.77.0.5", "10.77.0.6"]);
  expect(() => leases.take("f")).toThrow("all 5 addresses are taken");
});

test("a restart forgets nothing, and what was released can be taken again", () => {
  const first = open();
  for (const owner of ["a", "b", "c"]) first.take(owner);
  first.release("b");
  first.release("nobody");
  expect([first.of("c"), first.of("b"), first.owners()]).toEqual(["10.77.0.4", undefined, ["a", "c"]]);
  const second = open();
  expect(["c", "d"].map(second.take)).toEqual(["10.77.0.4", "10.77.0.3"]);
});
