/** Recording of Kubernetes Events, with repeated ones counted up as client-go's correlator does. */
import type { KubeClient } from "./client.ts";
import { isNotFound } from "./errors.ts";
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

export function eventRecorder(client: KubeClient, options: RecorderOptions): EventRecorder {
  const { component, host, now = () => new Date() } = options;
  const seen = new Map<string, { name: string; namespace: string; count: number }>();
  let sequence = 0;

  async function write(ref: ObjectReference, type: string, reason: string, message: string): Promise<void> {
    const at = now().toISOString().replace(/\.\d+Z$/, "Z");
    const key = [ref.kind, ref.namespace, ref.name, ref.uid, ref.fieldPath, type, reason, message].join("\0");
    const before = seen.get(key);
    if (before) {
      before.count++;
      try {
        await client.patch(events, before.name, { count: before.count, lastTimestamp: at }, { namespace: before.namespace });
        return;
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    const namespace = ref.namespace || "default";
    const suffix = (now().getTime() * 4096 + (sequence++ & 4095)).toString(16);
    const name = `${(ref.name ?? "").slice(0, 230)}.${suffix}`;
    if (seen.size >= REMEMBERED) seen.delete(seen.keys().next().value!);
    seen.set(key, { name, namespace, count: 1 });
    const event = {
      metadata: { name, namespace }, involvedObject: ref, type, reason, message, count: 1,
      firstTimestamp: at, lastTimestamp: at, source: { component, ...(host && { host }) },
      reportingComponent: component, reportingInstance: host ?? "",
    };
    await client.create(events, event as CoreEvent);
  }

  return {
    record(object, type, reason, message) {
      void write(toReference(object), type, reason, message).catch(() => {});
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
