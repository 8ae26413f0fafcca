import { expect, test, vi } from "vitest";
import { customResourceDefinitions, defineResource, type KubeObject, pods, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { createTestCluster } from "../../../test/kit/index.ts";
import registries from "./registries.ts";
import temperatures from "./temperatures.ts";
import widgets from "./widgets.ts";

const inDefault = { namespace: "default" };

test("pods get a payer, and images come from the company's registry", async () => {
  await using cluster = await createTestCluster({ plugins: { registries }, config: { registries: { allowed: ["registry.example.com/", "docker.io/library/"] } } });
  const { kube } = cluster;
  await kube.create(serviceAccounts, { metadata: { name: "default", ...inDefault } }).catch(() => {});
  const pod = (name: string, image: string) => kube.create(pods, { metadata: { name, ...inDefault }, spec: { containers: [{ name: "c", image }] } } as never);
  expect((await pod("a", "docker.io/library/busybox") as KubeObject).metadata!.labels).toEqual({ "registries.example.com/payer": "default" });
  await expect(pod("b", "evil.example/x")).rejects.toMatchObject({
    code: 403, message: 'pods "b" is forbidden: container c runs evil.example/x; images come from registry.example.com/ or docker.io/library/',
  });
  const { body } = await kube.request("GET", "/metrics");
  expect(body).toContain('apiserver_admission_controller_admission_duration_seconds_count{name="Registries",operation="CREATE",rejected="true",type="validate"} 1');
});

test("widgets are pruned, defaulted, validated, scaled and explained, and outlive a restart of their plugin", async () => {
  await using cluster = await createTestCluster({ plugins: { widgets } });
  const { kube } = cluster;
  const resource = defineResource("example.com", "v1", "widgets", "Widget", "namespaced");
  const make = (name: string, spec: object) => kube.create(resource, { metadata: { name, ...inDefault }, spec } as never) as Promise<{ spec: object }>;
  expect((await make("a", { color: "red", size: 5 })).spec).toEqual({ color: "red", replicas: 1 });
  await expect(make("b", { color: "red", replicas: 4 })).rejects.toMatchObject({ code: 422, message: 'Widget.example.com "b" is invalid: spec: Invalid value: "object": no more than three red ones' });
  const path = "/apis/example.com/v1/namespaces/default/widgets";
  await kube.request("PUT", `${path}/a/scale`, { apiVersion: "autoscaling/v1", kind: "Scale", metadata: { name: "a", ...inDefault }, spec: { replicas: 2 } });
  expect((await kube.request("GET", `${path}/a`)).body).toMatchObject({ spec: { replicas: 2 }, metadata: { generation: 2 } });
  expect(((await kube.request("GET", "/openapi/v3/apis/example.com/v1")).body as any).components.schemas["com.example.v1.Widget"].properties.spec.properties.color.description).toBe("What it looks like.");
  await vi.waitFor(async () => expect((await kube.request("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com")).status).toBe(200));
  await cluster.kernel.restart("widgets");
  expect((await kube.request("GET", `${path}/a`)).body).toMatchObject({ spec: { color: "red" } });
});

test("sensors are served in both versions, converted by the plugin", async () => {
  await using cluster = await createTestCluster({ plugins: { temperatures } });
  const { kube } = cluster;
  const version = (name: string, field: string, storage: boolean) => ({
    name, served: true, storage, schema: { openAPIV3Schema: { type: "object", properties: { spec: { type: "object", properties: { [field]: { type: "integer" } } } } } },
  });
  await kube.create(customResourceDefinitions, {
    metadata: { name: "sensors.example.com" },
    spec: { group: "example.com", scope: "Namespaced", names: { plural: "sensors", singular: "sensor", kind: "Sensor", listKind: "SensorList" }, versions: [version("v1", "fahrenheit", false), version("v2", "celsius", true)] },
  } as never);
  const old = defineResource("example.com", "v1", "sensors", "Sensor", "namespaced");
  const now = defineResource("example.com", "v2", "sensors", "Sensor", "namespaced");
  const made = await kube.create(old, { metadata: { name: "a", ...inDefault }, spec: { fahrenheit: 212 } } as never) as { spec: object };
  expect(made.spec).toEqual({ fahrenheit: 212 });
  expect(await kube.get(now, "a", "default")).toMatchObject({ spec: { celsius: 100 } });
  await kube.patch(now, "a", { spec: { celsius: 0 } }, inDefault);
  expect((await kube.list(old, inDefault)).items).toMatchObject([{ spec: { fahrenheit: 32 } }]);
  expect((await kube.request("GET", "/metrics")).body).toMatch(/^apiserver_crd_conversion_plugin_duration_seconds_count\{group="example.com",kind="Sensor",plugin="temperatures",result="success"\} \d+$/m);
});
