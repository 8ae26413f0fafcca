import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { createBridge } from "@k3s-p/plugin-api/wire/bridge";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apiError, configMaps, forbidden, leases, secrets } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { readArgs } from "../server/args.ts";
import { startTestServer } from "../server/testing.ts";
import { createWebhookClient } from "../webhook/client.ts";
import { caBundle, startTestWebhook } from "../webhook/testing.ts";
import { contributedPlugin } from "./contributed.ts";
import { pluginNames } from "./index.ts";
import { createAdmissionMetrics } from "./metrics.ts";
import { admissionSettings } from "./settings.ts";
import { namespace, object, pod, refusal, world, worldWith } from "./testing.ts";

let folder: string;
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), "k3sp-admission-")); });
afterAll(() => rmSync(folder, { recursive: true }));

const settingsOf = (...args: string[]): ReturnType<typeof admissionSettings> => admissionSettings(readArgs(args), pluginNames);
const fileOf = (name: string, content: object | string): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
};
const configuration = (...plugins: object[]): object => ({ apiVersion: "apiserver.config.k8s.io/v1", kind: "AdmissionConfiguration", plugins });

describe("the flags", () => {
  test.each<[string, string[], string]>([
    ["an unknown plugin", ["enable-admission-plugins=NodeRestriction,Nope"], 'kube-apiserver-arg enable-admission-plugins: enable-admission-plugins plugin "Nope" is unknown'],
    ["one in both", ["enable-admission-plugins=PodSecurity", "disable-admission-plugins=PodSecurity"], "PodSecurity in enable-admission-plugins and disable-admission-plugins overlapped"],
    ["one that needs a configuration", ["enable-admission-plugins=EventRateLimit"], "EventRateLimit has no configuration"],
    ["a missing file", ["admission-control-config-file=/nope"], "kube-apiserver-arg admission-control-config-file: /nope cannot be used: ENOENT"],
  ])("refuse %s", async (_, args, message) => {
    await expect(settingsOf(...args)).rejects.toMatchObject({ code: "K3SP_FLAG_INVALID", message: expect.stringContaining(message) });
  });

  test.each<[string, object, string]>([
    ["another kind", { kind: "Pod" }, 'the kind is "Pod" and not AdmissionConfiguration'],
    ["a plugin without configuration", configuration({ name: "LimitRanger" }), 'plugin "LimitRanger" takes no configuration'],
    ["no limits", configuration({ name: "EventRateLimit", configuration: { limits: [] } }), "plugin EventRateLimit: limits: Invalid value: []: must not be empty"],
    ["a limit of no type", configuration({ name: "EventRateLimit", configuration: { limits: [{ type: "All", qps: 1, burst: 1 }] } }), 'limits[0].type: Unsupported value: "All": supported values: "Server", "Namespace", "User", "SourceAndObject"'],
    ["a limit of nothing", configuration({ name: "EventRateLimit", configuration: { limits: [{ type: "Server", qps: 0, burst: 1 }] } }), "limits[0].qps: Invalid value: 0: must be positive"],
    ["no backend", configuration({ name: "ImagePolicyWebhook", configuration: {} }), "imagePolicy.kubeConfigFile: Required value"],
  ])("refuse a file with %s", async (_, content, message) => {
    await expect(settingsOf(`admission-control-config-file=${fileOf("bad.yaml", content)}`)).rejects.toThrow(message);
  });

  test("read files beside the file", async () => {
    fileOf("events.yaml", "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits:\n- {type: User, qps: 5, burst: 10}\n");
    const file = fileOf("all.yaml", configuration({ name: "EventRateLimit", path: "events.yaml" }, { name: "PodSecurity", configuration: { defaults: { enforce: "baseline" } } }));
    const settings = await settingsOf("enable-admission-plugins=EventRateLimit", "enable-admission-plugins=AlwaysPullImages", `admission-control-config-file=${file}`);
    expect([...settings.enabled]).toEqual(["EventRateLimit", "AlwaysPullImages"]);
    expect(settings.eventLimits).toEqual([{ type: "User", qps: 5, burst: 10, cacheSize: 4096 }]);
    expect(settings.podSecurity?.defaults.enforce).toEqual({ level: "baseline", version: "latest" });
  });
});

const only = (...names: string[]) => ({ enabled: new Set(names), disabled: new Set<string>() });

test("AlwaysPullImages pulls always, and nothing does unless it is enabled", async () => {
  const given = pod({ initContainers: [{ name: "i" }], containers: [{ name: "c", imagePullPolicy: "Never" }], volumes: [{ name: "v", image: { reference: "r" } }] });
  const { spec } = await worldWith({ settings: only("AlwaysPullImages") }).run(given);
  expect([spec.initContainers[0].imagePullPolicy, spec.containers[0].imagePullPolicy, spec.volumes[0].image.pullPolicy]).toEqual(["Always", "Always", "Always"]);
  expect((await world().run(given)).spec.containers[0].imagePullPolicy).toBe("Never");
});

test("DenyServiceExternalIPs lets stay and go what is there", async () => {
  const { run } = worldWith({ settings: only("DenyServiceExternalIPs") });
  const service = (...externalIPs: string[]) => object("v1", "Service", "s", { spec: { externalIPs } }, "ns");
  const change = (to: string[]) => refusal(run(service(...to), { operation: "UPDATE", oldObject: service("192.0.2.1", "192.0.2.2") }));
  expect([(await change(["192.0.2.2"])).code, (await change([])).code, (await change(["192.0.2.3"])).code]).toEqual([0, 0, 403]);
});

test.each([["Server", ""], ["Namespace", "ns"], ["User", "joe"], ["SourceAndObject", "kubeletnodePodnspu"]])("EventRateLimit by %s", async (type, key) => {
  let time = 0;
  const limit = { type: type as "Server", qps: 1, burst: 2, cacheSize: 10 };
  const { run } = worldWith({ settings: { ...only("EventRateLimit"), eventLimits: [limit] }, now: () => new Date(time) }, namespace("other"));
  const event = object("v1", "Event", "e", { source: { component: "kubelet", host: "node" }, involvedObject: { kind: "Pod", namespace: "ns", name: "p", uid: "u" } }, "ns");
  const codes = async (n: number) => (await Promise.all(Array.from({ length: n }, () => refusal(run(event))))).map(({ code }) => code);
  expect(await codes(3)).toEqual([0, 0, 429]);
  expect((await refusal(run(event))).message).toBe(`Too many requests: limit reached on type ${type} for key ${key}`);
  time = 1000;
  expect(await codes(2)).toEqual([0, 429]);
  const another = { ...event, involvedObject: {} };
  const { code } = await refusal(run(another, { namespace: "other", user: { name: "ann", groups: [] } }));
  expect(code).toBe(type === "Server" ? 429 : 0);
});

describe("ImagePolicyWebhook", () => {
  async function policed(port: number, defaultAllow = false) {
    const kubeconfig = fileOf("backend.yaml", {
      clusters: [{ name: "b", cluster: { server: `https://127.0.0.1:${port}/images`, "certificate-authority-data": caBundle } }],
      users: [{ name: "u", user: { token: "sesame" } }], contexts: [{ name: "c", context: { cluster: "b", user: "u" } }], "current-context": "c",
    });
    const file = fileOf("images.yaml", configuration({ name: "ImagePolicyWebhook", configuration: { imagePolicy: { kubeConfigFile: kubeconfig, allowTTL: 50, denyTTL: 50, retryBackoff: 1, defaultAllow } } }));
    const webhooks = createWebhookClient({ get: () => undefined, list: () => [] } as never);
    const settings = await settingsOf("enable-admission-plugins=ImagePolicyWebhook", `admission-control-config-file=${file}`);
    return { ...worldWith({ settings, webhooks }), webhooks };
  }

  test("asks its backend once for the same images, and refuses in its words", async () => {
    await using hook = await startTestWebhook();
    const asked: object[] = [];
    hook.raw = (body, res) => {
      asked.push((body as { spec: object }).spec);
      const allowed = !JSON.stringify(body).includes("bad");
      res.end(JSON.stringify({ status: { allowed, ...(JSON.stringify(body).includes("why") && { reason: "not signed" }), auditAnnotations: { seen: "yes" } } }));
    };
    const { run, annotations, webhooks } = await policed(hook.port);
    const given = (image: string) => ({ ...pod({ containers: [{ name: "c", image }] }), metadata: { name: "p", namespace: "ns", annotations: { "x.image-policy.k8s.io/t": "1", other: "2" } } });
    expect((await refusal(run(given("good")))).code).toBe(0);
    expect((await refusal(run(given("good")))).code).toBe(0);
    expect(await refusal(run(given("bad")))).toEqual({ code: 403, message: 'pods "p" is forbidden: one or more images rejected by webhook backend' });
    expect((await refusal(run(given("bad-why")))).message).toBe('pods "p" is forbidden: image policy webhook backend denied one or more images: not signed');
    expect(asked[0]).toEqual({ containers: [{ image: "good" }], namespace: "ns", annotations: { "x.image-policy.k8s.io/t": "1" } });
    expect(asked).toHaveLength(3);
    expect(annotations["imagepolicywebhook.image-policy.k8s.io/seen"]).toBe("yes");
    webhooks.close();
  });

  test.each([[true, 0], [false, 403]])("that is down lets pass: %s", async (defaultAllow, code) => {
    const hook = await startTestWebhook();
    await hook[Symbol.asyncDispose]();
    const { run, annotations, webhooks } = await policed(hook.port, defaultAllow);
    const refused = await refusal(run(pod()));
    expect(refused.code).toBe(code);
    if (code) expect(refused.message).toMatch(/^pods "p" is forbidden: Post ".*": dial tcp 127\.0\.0\.1:\d+: connect: connection refused$/);
    else expect(annotations["imagepolicywebhook.image-policy.k8s.io/alpha.image-policy.k8s.io/failed-open"]).toBe("true");
    webhooks.close();
  });
});

test("PodTopologyLabels brings zone and region of the node to a Binding and to a pod that is bound", async () => {
  const node = object("v1", "Node", "n");
  node.metadata!.labels = { "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", other: "o" };
  const { run } = world(node);
  const binding = object("v1", "Binding", "p", { target: { kind: "Node", name: "n" } }, "ns");
  expect((await run(binding, { resource: "pods", subresource: "binding" })).metadata!.labels).toEqual({ "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r" });
  expect((await run(pod({ nodeName: "n" }))).metadata!.labels).toEqual({ "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r" });
  expect((await run({ ...binding, target: { kind: "Node", name: "gone" } }, { resource: "pods", subresource: "binding" })).metadata!.labels).toBeUndefined();
});

describe("a contributed plugin", () => {
  const request = { operation: "CREATE" } as AdmissionRequest;
  const metrics = createAdmissionMetrics();
  const guarded = (impl: AdmissionPlugin): AdmissionPlugin => contributedPlugin({ plugin: "mine", impl }, { metrics, timeout: 20 });
  test.each<[string, AdmissionPlugin, number, string]>([
    ["refuses as it says", { name: "x", validate: () => { throw forbidden({ group: "", plural: "pods" }, "p", "no"); } }, 403, 'pods "p" is forbidden: no'],
    ["fails under its name", { name: "x", validate: () => { throw new TypeError("oops"); } }, 500, 'Internal error occurred: admission plugin "x" of plugin "mine" failed: oops'],
    ["is late under its name", { name: "x", validate: () => new Promise(() => {}) }, 500, 'Internal error occurred: admission plugin "x" of plugin "mine" did not answer within 20 ms'],
    ["keeps its own error of the server", { name: "x", validate: async () => { throw apiError(429, "TooManyRequests", "wait"); } }, 429, "wait"],
  ])("%s", async (_, impl, code, message) => {
    expect(await refusal(guarded(impl).validate!(request) as Promise<void>)).toMatchObject({ code, message });
  });
  test("may live in another process: it refuses, changes and warns from there", async () => {
    const { port1, port2 } = new MessageChannel();
    const channel = (port: typeof port1) => ({ send: (message: unknown) => port.postMessage(message), onMessage: (fn: (message: unknown) => void) => void port.on("message", fn) });
    const far: AdmissionPlugin = {
      name: "far", mutate: ({ object, warn }) => { warn?.(["from afar"]); return { ...object, metadata: { name: "changed" } }; },
      validate: ({ name }) => { throw name === "broken" ? new TypeError("oops") : forbidden({ group: "", plural: "pods" }, name, "no"); },
    };
    createBridge(channel(port2), { plugin: () => far });
    const near = await createBridge(channel(port1), {}).remote("plugin")() as AdmissionPlugin;
    const warnings: string[] = [];
    const asked = { ...request, name: "p", object: { metadata: { name: "a" } }, warn: (texts: readonly string[]) => void warnings.push(...texts) } as AdmissionRequest;
    const one = contributedPlugin({ plugin: "mine", impl: near }, { metrics });
    expect(await one.mutate!(asked)).toEqual({ metadata: { name: "changed" } });
    expect(warnings).toEqual(["from afar"]);
    await expect(one.validate!(asked)).rejects.toMatchObject({ name: "ApiError", status: { code: 403, message: 'pods "p" is forbidden: no' } });
    await expect(one.validate!({ ...asked, name: "broken" })).rejects.toMatchObject({ status: { code: 500, message: 'Internal error occurred: admission plugin "far" of plugin "mine" failed: oops' } });
    port1.close();
  });
  test("that names resources is asked about these alone", async () => {
    const asked: string[] = [];
    const validate: AdmissionPlugin["validate"] = ({ resource, subresource }) => void asked.push(subresource ? `${resource}/${subresource}` : resource);
    await using server = await startTestServer();
    server.setAdmission([{ plugin: "mine", impl: { name: "some", resources: ["configmaps", "leases.coordination.k8s.io"], validate } }]);
    await server.kube.create(configMaps, { metadata: { name: "a", namespace: "default" } });
    await server.kube.create(secrets, { metadata: { name: "a", namespace: "default" } });
    await server.kube.create(leases, { metadata: { name: "a", namespace: "default" } });
    await server.kube.delete(secrets, "a", { namespace: "default" });
    await server.kube.delete(configMaps, "a", { namespace: "default" });
    expect(asked).toEqual(["configmaps", "leases", "configmaps"]);
  });
  test("is measured", async () => {
    const object = { metadata: { name: "a" } };
    expect(await guarded({ name: "timed", mutate: () => object }).mutate!(request)).toBe(object);
    expect(metrics.render()).toContain('apiserver_admission_controller_admission_duration_seconds_count{name="timed",operation="CREATE",rejected="false",type="admit"} 1\n');
    expect(metrics.render()).toContain('apiserver_admission_controller_admission_duration_seconds_count{name="x",operation="CREATE",rejected="true",type="validate"} 4\n');
  });
});
