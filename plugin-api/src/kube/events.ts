/** Recording of Kubernetes Events, with repeated ones counted up as client-go's correlator does. */
import type { KubeClient } from "./client.ts";
import { isNotFound } from "./errors.ts";
import { timestamp } from "./meta.ts";
import { events } from "./resources.ts";
import type { CoreEvent, KubeObject, ObjectReference } from "./types.ts";

export interface EventRecorder {
  /** Never throws; an event that cannot be written is dropped. */
  record(object: KubeObject | ObjectReference, type: "Normal" | "Warning", reason: string, message: string): void;
}

export interface RecorderOptions {
  readonly component: string;
  readonly host?: string;
  readonly now?: () => Date;
}

const REMEMBERED = 512;

/** An event that was written before. */
interface Seen {
  name: string;
  readonly namespace: string;
  count: number;
  last: Promise<void>;
}

export function eventRecorder(client: KubeClient, options: RecorderOptions): EventRecorder {
  const { component, host, now = () => new Date() } = options;
  const seen = new Map<string, Seen>();
  let sequence = 0;

  /** Equal events go one after another, so that the second finds what the first wrote. */
  function enqueue(ref: ObjectReference, type: string, reason: string, message: string): void {
    const key = [ref.kind, ref.namespace, ref.name, ref.uid, ref.fieldPath, type, reason, message].join("\0");
    const entry = seen.get(key) ?? { name: "", namespace: ref.namespace || "default", count: 0, last: Promise.resolve() };
    // Put last again: the oldest entry is the one that is forgotten.
    seen.delete(key);
    if (seen.size >= REMEMBERED) seen.delete(seen.keys().next().value!);
    seen.set(key, entry);
    entry.last = entry.last.then(() => write(entry, ref, type, reason, message)).catch(() => {});
  }

  async function write(entry: Seen, ref: ObjectReference, type: string, reason: string, message: string): Promise<void> {
    const at = timestamp(now());
    entry.count++;
    if (entry.name && (await countUp(entry, at))) return;
    entry.count = 1;
    const suffix = (now().getTime() * 4096 + (sequence++ & 4095)).toString(16);
    entry.name = `${(ref.name ?? "").slice(0, 230)}.${suffix}`;
    const event = {
      metadata: { name: entry.name, namespace: entry.namespace }, involvedObject: ref, type, reason, message, count: 1,
      firstTimestamp: at, lastTimestamp: at, source: { component, ...(host && { host }) },
      reportingComponent: component, reportingInstance: host ?? "",
    };
    await client.create(events, event as CoreEvent);
  }

  /** False when the event has expired in the meantime. */
  async function countUp(entry: Seen, at: string): Promise<boolean> {
    try {
      await client.patch(events, entry.name, { count: entry.count, lastTimestamp: at }, { namespace: entry.namespace });
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  return {
    record(object, type, reason, message) {
      enqueue(toReference(object), type, reason, message);
    },
  };
}

/** Reference to an object that was read from the server. */
export function toReference(object: KubeObject | ObjectReference): ObjectReference {
  const meta = (object as KubeObject).metadata;
  if (!meta) return object as ObjectReference;
  return {
    kind: object.kind, apiVersion: object.apiVersion, name: meta.name,
    ...(meta.namespace && { namespace: meta.namespace }), uid: meta.uid, resourceVersion: meta.resourceVersion,
  } as ObjectReference;
}
