/** Counts what keeps a process busy or its memory growing: timers, sockets, servers, watchers, children, workers. */
import { createHook } from "node:async_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export type ResourceCount = Readonly<Record<string, number>>;

// File handles are not counted: a closed one is only known to be gone when it happens to be collected.
const counted = new Set([
  "Timeout", "TCPSERVERWRAP", "TCPWRAP", "UDPWRAP", "PIPEWRAP", "PIPESERVERWRAP", "PROCESSWRAP", "FSEVENTWRAP", "STATWATCHER",
  "TTYWRAP", "WORKER", "MESSAGEPORT", "HTTP2SESSION", "DNSCHANNEL",
]);

export interface ResourceMeter {
  /** What was made since the meter was started and is still there, by kind. Also what is unref'd. */
  count(): ResourceCount;
  stop(): void;
}

/** Only what is made between `liveResources()` and `stop()` is seen. */
export function liveResources(): ResourceMeter {
  const live = new Map<number, string>();
  const hook = createHook({
    init: (id, type) => void (counted.has(type) && live.set(id, type)),
    destroy: (id) => void live.delete(id),
  }).enable();
  return {
    count() {
      collectGarbage();
      const counts: Record<string, number> = {};
      for (const type of [...live.values()].sort()) counts[type] = (counts[type] ?? 0) + 1;
      return counts;
    },
    stop: () => void hook.disable(),
  };
}

/** Some handles (HTTP/2 sessions) are only known to be gone when their object is collected. */
const collectGarbage: () => void = (() => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return gc;
})();

/** Lines such as `Timeout: 3 -> 23` for every kind of which there is more than before. */
export function growth(before: ResourceCount, after: ResourceCount): readonly string[] {
  return Object.entries(after)
    .filter(([type, count]) => count > (before[type] ?? 0))
    .map(([type, count]) => `${type}: ${before[type] ?? 0} -> ${count}`);
}
