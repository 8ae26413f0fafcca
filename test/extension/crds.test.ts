/** Definitions of the size and the shapes of real projects, their objects, and what clients are told about bad ones. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { startTestServer, type TestAnswer, type TestServer } from "../../plugins/apiserver/src/server/testing.ts";
import { caBundle, startTestWebhook } from "../../plugins/apiserver/src/webhook/testing.ts";
import { certificates, type Definition, gateways, machines, monitors, structural, workflows } from "./crds.ts";

const CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const merge = { "content-type": "application/merge-patch+json" };
const apply = { "content-type": "application/apply-patch+yaml" };

let api: TestServer;
let definitions: readonly Definition[];

beforeAll(async () => {
  api = await startTestServer();
  const { body } = await api.http("GET", "/openapi/v2");
  const pod = structural(body.definitions, "io.k8s.api.core.v1.PodTemplateSpec");
  definitions = [certificates(), workflows(pod), machines(), gateways(), monitors(pod, structural(body.definitions, "io.k8s.api.core.v1.PersistentVolumeClaim"))];
});
afterAll(() => api.close());

const definitionOf = (kind: string): Definition => definitions.find(({ spec }) => spec.names.kind === kind)!;
function pathOf(kind: string, version?: string): string {
  const { group, names, versions } = definitionOf(kind).spec;
  return `/apis/${group}/${version ?? versions.at(-1).name}/namespaces/default/${names.plural}`;
}
let count = 0;
function create(kind: string, spec: object, name = `o${count++}`): Promise<TestAnswer> {
  const { group, versions } = definitionOf(kind).spec;
  return api.http("POST", pathOf(kind), { apiVersion: `${group}/${versions.at(-1).name}`, kind, metadata: { name }, spec });
}

/** Milliseconds of computing. */
function since(begin: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 1000;
}

describe("a large definition", () => {
  test("is served, discovered and explained when its creation is answered, within 100 ms of computing", async () => {
    for (const crd of definitions) {
      const { group, names, versions } = crd.spec;
      const begin = process.cpuUsage();
      const { status, text } = await api.http("POST", CRDS, crd);
      expect(status, text).toBe(201);
      for (const { name } of versions) {
        const { body: list } = await api.http("GET", `/apis/${group}/${name}/${names.plural}`);
        expect(list.kind).toBe(names.listKind);
        const { body: resources } = await api.http("GET", `/apis/${group}/${name}`);
        expect(resources.resources[0]).toMatchObject({ name: names.plural, kind: names.kind });
      }
      expect(since(begin), names.kind).toBeLessThan(100);
      const { body: v3 } = await api.http("GET", `/openapi/v3/apis/${group}/${versions.at(-1).name}`);
      const name = `${group.split(".").reverse().join(".")}.${versions.at(-1).name}.${names.kind}`;
      expect(Object.keys(v3.components.schemas[name].properties.spec.properties)).toEqual(Object.keys(versions.at(-1).schema.openAPIV3Schema.properties.spec.properties));
    }
    const { body: v2 } = await api.http("GET", "/openapi/v2");
    for (const { spec: { group, names, versions } } of definitions) {
      expect(v2.definitions[`${group.split(".").reverse().join(".")}.${versions.at(-1).name}.${names.kind}`].properties.spec.properties).toBeDefined();
    }
  });
});

describe("objects", () => {
  test.each<[string, object, object]>([
    ["Certificate", { secretName: "s", issuerRef: { name: "i" }, unknown: 1, privateKey: { algorithm: "ECDSA" }, keystores: { pkcs12: null, jks: null } }, {
      secretName: "s", issuerRef: { name: "i", kind: "Issuer", group: "certs.example.com" }, isCA: false, usages: ["digital signature", "key encipherment"],
      privateKey: { algorithm: "ECDSA", rotationPolicy: "Always", encoding: "PKCS1" }, keystores: { pkcs12: null },
    }],
    ["Workflow", { entrypoint: "main", arguments: { any: [{ thing: 1 }] }, templates: [{ name: "main", retries: "10%", gone: 1, script: { source: "x", image: "kept" }, steps: [[{ name: "a", withItems: [1, "x", { deep: true }] }]] }, { name: "next", container: { name: "c", image: "i", ports: [{ containerPort: 80, x: 1 }] } }] }, {
      entrypoint: "main", arguments: { any: [{ thing: 1 }] },
      templates: [
        { name: "main", retries: "10%", script: { source: "x", image: "kept" }, steps: [[{ name: "a", withItems: [1, "x", { deep: true }] }]] },
        { name: "next", retries: 0, container: { name: "c", image: "i", ports: [{ containerPort: 80 }] } },
      ],
    }],
    ["MachineSet", { clusterName: "c", infrastructure: { apiVersion: "infra.example.com/v1", kind: "Machine", metadata: { name: "m", labels: { a: "b" }, bad: 1 }, spec: { anything: true } } }, {
      clusterName: "c", replicas: 1, infrastructure: { apiVersion: "infra.example.com/v1", kind: "Machine", metadata: { name: "m", labels: { a: "b" } }, spec: { anything: true } },
    }],
    ["Gateway", { gatewayClassName: "x", addresses: [{ value: "192.0.2.1" }, { type: "Hostname", value: "a.example" }], listeners: [{ name: "a", port: 443, protocol: "HTTPS", tls: { certificateRefs: [{ name: "s" }] } }] }, {
      gatewayClassName: "x", addresses: [{ type: "IPAddress", value: "192.0.2.1" }, { type: "Hostname", value: "a.example" }],
      listeners: [{ name: "a", port: 443, protocol: "HTTPS", tls: { mode: "Terminate", certificateRefs: [{ kind: "Secret", name: "s" }] }, allowedRoutes: { namespaces: { from: "Same" } } }],
    }],
    ["Prometheus", { replicas: 2, podTemplate: { metadata: { labels: { a: "b" }, uid: "gone" }, spec: { containers: [{ name: "c", resources: { requests: { cpu: "100m", memory: 1024 } }, readinessProbe: { httpGet: { port: "web" } } }] } }, ruleGroups: [{ name: "g", rules: [{ alert: "A", expr: 1 }, { record: "r", expr: "up" }] }] }, {
      replicas: 2, retention: "24h", scrapeInterval: "30s", podTemplate: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", resources: { requests: { cpu: "100m", memory: 1024 } }, readinessProbe: { httpGet: { port: "web" } } }] } },
      ruleGroups: [{ name: "g", rules: [{ alert: "A", expr: 1 }, { record: "r", expr: "up" }] }],
    }],
  ])("of kind %s are pruned and defaulted", async (kind, given, stored) => {
    const { status, body, text } = await create(kind, given);
    expect(status, text).toBe(201);
    expect(body.spec).toEqual(stored);
    expect((await api.http("GET", `${pathOf(kind)}/${body.metadata.name}`)).body).toEqual(body);
  });

  const certificate = (more: object): object => ({ secretName: "s", issuerRef: { name: "i" }, ...more });
  const listener = (more: object): object => ({ name: "a", port: 80, protocol: "HTTP", ...more });
  const gateway = (...listeners: object[]): object => ({ gatewayClassName: "x", listeners });
  const unchecked = "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
  const typed = (path: string, wanted: string, got: string): string => `${path}: Invalid value: "${got}": ${path} in body must be of type ${wanted}: "${got}"`;

  test.each<[string, object, string[]]>([
    ["Certificate", {}, ["spec.issuerRef: Required value", "spec.secretName: Required value", unchecked]],
    ["Certificate", certificate({ duration: "1h", renewBefore: "2h" }), ['spec: Invalid value: "object": renewBefore 7200s must be less than duration 3600s']],
    ["Certificate", certificate({ renewBefore: "1h", renewBeforePercentage: 5 }), ['spec: Invalid value: "object": renewBefore and renewBeforePercentage are mutually exclusive']],
    ["Certificate", certificate({ privateKey: { algorithm: "Ed25519", size: 1 } }), ["spec.privateKey.size: Forbidden: size must not be set for Ed25519"]],
    ["Certificate", certificate({ privateKey: { algorithm: "DSA" } }), ['spec.privateKey.algorithm: Unsupported value: "DSA": supported values: "RSA", "ECDSA", "Ed25519"', unchecked]],
    ["Certificate", certificate({ dnsNames: ["a.b", "-x", "a.b"] }), ['spec.dnsNames[1]: Invalid value: "-x": spec.dnsNames[1] in body must be of type hostname: "-x"', 'spec.dnsNames[2]: Duplicate value: "a.b"', unchecked]],
    ["Certificate", certificate({ commonName: "x".repeat(65) }), ["spec.commonName: Too long: may not be more than 64 bytes", unchecked]],
    ["Certificate", certificate({ isCA: "yes" }), [typed("spec.isCA", "boolean", "string"), unchecked]],
    ["Certificate", certificate({ otherNames: [{ oid: "9.9" }] }), [`spec.otherNames[0].oid: Invalid value: "9.9": spec.otherNames[0].oid in body should match '^[0-2](\\.\\d+)+$'`]],
    ["Workflow", { entrypoint: "nope", templates: [{ name: "main" }] }, ['spec.entrypoint: Invalid value: "object": no template is named nope']],
    ["Workflow", { entrypoint: "main", templates: [{ name: "main" }, { name: "main" }] }, ['spec.templates[1]: Duplicate value: {"name":"main"}']],
    ["Workflow", { entrypoint: "main", templates: [{ name: "main", script: {} }] }, ["spec.templates[0].script.source: Required value", unchecked]],
    ["Workflow", { entrypoint: "main", templates: [{ name: "main", container: { name: "c", env: [{ value: "x" }] } }] }, ["spec.templates[0].container.env[0].name: Required value", unchecked]],
    ["MachineSet", { clusterName: "c", replicas: -1 }, ["spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0", "spec.replicas: Invalid value: -1: should be a non-negative integer"]],
    ["MachineSet", { clusterName: "c", infrastructure: { spec: {} } }, ["spec.infrastructure.apiVersion: Required value: must not be empty", "spec.infrastructure.kind: Required value: must not be empty", unchecked]],
    ["Gateway", gateway(), ["spec.listeners: Invalid value: 0: spec.listeners in body should have at least 1 items"]],
    ["Gateway", gateway(listener({}), listener({ name: "b" })), ['spec.listeners: Invalid value: "array": Combination of port, protocol and hostname must be unique for each listener']],
    ["Gateway", gateway(listener({ tls: { certificateRefs: [{ name: "s" }] } })), [`spec.listeners: Invalid value: "array": tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']`]],
    ["Gateway", gateway(listener({ port: 0 })), ["spec.listeners[0].port: Invalid value: 0: spec.listeners[0].port in body should be greater than or equal to 1"]],
    ["Gateway", { ...gateway(listener({})), addresses: [{ value: "nope" }] }, ['<nil>: Invalid value: "": "spec.addresses[0]" must validate one and only one schema (oneOf). Found none valid']],
    ["Prometheus", { ruleGroups: [{ name: "g", rules: [{ alert: "A", record: "r", expr: 1 }] }] }, ['<nil>: Invalid value: "": "spec.ruleGroups[0].rules[0]" must validate one and only one schema (oneOf). Found 2 valid alternatives']],
    ["Prometheus", { podTemplate: { spec: { containers: [{ name: "c", resources: { requests: { cpu: "x" } } }] } } }, ["spec.podTemplate.spec.containers[0].resources.requests.cpu: Invalid value: \"x\": spec.podTemplate.spec.containers[0].resources.requests.cpu in body should match"]],
    ["Prometheus", { ruleGroups: [{ name: "g", rules: [{ alert: "A", expr: true }] }] }, [typed("spec.ruleGroups[0].rules[0].expr", "integer,string", "boolean")]],
  ])("of kind %s are refused: %j", async (kind, spec, lines) => {
    const { status, body } = await create(kind, spec, "bad");
    expect([status, body.reason]).toEqual([422, "Invalid"]);
    for (const line of lines) expect(body.message).toContain(line);
    expect(body.message.startsWith(`${kind}.${definitionOf(kind).spec.group} "bad" is invalid: ${lines.length > 1 ? "[" : ""}`)).toBe(true);
    expect(body.details.causes.length).toBeGreaterThanOrEqual(lines.length);
  });

  test("keep what rules over old values say, and may state a value once", async () => {
    const { body: { metadata: { name } } } = await create("MachineSet", { clusterName: "c" });
    const patch = (spec: object) => api.http("PATCH", `${pathOf("MachineSet")}/${name}`, { spec }, merge);
    expect((await patch({ clusterName: "d" })).body.message).toContain('spec.clusterName: Invalid value: "string": clusterName is immutable');
    expect((await patch({ providerID: "p" })).status).toBe(200);
    expect((await patch({ providerID: "q" })).body.message).toContain('spec.providerID: Invalid value: "string": providerID may be set once');
    const { body: certificate } = await create("Certificate", { secretName: "s", issuerRef: { name: "i" } });
    expect((await api.http("PATCH", `${pathOf("Certificate")}/${certificate.metadata.name}`, { spec: { issuerRef: { name: "j" } } }, merge)).body.message).toContain('spec: Invalid value: "object": issuerRef is immutable');
  });

  test("that a stricter definition would refuse may change elsewhere", async () => {
    const { body: made } = await create("Gateway", gateway(listener({ port: 80 }), listener({ name: "z", port: 81 })));
    const crd = (await api.http("GET", `${CRDS}/gateways.gw.example.com`)).body;
    const before = structuredClone(crd.spec);
    const items = crd.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.listeners.items;
    items.properties.port.minimum = 443;
    items.properties.protocol["x-kubernetes-validations"] = [{ rule: "self == 'HTTPS'", message: "HTTPS alone" }];
    expect((await api.http("PUT", `${CRDS}/gateways.gw.example.com`, crd)).status).toBe(200);
    const path = `${pathOf("Gateway")}/${made.metadata.name}`;
    expect((await api.http("PATCH", path, { spec: { gatewayClassName: "y" } }, merge)).status).toBe(200);
    const changed = await api.http("PATCH", path, { spec: { listeners: [listener({ port: 82 }), listener({ name: "z", port: 81 })] } }, merge);
    expect(changed.body.message).toBe('Gateway.gw.example.com "' + made.metadata.name + '" is invalid: spec.listeners[0].port: Invalid value: 82: spec.listeners[0].port in body should be greater than or equal to 443');
    const protocol = await api.http("PATCH", path, { spec: { listeners: [listener({ protocol: "TCP" }), listener({ name: "z", port: 81 })] } }, merge);
    expect(protocol.body.message).toContain('spec.listeners[0].protocol: Invalid value: "string": HTTPS alone');
    const current = (await api.http("GET", `${CRDS}/gateways.gw.example.com`)).body;
    expect((await api.http("PUT", `${CRDS}/gateways.gw.example.com`, { ...current, spec: before })).status).toBe(200);
  });

  test("are applied by the keys of their lists", async () => {
    const body = (taints: object[]): object => ({ apiVersion: "cluster.example.com/v1beta2", kind: "MachineSet", metadata: { name: "applied" }, spec: { clusterName: "c", taints } });
    const path = `${pathOf("MachineSet")}/applied`;
    const as = (manager: string, taints: object[], more = "") => api.http("PATCH", `${path}?fieldManager=${manager}${more}`, body(taints), apply);
    await as("one", [{ key: "a", effect: "NoSchedule", value: "1" }]);
    const { body: both } = await as("two", [{ key: "a", effect: "NoExecute", value: "2" }]);
    expect(both.spec.taints).toHaveLength(2);
    expect(both.spec.taints).toEqual(expect.arrayContaining([{ key: "a", effect: "NoSchedule", value: "1" }, { key: "a", effect: "NoExecute", value: "2" }]));
    const conflict = await as("two", [{ key: "a", effect: "NoSchedule", value: "3" }]);
    expect([conflict.status, conflict.body.message]).toEqual([409, 'Apply failed with 1 conflict: conflict with "one": .spec.taints[effect="NoSchedule",key="a"].value']);
    expect((await as("two", [{ key: "a", effect: "NoSchedule", value: "3" }], "&force=true")).body.spec.taints).toEqual([{ key: "a", effect: "NoSchedule", value: "3" }]);
  });

  test("are scaled, shown in columns, and found by their fields", async () => {
    await create("MachineSet", { clusterName: "c", selector: { matchLabels: { a: "b" } } }, "scaled");
    await api.http("PATCH", `${pathOf("MachineSet")}/scaled/scale`, { spec: { replicas: 5 } }, merge);
    await api.http("PATCH", `${pathOf("MachineSet")}/scaled/status`, { spec: { replicas: 9 }, status: { replicas: 5, selector: "a=b", conditions: [{ type: "Ready", status: "True", reason: "R" }] } }, merge);
    expect((await api.http("GET", `${pathOf("MachineSet")}/scaled/scale`)).body).toMatchObject({ spec: { replicas: 5 }, status: { replicas: 5, selector: "a=b" } });
    await create("Certificate", { secretName: "tls", issuerRef: { name: "ca" } }, "shown");
    await api.http("PATCH", `${pathOf("Certificate")}/shown/status`, { status: { conditions: [{ type: "Other", status: "False" }, { type: "Ready", status: "True" }] } }, merge);
    const table = await api.http("GET", `${pathOf("Certificate")}?fieldSelector=spec.issuerRef.name%3Dca,spec.secretName%3Dtls`, undefined, { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" });
    expect(table.body.columnDefinitions.map(({ name }: { name: string }) => name)).toEqual(["Name", "Ready", "Age", "Secret"]);
    expect(table.body.rows.map(({ cells }: { cells: unknown[] }) => [cells[0], cells[1], cells[3]])).toEqual([["shown", "True", "tls"]]);
  });

  test("take the defaults of their status when a controller first writes it", async () => {
    const { body } = await create("Gateway", gateway(listener({})), "fresh");
    expect(body.status.conditions).toEqual([{ type: "Accepted", status: "Unknown", reason: "Pending", message: "Waiting for controller", lastTransitionTime: "1970-01-01T00:00:00Z" }]);
  });
});

describe("a conversion webhook", () => {
  const days = (text: string): number => Number(text.replace("s", ""));
  test("serves each version in its own form, and its failures are told", async () => {
    await using hook = await startTestWebhook();
    let broken = "";
    hook.raw = (body, res) => {
      const { request, apiVersion } = body as { request: any; apiVersion: string };
      const convertedObjects = request.objects.map((object: any) => {
        const { drain, drainTimeout, ...spec } = object.spec;
        const toOld = request.desiredAPIVersion.endsWith("v1beta1");
        return {
          ...object, apiVersion: request.desiredAPIVersion, ...(broken === "name" && { metadata: { ...object.metadata, name: "other" } }),
          spec: { ...spec, ...(toOld ? drain && { drainTimeout: `${drain.timeoutSeconds}s` } : drainTimeout && { drain: { timeoutSeconds: days(drainTimeout) } }) },
        };
      });
      const result = broken === "refused" ? { status: "Failure", message: "cannot" } : { status: "Success" };
      res.end(JSON.stringify({ apiVersion, kind: "ConversionReview", response: { uid: broken === "uid" ? "x" : request.uid, result, convertedObjects: broken === "fewer" ? [] : convertedObjects } }));
    };
    const crd = machines({ strategy: "Webhook", webhook: { conversionReviewVersions: ["v1"], clientConfig: { url: `https://127.0.0.1:${hook.port}/convert`, caBundle } } });
    await using own = await startTestServer();
    expect((await own.http("POST", CRDS, crd)).status).toBe(201);
    const [old, now] = ["v1beta1", "v1beta2"].map((version) => pathOf("MachineSet", version)) as [string, string];
    const made = await own.http("POST", old, { apiVersion: "cluster.example.com/v1beta1", kind: "MachineSet", metadata: { name: "a" }, spec: { clusterName: "c", drainTimeout: "30s" } });
    expect([made.status, made.body.spec.drainTimeout, made.headers["warning"]]).toEqual([201, "30s", ['299 - "cluster.example.com/v1beta1 MachineSet is deprecated"']]);
    expect((await own.http("GET", `${now}/a`)).body.spec).toEqual({ clusterName: "c", replicas: 1, drain: { timeoutSeconds: 30 } });
    expect((await own.http("PATCH", `${now}/a`, { spec: { drain: { timeoutSeconds: 60 } } }, merge)).status).toBe(200);
    expect((await own.http("GET", old)).body.items[0].spec.drainTimeout).toBe("60s");
    for (const [how, why] of [
      ["refused", "cannot"], ["uid", 'expected response.uid "'], ["fewer", "expected 1 converted objects, got 0"], ["name", "invalid converted object at index 0: metadata.name was changed"],
    ] as const) {
      broken = "";
      await own.http("PATCH", `${now}/a`, { metadata: { labels: { how } } }, merge);
      broken = how;
      const { status, body } = await own.http("GET", `${old}/a`);
      expect(status).toBe(500);
      expect(body.message).toContain(`conversion webhook for cluster.example.com/v1beta2, Kind=MachineSet failed: ${why}`);
    }
  });
});

/** Files with published definitions, for those who have them. */
const folder = join(import.meta.dirname, "../../../shared/reference/crds");
const isThere = existsSync(folder);
if (!isThere) console.log(`skipped: published definitions (${folder} is not there)`);

describe.skipIf(!isThere)("published definitions", () => {
  const files = isThere ? readdirSync(folder).filter((name) => name.endsWith(".yaml")) : [];
  test.each(files)("%s is taken whole, and each definition is served within 100 ms of computing", async (file) => {
    await using own = await startTestServer();
    const all = parseAllDocuments(readFileSync(join(folder, file), "utf8")).map((document) => document.toJS() as Definition).filter((one) => one?.kind === "CustomResourceDefinition");
    expect(all.length).toBeGreaterThan(0);
    for (const crd of all) {
      const begin = process.cpuUsage();
      const { status, text, headers } = await own.http("POST", CRDS, crd);
      expect([status, headers["warning"]], text).toEqual([201, undefined]);
      for (const { name, served } of crd.spec.versions) expect((await own.http("GET", `/apis/${crd.spec.group}/${name}/${crd.spec.names.plural}`)).status).toBe(served ? 200 : 404);
      expect(since(begin), crd.metadata.name).toBeLessThan(100);
    }
  });
});
