import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { evictionOrder, rotate } from "./housekeeping.ts";
import { testPod } from "./testing/harness.ts";

it("keeps the newest logs when it rotates", async () => {
  const folder = mkdtempSync(join(tmpdir(), "rotate-"));
  for (let i = 0; i < 6; i++) {
    writeFileSync(join(folder, "0.log"), String(i));
    await rotate(join(folder, "0.log"), new Date(Date.UTC(2026, 0, 1, 0, 0, i)), 3);
  }
  expect(readdirSync(folder).sort()).toEqual(["0.log.20260101-000004", "0.log.20260101-000005"]);
});

it("evicts the least important first, and critical or static pods never", () => {
  const limits = { cpu: "1", memory: "1Gi" };
  const guaranteed = testPod("guaranteed", { containers: [{ name: "c", resources: { limits } }] });
  const high = testPod("high", { priority: 10 });
  const critical = testPod("critical", { priority: 2_000_000_000 });
  const fixed = { ...testPod("static"), metadata: { ...testPod("static").metadata, annotations: { "kubernetes.io/config.source": "file" } } };
  expect(evictionOrder([guaranteed, critical, high, fixed, testPod("plain")]).map((p) => p.metadata.name)).toEqual(["plain", "guaranteed", "high"]);
});
