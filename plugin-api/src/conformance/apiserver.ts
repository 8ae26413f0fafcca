/** The promises of the `apiserver` slot: what its in-process clients may rely on. */
import assert from "node:assert/strict";
import { request } from "node:https";
import type { KubeClient } from "../kube/client.ts";
import { isAlreadyExists, isConflict, isForbidden, isNotFound } from "../kube/errors.ts";
import { configMaps, namespaces, services } from "../kube/resources.ts";
import type { ConfigMap, WatchEvent } from "../kube/types.ts";
import type { ApiServer } from "../slots/apiserver.ts";
import { startSubject, type Subject } from "./subject.ts";
import { test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";

const admin = { name: "system:admin", groups: ["system:masters", "system:authenticated"] };
const object = (name: string, value = "1"): ConfigMap => ({ metadata: { name, namespace: "default" }, data: { k: value } });

export function apiserverSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (kube: KubeClient, server: ApiServer, ctx: ConformanceContext) => Promise<void>): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<ApiServer>(subject, ctx);
      ctx.defer(() => started.stop());
      await run(started.impl.client(admin), started.impl, ctx);
    });
  return [
    each("the first namespaces are there when it is ready", async (kube) => {
      const names = (await kube.list(namespaces)).items.map((item) => item.metadata.name);
      for (const name of ["default", "kube-system"]) assert.ok(names.includes(name), names.join(", "));
    }),
    each("create, get, update, delete, and the errors of each", crud),
    each("a stale update is a conflict", async (kube) => {
      const first = await kube.create(configMaps, object("a"));
      await kube.update(configMaps, { ...first, data: { k: "2" } });
      await assert.rejects(kube.update(configMaps, { ...first, data: { k: "3" } }), isConflict);
    }),
    each("an informer replays what is there, and then follows in order", informer),
    each("a watch from a list's resourceVersion misses nothing", watch),
    each("somebody without rights is refused", async (_, server) => {
      const stranger = server.client({ name: "jane", groups: ["system:authenticated"] });
      await assert.rejects(stranger.list(configMaps, { namespace: "default" }), isForbidden);
    }),
    each("it listens at its URL, refuses who shows no credentials, and tells pods the same port", reachable),
    each("objects that it gives out are frozen", async (kube) => {
      await kube.create(configMaps, object("a"));
      assert.ok(Object.isFrozen(await kube.get(configMaps, "a", "default")));
    }),
  ];
}

async function crud(kube: KubeClient): Promise<void> {
  await assert.rejects(kube.get(configMaps, "a", "default"), isNotFound);
  const made = await kube.create(configMaps, object("a"));
  assert.ok(made.metadata.uid && made.metadata.resourceVersion && made.metadata.creationTimestamp);
  await assert.rejects(kube.create(configMaps, object("a")), isAlreadyExists);
  const next = await kube.update(configMaps, { ...made, data: { k: "2" } });
  assert.notEqual(next.metadata.resourceVersion, made.metadata.resourceVersion);
  await kube.patch(configMaps, "a", { data: { more: "3" } }, { namespace: "default" });
  assert.deepEqual((await kube.get(configMaps, "a", "default")).data, { k: "2", more: "3" });
  await kube.delete(configMaps, "a", { namespace: "default" });
  await assert.rejects(kube.get(configMaps, "a", "default"), isNotFound);
}

async function informer(kube: KubeClient, _: ApiServer, ctx: ConformanceContext): Promise<void> {
  await kube.create(configMaps, object("a"));
  const seen: string[] = [];
  const live = kube.informer(configMaps, { namespace: "default" });
  ctx.defer(() => live.stop());
  await live.synced;
  live.on({
    added: (o) => void seen.push(`+${o.metadata.name}`),
    updated: (o) => void seen.push(`=${o.metadata.name}${o.data?.k}`),
    deleted: (o) => void seen.push(`-${o.metadata.name}`),
  });
  const made = await kube.create(configMaps, object("b"));
  await kube.update(configMaps, { ...made, data: { k: "2" } });
  await kube.delete(configMaps, "b", { namespace: "default" });
  const wanted = ["+a", "+b", "=b2", "-b"];
  await within(1000, () => assert.deepEqual(seen.filter((line) => wanted.includes(line)), wanted));
}

async function watch(kube: KubeClient, _: ApiServer, ctx: ConformanceContext): Promise<void> {
  const { metadata } = await kube.list(configMaps, { namespace: "default" });
  await kube.create(configMaps, object("early"));
  const stop = new AbortController();
  const events: WatchEvent<ConfigMap>[] = [];
  const watching = kube.watch(configMaps, { namespace: "default", resourceVersion: metadata.resourceVersion ?? "", signal: stop.signal }, (event) => void events.push(event));
  ctx.defer(async () => {
    stop.abort();
    await watching.catch(() => {});
  });
  await kube.create(configMaps, object("late"));
  const names = () => events.filter((e) => e.type === "ADDED").map((e) => e.object.metadata.name).filter((name) => name === "early" || name === "late");
  await within(1000, () => assert.deepEqual(names(), ["early", "late"]));
}

async function reachable(kube: KubeClient, { url, port }: ApiServer): Promise<void> {
  assert.equal(Number(new URL(url).port), port);
  // Whose certificate it is does not matter here.
  const status = await new Promise<number | undefined>((resolve, reject) => {
    request(`${url}/api/v1/secrets`, { rejectUnauthorized: false, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    }).on("error", reject).end();
  });
  assert.ok(status === 401 || status === 403, `a request without credentials was answered with ${status}`);
  const { spec } = await kube.get(services, "kubernetes", "default");
  assert.deepEqual(spec?.ports?.map(({ targetPort }) => targetPort), [port]);
}
