/**
 * Recording of Kubernetes Events as client-go's correlator does: repeated ones are counted up, those of an object that
 * differ in their text alone become one, and an object that causes too many is heard only now and then.
 */
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
/** So many texts of one reason are written apart within this time. */
const SIMILAR = 10;
const SIMILAR_WINDOW = 600_000;
/** Events of one object that are written at once, and the time in which it may cause one more. */
const BURST = 25;
const REFILL = 300_000;

/** An event that was written before. */
interface Seen {
  name: string;
  readonly namespace: string;
  /** Those that were held back are told with the next one. */
  count: number;
  told: number;
  message: string;
  last: Promise<void>;
}

/** Texts that were seen with one reason of an object. */
interface Group {
  at: number;
  readonly messages: Set<string>;
}

/** What an object may still cause. */
interface Bucket {
  at: number;
  tokens: number;
}

export function eventRecorder(client: KubeClient, options: RecorderOptions): EventRecorder {
  const { component, host, now = () => new Date() } = options;
  const seen = new Map<string, Seen>();
  const groups = new Map<string, Group>();
  const buckets = new Map<string, Bucket>();
  let sequence = 0;

  /** Equal events go one after another, so that the second finds what the first wrote. */
  function enqueue(ref: ObjectReference, type: string, reason: string, message: string): void {
    const object = [ref.kind, ref.namespace, ref.name, ref.uid].join("\0");
    const group = [object, type, reason].join("\0");
    const combined = isOneOfMany(group, message);
    const key = combined ? group : [group, ref.fieldPath, message].join("\0");
    const entry = recall(seen, key, () => ({ name: "", namespace: ref.namespace || "default", count: 0, told: 0, message, last: Promise.resolve() }));
    entry.count++;
    if (!mayCause(object)) return;
    entry.message = combined ? `(combined from similar events): ${message}` : message;
    entry.last = entry.last.then(() => write(entry, ref, type, reason)).catch(() => {});
  }

  function isOneOfMany(key: string, message: string): boolean {
    const group = recall(groups, key, () => ({ at: 0, messages: new Set<string>() }));
    const at = now().getTime();
    if (at - group.at > SIMILAR_WINDOW) group.messages.clear();
    group.at = at;
    if (group.messages.size >= SIMILAR && !group.messages.has(message)) return true;
    group.messages.add(message);
    return false;
  }

  function mayCause(object: string): boolean {
    const at = now().getTime();
    const bucket = recall(buckets, object, () => ({ at, tokens: BURST }));
    bucket.tokens = Math.min(BURST, bucket.tokens + (at - bucket.at) / REFILL);
    bucket.at = at;
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  async function write(entry: Seen, ref: ObjectReference, type: string, reason: string): Promise<void> {
    if (entry.told === entry.count) return;
    const at = timestamp(now());
    if (entry.name && (await countUp(entry, at))) return;
    if (entry.name) entry.count = 1;
    const { count, message } = entry;
    const suffix = (now().getTime() * 4096 + (sequence++ & 4095)).toString(16);
    entry.name = `${(ref.name ?? "").slice(0, 230)}.${suffix}`;
    const event = {
      metadata: { name: entry.name, namespace: entry.namespace }, involvedObject: ref, type, reason, message, count,
      firstTimestamp: at, lastTimestamp: at, source: { component, ...(host && { host }) },
      reportingComponent: component, reportingInstance: host ?? "",
    };
    await client.create(events, event as CoreEvent);
    entry.told = count;
  }

  /** False when the event has expired in the meantime. */
  async function countUp(entry: Seen, at: string): Promise<boolean> {
    const { count, message } = entry;
    try {
      await client.patch(events, entry.name, { message, count, lastTimestamp: at }, { namespace: entry.namespace });
      entry.told = count;
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

/** The entry of that key, made if need be; of too many the one that was asked for longest ago is forgotten. */
function recall<T>(map: Map<string, T>, key: string, make: () => T): T {
  const entry = map.get(key) ?? make();
  map.delete(key);
  if (map.size >= REMEMBERED) map.delete(map.keys().next().value!);
  map.set(key, entry);
  return entry;
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
