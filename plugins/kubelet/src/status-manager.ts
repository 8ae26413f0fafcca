/**
 * The only writer of pod status: it sends what changed, one patch a pod at a time, and never holds a worker up.
 * While a patch is under way, newer statuses of the pod replace each other, and the last one is sent.
 */
import { isConflict, isInvalid, isNotFound, pods, type KubeClient, type Pod, type PodStatus } from "@k3s-p/plugin-api/kube";
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import type { Clock } from "./clock.ts";
import { nameOf, namespaceOf } from "./pod.ts";
import { passingConditions } from "./status.ts";

export interface StatusManager {
  /** Sends the status when it differs from what the API has. */
  publish(pod: Pod, status: PodStatus): void;
  /** The status last published for the pod's API uid. */
  last(uid: string): PodStatus | undefined;
  /** Resolves when everything published for the pod has been sent (or refused for good, or the pod is gone); rejects when it will be sent later. */
  flush(uid: string): Promise<void>;
  forget(uid: string): void;
}

interface Entry {
  pod: Pod;
  status: PodStatus;
  /** What the API has, as far as is known. */
  sent: PodStatus;
  /** Resource version of our last write: a later one in the informer was written by somebody else. */
  revision: number;
  running: Promise<void> | undefined;
  failures: number;
  /** Why the last write failed. */
  error?: unknown;
}

export function statusManager(ctx: { kube: KubeClient; clock: Clock; log: Logger }): StatusManager {
  const { kube, clock, log } = ctx;
  const entries = new Map<string, Entry>();

  function pump(uid: string, entry: Entry): void {
    if (entry.running) return;
    entry.running = send(uid, entry).finally(() => {
      entry.running = undefined;
      if (entries.get(uid) === entry && entry.failures === 0 && statusPatch(entry.sent, entry.status)) pump(uid, entry);
    });
  }

  async function send(uid: string, entry: Entry): Promise<void> {
    const { pod, status } = entry;
    const patch = statusPatch(entry.sent, status);
    if (!patch) return;
    try {
      const body = { metadata: { uid: pod.metadata.uid }, status: patch };
      const written = await kube.patch(pods, nameOf(pod), body, { namespace: namespaceOf(pod), subresource: "status", type: "strategic" });
      entry.sent = status;
      entry.revision = Number(written.metadata.resourceVersion);
      entry.failures = 0;
    } catch (error) {
      // A pod that is gone, or that gave way to another one of its name (the patch says its uid), needs no status any more.
      if (isNotFound(error) || isConflict(error)) return void entries.delete(uid);
      entry.failures++;
      entry.error = error;
      log.warn({ pod: `${namespaceOf(pod)}/${nameOf(pod)}`, err: messageOf(error) }, "pod status not written");
      clock.after(Math.min(30_000, 100 * 2 ** entry.failures), () => {
        if (entries.get(uid) === entry) pump(uid, entry);
      });
    }
  }

  return {
    publish(pod, status) {
      const uid = pod.metadata.uid!;
      const known = entries.get(uid);
      const entry = known ?? { pod, status, sent: pod.status ?? ({} as PodStatus), revision: 0, running: undefined, failures: 0 };
      entries.set(uid, entry);
      entry.pod = pod;
      if (Number(pod.metadata.resourceVersion) > entry.revision && !entry.running) entry.sent = pod.status ?? ({} as PodStatus);
      entry.status = keepTimes(entry.status, status);
      pump(uid, entry);
    },
    last: (uid) => entries.get(uid)?.status,
    async flush(uid) {
      const entry = entries.get(uid);
      while (entry && entries.get(uid) === entry && (entry.running || (entry.failures === 0 && statusPatch(entry.sent, entry.status)))) {
        await (entry.running ?? Promise.resolve(pump(uid, entry)));
      }
      if (entry && entries.get(uid) === entry && entry.failures > 0 && !isInvalid(entry.error)) throw entry.error;
    },
    forget: (uid) => void entries.delete(uid),
  };
}

/** A condition that did not change keeps its time, and the pod its start. */
function keepTimes(before: PodStatus, next: PodStatus): PodStatus {
  const conditions = (next.conditions ?? []).map((c) => {
    const old = before.conditions?.find((o) => o.type === c.type);
    return old?.status === c.status ? { ...c, lastTransitionTime: old.lastTransitionTime ?? c.lastTransitionTime } : c;
  });
  return { ...next, conditions, startTime: before.startTime ?? next.startTime } as PodStatus;
}

/** Fields that merge by key in a strategic patch, so that entries of others stay and own ones must be deleted by name. */
const mergeKeys: Readonly<Record<string, string>> = { conditions: "type", podIPs: "ip", hostIPs: "ip" };
const keepForeign = new Set(["conditions", "hostIPs"]);

/** Fields that a pod's status loses when they are not there any more. */
const ownFields = ["reason", "message", "podIP", "podIPs"];

/** Strategic merge patch of what differs; undefined when nothing does. */
export function statusPatch(before: PodStatus, next: PodStatus): Record<string, unknown> | undefined {
  const old = before as Readonly<Record<string, unknown>>;
  const patch: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(next)) {
    const key = mergeKeys[field];
    if (key) {
      const delta = mergedDelta(old[field] as Item[] | undefined, value as Item[], key, keepForeign.has(field));
      if (delta.length) patch[field] = delta;
    } else if (!same(old[field], value)) patch[field] = value;
  }
  for (const field of ownFields) if ((old[field] ?? undefined) !== undefined && !(field in next)) patch[field] = null;
  return Object.keys(patch).length ? patch : undefined;
}

type Item = Readonly<Record<string, unknown>>;

function mergedDelta(before: readonly Item[] | undefined, next: readonly Item[], key: string, foreign: boolean): Item[] {
  const changed = next.flatMap((item) => {
    const old = before?.find((o) => o[key] === item[key]);
    if (same(old, item)) return [];
    // Entries merge field by field: what is not there any more must be taken away by name.
    const lost = Object.keys(old ?? {}).filter((field) => !(field in item));
    return [{ ...item, ...Object.fromEntries(lost.map((field) => [field, null])) }];
  });
  const removed = (before ?? []).filter((old) =>
    !next.some((item) => item[key] === old[key]) && (!foreign || passingConditions.has(String(old[key]))));
  return [...changed, ...removed.map((old) => ({ $patch: "delete", [key]: old[key] }))];
}

/** Deep equality in which null and absent are the same, as they are on the wire. */
export function same(a: unknown, b: unknown): boolean {
  if (a === b || (a ?? undefined) === (b ?? undefined)) return true;
  if (typeof a !== "object" || typeof b !== "object" || !a || !b) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => same((a as Item)[key], (b as Item)[key]));
}
