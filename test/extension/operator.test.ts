/** An operator as TypeScript teams write them, with `@kubernetes/client-node`: its definition, its informer, its webhooks. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  AdmissionregistrationV1Api, ApiextensionsV1Api, CoreV1Api, CustomObjectsApi, KubeConfig, type KubernetesObject, makeInformer, PatchStrategy, setHeaderOptions,
} from "@kubernetes/client-node";
import { testCertificate, testPrivateKey } from "../../plugins/apiserver/src/subresources/testing.ts";
import { createTestCluster, type TestCluster } from "../kit/index.ts";

const GROUP = "ops.example.com";
const FINALIZER = `${GROUP}/archive`;
const place = { group: GROUP, version: "v1", namespace: "default", plural: "backups" } as const;

interface Backup extends KubernetesObject {
  spec: { source: string; keep?: number; schedule?: string };
  status?: { phase?: string; copies?: number };
}

/** In the words of the client, whose models call `default` `_default`. */
const definition = {
  apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: `backups.${GROUP}` },
  spec: {
    group: GROUP, scope: "Namespaced", names: { plural: "backups", singular: "backup", kind: "Backup", listKind: "BackupList", shortNames: ["bk"] },
    versions: [{
      name: "v1", served: true, storage: true, subresources: { status: {} },
      schema: { openAPIV3Schema: { type: "object", required: ["spec"], properties: {
        spec: { type: "object", required: ["source"], properties: { source: { type: "string" }, keep: { type: "integer", minimum: 1, _default: 3 }, schedule: { type: "string" } } },
        status: { type: "object", properties: { phase: { type: "string" }, copies: { type: "integer" } } },
      } } },
    }],
  },
};

let cluster: TestCluster;
const config = new KubeConfig();
const stops: (() => void | Promise<void>)[] = [];

/** Mutating: a schedule for all. Validating: nothing may be kept from the moon. */
async function startWebhooks(): Promise<string> {
  const server = createServer({ key: testPrivateKey, cert: testCertificate }, async (req, res) => {
    let text = "";
    for await (const chunk of req.setEncoding("utf8")) text += chunk;
    const { apiVersion, kind, request } = JSON.parse(text);
    const patch = [{ op: "add", path: "/spec/schedule", value: "@daily" }];
    const response = req.url!.startsWith("/mutate")
      ? { allowed: true, ...(request.object.spec.schedule === undefined && { patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") }) }
      : { allowed: request.object.spec.source !== "moon", status: { code: 422, reason: "Invalid", message: "the moon is too far away" }, warnings: request.object.spec.keep > 9 ? ["this keeps a lot"] : [] };
    res.setHeader("content-type", "application/json").end(JSON.stringify({ apiVersion, kind, response: { uid: request.uid, ...response } }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stops.push(() => { server.closeAllConnections(); server.close(); });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** For every Backup a ConfigMap that it owns, a finalizer, and a status; on its end an archive. */
async function startOperator(): Promise<void> {
  const core = config.makeApiClient(CoreV1Api);
  const custom = config.makeApiClient(CustomObjectsApi);
  const mergePatch = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
  const reconcile = async (backup: Backup): Promise<void> => {
    const { name = "", uid = "", finalizers = [], deletionTimestamp } = backup.metadata!;
    const one = { ...place, name };
    if (deletionTimestamp) {
      if (!finalizers.includes(FINALIZER)) return;
      await core.createNamespacedConfigMap({ namespace: "default", body: { metadata: { name: `${name}-archive` }, data: { source: backup.spec.source } } });
      await custom.patchNamespacedCustomObject({ ...one, body: { metadata: { finalizers: finalizers.filter((entry) => entry !== FINALIZER) } } }, mergePatch);
      return;
    }
    if (!finalizers.includes(FINALIZER)) return void await custom.patchNamespacedCustomObject({ ...one, body: { metadata: { finalizers: [...finalizers, FINALIZER] } } }, mergePatch);
    if (backup.status?.phase === "Ready") return;
    await core.createNamespacedConfigMap({ namespace: "default", body: {
      metadata: { name, ownerReferences: [{ apiVersion: `${GROUP}/v1`, kind: "Backup", name, uid, controller: true }] }, data: { schedule: backup.spec.schedule!, keep: String(backup.spec.keep) },
    } });
    await custom.patchNamespacedCustomObjectStatus({ ...one, body: { status: { phase: "Ready", copies: backup.spec.keep } } }, mergePatch);
  };
  const list = async () => await custom.listNamespacedCustomObject(place) as { items: Backup[] };
  const informer = makeInformer<Backup>(config, `/apis/${GROUP}/v1/namespaces/default/backups`, list as never);
  const failures: unknown[] = [];
  for (const event of ["add", "update"] as const) informer.on(event, (backup) => void reconcile(backup).catch((error) => failures.push(error)));
  await informer.start();
  stops.push(() => informer.stop(), () => expect(failures).toEqual([]));
}

beforeAll(async () => {
  cluster = await createTestCluster({ controllers: ["garbage-collector-controller"] });
  config.loadFromString(cluster.kubeconfig);
  await config.makeApiClient(ApiextensionsV1Api).createCustomResourceDefinition({ body: definition });
  const url = await startWebhooks();
  const caBundle = Buffer.from(testCertificate).toString("base64");
  const webhook = (name: string) => ({
    name: `${name}.${GROUP}`, clientConfig: { url: `${url}/${name}`, caBundle }, admissionReviewVersions: ["v1"], sideEffects: "None",
    rules: [{ operations: ["CREATE", "UPDATE"], apiGroups: [GROUP], apiVersions: ["v1"], resources: ["backups"] }],
  });
  const admission = config.makeApiClient(AdmissionregistrationV1Api);
  await admission.createMutatingWebhookConfiguration({ body: { metadata: { name: "backups" }, webhooks: [webhook("mutate")] } });
  await admission.createValidatingWebhookConfiguration({ body: { metadata: { name: "backups" }, webhooks: [webhook("validate")] } });
  await startOperator();
});
afterAll(async () => {
  for (const stop of stops) await stop();
  await cluster.stop();
});

const custom = (): CustomObjectsApi => config.makeApiClient(CustomObjectsApi);
const make = (name: string, spec: object): Promise<Backup> => custom().createNamespacedCustomObject({ ...place, body: { apiVersion: `${GROUP}/v1`, kind: "Backup", metadata: { name }, spec } }) as Promise<Backup>;
const failure = (run: Promise<unknown>): Promise<{ code: number; message: string }> => run.then(() => ({ code: 0, message: "" }), ({ code, body }) => ({ code, message: JSON.parse(body).message }));

describe("the operator", () => {
  test("brings what is wanted about, from the defaults of the schema and of its webhook", async () => {
    expect((await make("a", { source: "db" })).spec).toEqual({ source: "db", keep: 3, schedule: "@daily" });
    await vi.waitFor(async () => expect((await custom().getNamespacedCustomObject({ ...place, name: "a" }) as Backup).status).toEqual({ phase: "Ready", copies: 3 }), 5000);
    expect((await config.makeApiClient(CoreV1Api).readNamespacedConfigMap({ namespace: "default", name: "a" })).data).toEqual({ schedule: "@daily", keep: "3" });
  });

  test("refuses by schema and by webhook, in that order", async () => {
    expect(await failure(make("bad", { source: "moon", keep: 0 }))).toEqual({ code: 422, message: `Backup.${GROUP} "bad" is invalid: spec.keep: Invalid value: 0: spec.keep in body should be greater than or equal to 1` });
    expect(await failure(make("bad", { source: "moon" }))).toEqual({ code: 422, message: `admission webhook "validate.${GROUP}" denied the request: the moon is too far away` });
  });

  test("finishes what is deleted, and its ConfigMap is collected", async () => {
    await make("b", { source: "disk" });
    const core = config.makeApiClient(CoreV1Api);
    await vi.waitFor(async () => expect((await core.readNamespacedConfigMap({ namespace: "default", name: "b" })).data).toBeDefined(), 5000);
    await custom().deleteNamespacedCustomObject({ ...place, name: "b" });
    await vi.waitFor(async () => expect((await failure(custom().getNamespacedCustomObject({ ...place, name: "b" }))).code).toBe(404), 5000);
    expect((await core.readNamespacedConfigMap({ namespace: "default", name: "b-archive" })).data).toEqual({ source: "disk" });
    await vi.waitFor(async () => expect((await failure(core.readNamespacedConfigMap({ namespace: "default", name: "b" }))).code).toBe(404), 10_000);
  });
});
