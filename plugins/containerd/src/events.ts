/** One shared subscription to containerd's events, turned into the slot's events and given to all subscribers. */
import type { RuntimeEvent } from "@k3s-p/plugin-api/slots";
import type { CriChannel, Envelope } from "./cri.ts";

/** Field number of the container's id in each payload, all in `containerd.events`. */
const topics: Readonly<Record<string, { readonly type: RuntimeEvent["type"]; readonly idField: number }>> = {
  "/containers/create": { type: "created", idField: 1 },
  "/tasks/start": { type: "started", idField: 1 },
  "/tasks/exit": { type: "exited", idField: 1 },
  "/tasks/oom": { type: "oom", idField: 1 },
  "/containers/delete": { type: "deleted", idField: 1 },
};
const taskExitProcessField = 2;

const eventFilters: readonly string[] = Object.keys(topics).map((topic) => `namespace=="k8s.io",topic=="${topic}"`);

/** Undefined for events that are none of the slot's: the exit of an exec'ed process has the container's id but another id of its own. */
export function decodeEvent(envelope: Envelope): RuntimeEvent | undefined {
  const topic = topics[envelope.topic];
  const value = envelope.event?.value;
  if (!topic || !value) return undefined;
  const containerId = stringField(value, topic.idField);
  if (!containerId) return undefined;
  const process = topic.type === "exited" ? stringField(value, taskExitProcessField) : containerId;
  return process && process !== containerId ? undefined : { type: topic.type, containerId };
}

/** Reads one string field of a protobuf message; enough for payloads whose other fields do not matter. */
export function stringField(message: Uint8Array, field: number): string | undefined {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; at < message.length; shift += 7) {
      const byte = message[at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < message.length) {
    const tag = varint();
    const wire = tag % 8;
    if (wire === 2) {
      const length = varint();
      if (Math.floor(tag / 8) === field) return Buffer.from(message.subarray(at, at + length)).toString("utf8");
      at += length;
    } else if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else return undefined;
  }
  return undefined;
}

export interface EventHub {
  subscribe(onEvent: (event: RuntimeEvent) => void, onResync: () => void): () => void;
  stop(): void;
}

export interface EventHubOptions {
  readonly channel: Pick<CriChannel, "events" | "ready">;
  /** Resolves when the runtime's status shows what the event tells; see `settle` in runtime.ts. */
  readonly settle: (event: RuntimeEvent) => Promise<void>;
  readonly setTimer?: (fn: () => void, ms: number) => { unref(): unknown };
}

const retryDelay = 1000;
/** containerd sends no header before the first event, so nothing tells that a new subscription stands. */
const subscribeDelay = 100;

export function eventHub({ channel, settle, setTimer = setTimeout }: EventHubOptions): EventHub {
  const subscribers = new Set<{ onEvent: (event: RuntimeEvent) => void; onResync: () => void }>();
  let stopped = false;
  let stream: ReturnType<CriChannel["events"]> | undefined;
  const deliver = (event: RuntimeEvent) => subscribers.forEach(({ onEvent }) => onEvent(event));

  function connect(): void {
    if (stopped) return;
    const current = (stream = channel.events(eventFilters));
    let ended = false;
    const end = () => {
      if (!ended && !stopped) void reconnect();
      ended = true;
    };
    current.on("data", (envelope: Envelope) => {
      const event = decodeEvent(envelope);
      if (event) void settle(event).then(() => deliver(event));
    });
    current.on("error", end);
    current.on("end", end);
  }

  /** Of a containerd that lives: when it ended, so does the plugin's run. */
  async function reconnect(): Promise<void> {
    try {
      await channel.ready(retryDelay * 10);
    } catch {
      if (!stopped) setTimer(() => void reconnect(), retryDelay).unref();
      return;
    }
    connect();
    setTimer(() => subscribers.forEach(({ onResync }) => onResync()), subscribeDelay).unref();
  }

  connect();
  return {
    subscribe(onEvent, onResync) {
      const subscriber = { onEvent, onResync };
      subscribers.add(subscriber);
      return () => void subscribers.delete(subscriber);
    },
    stop() {
      stopped = true;
      stream?.cancel();
    },
  };
}
