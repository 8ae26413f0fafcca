import { expect, test } from "vitest";
import { startTestServer } from "../server/testing.ts";

const url = "/api/v1/componentstatuses";
const asTable = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };

test("tells how the scheduler, the controllers and the datastore are, with the warning of upstream", async () => {
  let controllers = { ok: true, message: undefined as string | undefined };
  await using api = await startTestServer({ slotHealth: async (slot) => (slot === "scheduler" ? { ok: true } : { ok: controllers.ok, ...(controllers.message && { message: controllers.message }) }) });
  const rows = async () => (await api.http("GET", url, undefined, asTable)).body.rows.map((row: { cells: unknown[] }) => row.cells);
  expect(await rows()).toEqual([["controller-manager", "Healthy", "ok", ""], ["etcd-0", "Healthy", "ok", ""], ["scheduler", "Healthy", "ok", ""]]);
  controllers = { ok: false, message: "controller-manager is failed: boom" };
  expect(await rows()).toContainEqual(["controller-manager", "Unhealthy", "controller-manager is failed: boom", ""]);
  const one = await api.http("GET", `${url}/scheduler`);
  expect(one.headers["warning"]).toEqual(['299 - "v1 ComponentStatus is deprecated in v1.19+"']);
  expect(one.body).toEqual({ apiVersion: "v1", kind: "ComponentStatus", metadata: { name: "scheduler" }, conditions: [{ type: "Healthy", status: "True", message: "ok" }] });
});

test("selects by field, knows no other component, and is read only", async () => {
  await using api = await startTestServer();
  const { body } = await api.http("GET", `${url}?fieldSelector=metadata.name%3Detcd-0`);
  expect([body.kind, body.items.map((item: { metadata: { name: string } }) => item.metadata.name)]).toEqual(["ComponentStatusList", ["etcd-0"]]);
  expect((await api.http("GET", `${url}/kubelet`)).body).toMatchObject({ code: 404, message: 'componentstatuses "kubelet" not found' });
  expect((await api.http("POST", url, { metadata: { name: "x" } })).body).toMatchObject({ code: 405, reason: "MethodNotAllowed" });
  expect((await api.http("GET", url, undefined, {}, { name: "somebody", groups: [] })).body).toMatchObject({ code: 403 });
});
