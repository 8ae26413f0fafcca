/** Static pods: files in `agent/pod-manifests` become pods of this node, and mirror pods show them in the API. */
import { createHash } from "node:crypto";
import { watch } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, messageOf } from "@k3s-p/plugin-api";
import { isAlreadyExists, isNotFound, nodes, pods, timestamp, workQueue, type Pod } from "@k3s-p/plugin-api/kube";
import type { KubeletContext } from "./context.ts";
import { annotationsOf, nameOf, namespaceOf, uidOf } from "./pod.ts";
import { RETRY } from "./turns.ts";

export interface StaticPods {
  /** Reads the folder and follows it. */
  start(): Promise<void>;
  list(): readonly Pod[];
  /** Tells of the mirror that the API has now (undefined: none) for a static pod's name. */
  mirrorSeen(key: string, mirror: Pod | undefined): void;
  stop(): void;
}

export interface StaticHandlers {
  added(pod: Pod): void;
  removed(pod: Pod): void;
}

export function staticPods(ctx: KubeletContext, folder: string, handlers: StaticHandlers): StaticPods {
  const { kube, node, log, clock } = ctx;
  const known = new Map<string, Pod>();
  const mirrors = new Map<string, Pod>();
  /** The last pod that each file held: a file that is empty or broken for now keeps it. */
  const lastGood = new Map<string, Pod>();
  let watcher: ReturnType<typeof watch> | undefined;
  let reading: Promise<void> | undefined;
  let again = false;

  const keyOf = (pod: Pod): string => `${namespaceOf(pod)}/${nameOf(pod)}`;

  async function read(): Promise<void> {
    const found = new Map<string, Pod>();
    const files = (await readdir(folder).catch(() => [])).filter((file) => /^[^.].*\.(ya?ml|json)$/.test(file)).sort();
    for (const file of files) {
      const pod = await readPod(file);
      if (pod) found.set(keyOf(pod), pod);
    }
    for (const file of lastGood.keys()) if (!files.includes(file)) lastGood.delete(file);
    for (const [key, pod] of known) {
      if (found.get(key) && uidOf(found.get(key)!) === uidOf(pod)) continue;
      known.delete(key);
      handlers.removed(pod);
      mirrorQueue.add(key);
    }
    for (const [key, pod] of found) {
      if (known.has(key)) continue;
      known.set(key, pod);
      handlers.added(pod);
      mirrorQueue.add(key);
    }
  }

  async function readPod(file: string): Promise<Pod | undefined> {
    const text = await readFile(join(folder, file), "utf8").catch(() => "");
    // A file that is being written is empty first; the next change reads it again.
    if (text.trim() === "") return lastGood.get(file);
    try {
      const pod = await parsePod(text, node.name, timestamp(new Date(clock.now())));
      lastGood.set(file, pod);
      return pod;
    } catch (error) {
      log.warn({ file: join(folder, file), err: messageOf(error) }, "static pod not read");
      return lastGood.get(file);
    }
  }

  function reread(): void {
    if (reading) again = true;
    else reading = read().finally(() => {
      reading = undefined;
      if (again) reread();
      again = false;
    });
  }

  const mirrorQueue = workQueue({
    name: "mirror-pods", backoff: RETRY, reconcile,
    setTimer(fn, ms) {
      clock.after(ms, fn);
      return {};
    },
    onError: (key, error) => log.warn({ pod: key, err: messageOf(error) }, "mirror pod not written"),
  });

  /** One mirror for each static pod, and none without. */
  async function reconcile(key: string): Promise<void> {
    const pod = known.get(key);
    const mirror = mirrors.get(key);
    const wrong = mirror && (!pod || mirror.metadata.annotations?.[annotationsOf.mirror] !== uidOf(pod) || mirror.metadata.deletionTimestamp);
    if (wrong) await removeMirror(mirror);
    else if (pod && !mirror) await createMirror(pod);
  }

  async function removeMirror(mirror: Pod): Promise<void> {
    const options = { namespace: namespaceOf(mirror), gracePeriodSeconds: 0, preconditions: { uid: mirror.metadata.uid! } };
    await kube.delete(pods, nameOf(mirror), options).catch((error: unknown) => {
      if (!isNotFound(error)) throw error;
    });
  }

  async function createMirror(pod: Pod): Promise<void> {
    const { uid, ...metadata } = pod.metadata;
    const annotations = { ...metadata.annotations, [annotationsOf.mirror]: uid! };
    const owner = (await kube.get(nodes, node.name)).metadata.uid;
    const ownerReferences = [{ apiVersion: "v1", kind: "Node", name: node.name, uid: owner!, controller: true }];
    await kube.create(pods, { ...pod, metadata: { ...metadata, annotations, ownerReferences } }).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }

  return {
    async start() {
      await makeFolder(folder, 0o700);
      watcher = watch(folder, { persistent: false }, reread);
      await read();
    },
    list: () => [...known.values()],
    mirrorSeen(key, mirror) {
      if (mirror) mirrors.set(key, mirror);
      else mirrors.delete(key);
      mirrorQueue.add(key);
    },
    stop() {
      watcher?.close();
      void mirrorQueue.stop();
    },
  };
}

/** Reads a manifest and gives it what the API server would have: uid, node, defaults. */
async function parsePod(text: string, nodeName: string, now: string): Promise<Pod> {
  const { parse } = await import("yaml");
  const manifest = parse(text) as Pod;
  if (manifest?.kind !== "Pod" || !manifest.metadata?.name) throw new Error("not a Pod with a name");
  const uid = createHash("sha256").update(nodeName).update(text).digest("hex").slice(0, 32);
  const { name, namespace = "default", annotations, ...rest } = manifest.metadata;
  return {
    ...manifest,
    metadata: {
      ...rest, namespace, name: `${name}-${nodeName.toLowerCase()}`, uid, creationTimestamp: now,
      annotations: {
        ...annotations, [annotationsOf.configHash]: uid, [annotationsOf.source]: "file", [annotationsOf.seen]: now,
      },
    },
    spec: {
      restartPolicy: "Always", dnsPolicy: "ClusterFirst", terminationGracePeriodSeconds: 30, enableServiceLinks: true,
      ...manifest.spec!, nodeName,
      tolerations: [...(manifest.spec?.tolerations ?? []), { operator: "Exists", effect: "NoExecute" }],
    },
    status: { phase: "Pending" },
  } as Pod;
}
