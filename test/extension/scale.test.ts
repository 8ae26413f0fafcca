/** A thousand definitions: what they cost in memory, and what others pay for them. Time is computing time, not the clock. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startTestServer, type TestServer } from "../../plugins/apiserver/src/server/testing.ts";
import { certificates, type Definition } from "./crds.ts";

const COUNT = 1000;
const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

async function memory(): Promise<number> {
  await sleep(300);
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

async function computing(run: () => Promise<void>): Promise<number> {
  const begin = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}

function numbered(i: number): Definition {
  const crd = certificates();
  const plural = `things${i}`;
  Object.assign(crd.spec, { group: `g${i % 100}.example.com`, names: { plural, singular: `thing${i}`, kind: `Thing${i}`, listKind: `Thing${i}List` } });
  crd.metadata.name = `${plural}.${crd.spec.group}`;
  return crd;
}

const writes = (api: TestServer, prefix: string) => async (): Promise<void> => {
  for (let i = 0; i < 300; i++) {
    await api.http("POST", "/api/v1/namespaces/default/configmaps", { metadata: { name: `${prefix}${i}` } });
    await api.http("GET", `/api/v1/namespaces/default/configmaps/${prefix}${i}`);
  }
};

test("a thousand definitions take less than 150 MB, and slow nobody down", { timeout: 60_000 }, async () => {
  await using api = await startTestServer();
  await computing(writes(api, "warm"));
  const before = await computing(writes(api, "before"));
  const empty = await memory();
  for (let i = 0; i < COUNT; i++) expect((await api.http("POST", CRDS, numbered(i))).status).toBe(201);
  const full = await memory();
  expect(full - empty).toBeLessThan(150);
  const last = `/apis/g${(COUNT - 1) % 100}.example.com/v1/namespaces/default/things${COUNT - 1}`;
  const made = await api.http("POST", last, { apiVersion: `g${(COUNT - 1) % 100}.example.com/v1`, kind: `Thing${COUNT - 1}`, metadata: { name: "x" }, spec: { secretName: "s", issuerRef: { name: "i" } } });
  expect(made.body.spec.issuerRef.kind).toBe("Issuer");
  const after = await computing(writes(api, "after"));
  // Noise of a machine that others use at the same time is within a third.
  expect(after / before).toBeLessThan(1.35);
});
