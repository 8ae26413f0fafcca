import type { Contributions } from "@k3s-p/plugin-api";
import type { NativeResource } from "@k3s-p/plugin-api/points";
import { expect, test } from "vitest";
import { serveNative, toResourceDef } from "./native.ts";
import { startTestServer } from "./testing.ts";

const widget = (schema?: object): NativeResource => ({ group: "example.com", version: "v1", kind: "Widget", plural: "widgets", namespaced: true, ...(schema && { schema }) });
const WIDGETS = "/apis/example.com/v1/namespaces/default/widgets";
const object = (name: string, more: object = {}): object => ({ apiVersion: "example.com/v1", kind: "Widget", metadata: { name }, ...more });

/** Contributions that a test changes. */
function contributed(): Contributions<NativeResource> & { set(...list: NativeResource[]): void } {
  let list: readonly NativeResource[] = [];
  const listeners = new Set<() => void>();
  return {
    list: () => list.map((impl) => ({ plugin: "mine", impl })),
    onChange: (fn) => (listeners.add(fn), () => void listeners.delete(fn)),
    set(...next) {
      list = next;
      for (const fn of listeners) fn();
    },
  };
}

test("resources come and go with those who contribute them; their objects stay", async () => {
  await using api = await startTestServer();
  const contributions = contributed();
  const failures: unknown[] = [];
  serveNative({ registry: api.registry, contributions, onError: (...failure) => failures.push(failure) });
  expect((await api.http("GET", WIDGETS)).status).toBe(404);
  contributions.set(widget());
  expect((await api.http("POST", WIDGETS, object("a", { anything: { goes: [1] } }))).body).toMatchObject({ anything: { goes: [1] }, metadata: { generation: 1 } });
  expect((await api.http("GET", "/apis/example.com/v1")).body.resources.map(({ name }: { name: string }) => name)).toEqual(["widgets"]);
  contributions.set();
  expect((await api.http("GET", WIDGETS)).status).toBe(404);
  contributions.set(widget());
  expect((await api.http("GET", WIDGETS)).body.items).toHaveLength(1);
  expect(failures).toEqual([]);
});

test("a schema prunes, defaults and validates, also what is applied and patched", async () => {
  await using api = await startTestServer();
  api.registry.add([toResourceDef(widget({ type: "object", properties: { spec: { type: "object", properties: {
    size: { type: "integer", maximum: 5, default: 1 }, tags: { type: "array", items: { type: "object", required: ["name"], properties: { name: { type: "string" }, value: { type: "string" } } }, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"] },
  } } } }))]);
  const made = await api.http("POST", `${WIDGETS}?fieldValidation=Warn`, object("a", { spec: { junk: 1 } }));
  expect([made.body.spec, made.headers["warning"]]).toEqual([{ size: 1 }, ['299 - "unknown field \\"spec.junk\\""']]);
  expect((await api.http("PATCH", `${WIDGETS}/a`, { spec: { size: 6 } })).body.message).toBe('Widget.example.com "a" is invalid: spec.size: Invalid value: 6: spec.size in body should be less than or equal to 5');
  const apply = (manager: string, name: string) => api.http("PATCH", `${WIDGETS}/a?fieldManager=${manager}`, object("a", { spec: { tags: [{ name }] } }), { "content-type": "application/apply-patch+yaml" });
  await apply("one", "x");
  expect((await apply("two", "y")).body.spec.tags).toHaveLength(2);
});

test("what cannot be served is told with the plugin's name, and the rest is served", async () => {
  await using api = await startTestServer();
  const contributions = contributed();
  const failures: [string, string, string][] = [];
  serveNative({ registry: api.registry, contributions, onError: (plugin, resource, error) => failures.push([plugin, resource, (error as Error).message]) });
  contributions.set(widget({ type: "object", properties: { spec: { properties: {} } } }), { ...widget(), plural: "gears", kind: "Gear" });
  expect(failures).toEqual([["mine", "widgets.example.com", "schema.properties[spec].type: Required value: must not be empty for specified object fields"]]);
  expect((await api.http("GET", WIDGETS)).status).toBe(404);
  expect((await api.http("GET", "/apis/example.com/v1/gears")).status).toBe(200);
});
