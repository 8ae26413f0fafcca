/** The fake client over a bad network: calls fail now and then, before or after they took place, and informers lag. */
import type { Informer, InformerHandlers, InformerOptions, KubeClient } from "./client.ts";
import type { FakeKube } from "./fake.ts";
import { createIndexes } from "./indexes.ts";
import type { Resource } from "./resources.ts";
import type { KubeObject } from "./types.ts";

export interface FlakyOptions {
  /** From 0 to 1; `seeded` gives the same failures again. */
  readonly random: () => number;
  /** Share of the calls that fail; it may change while the test runs. Default 0.4. */
  failing?: number;
  /** The longest that news take to an informer, milliseconds. Default 5. */
  readonly lag?: number;
}

export interface FlakyKube extends KubeClient {
  /** Calls that failed so far. */
  readonly failures: number;
}

/** The same numbers for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const methods = ["get", "list", "create", "update", "patch", "delete", "deleteCollection", "request"] as const;

export function flaky(kube: FakeKube, options: FlakyOptions): FlakyKube {
  const { random, lag = 5 } = options;
  let failures = 0;

  function reset(): Error {
    failures++;
    return Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  }

  async function call(act: () => Promise<unknown>): Promise<unknown> {
    const lot = random() / (options.failing ?? 0.4);
    await Promise.resolve();
    if (lot < 0.5) throw reset();
    const answer = await act();
    // It took place, but nobody heard the answer.
    if (lot < 1) throw reset();
    return answer;
  }

  const calls = Object.fromEntries(methods.map((method) => [method, (...args: unknown[]) => call(() => (kube[method] as (...all: unknown[]) => Promise<unknown>)(...args))]));
  return {
    ...(calls as unknown as KubeClient),
    get failures() {
      return failures;
    },
    watch: kube.watch,
    informer: (resource, query) => laggingInformer(kube, resource, query, () => Math.floor(random() * lag)),
  };
}

/** Tells everything later, in the order in which it happened. */
function laggingInformer<T extends KubeObject>(kube: FakeKube, resource: Resource<T>, query: InformerOptions<T> = {}, delay: () => number): Informer<T> {
  const objects = new Map<string, T>();
  const indexes = createIndexes(resource, query);
  const handlers = new Set<InformerHandlers<T>>();
  const keyOf = ({ metadata }: KubeObject) => `${metadata?.namespace ?? ""}/${metadata?.name}`;
  let stopped = false;
  let last = Promise.resolve();
  const later = (tell: () => void) => {
    const due = new Promise((resolve) => setTimeout(resolve, delay()));
    last = Promise.all([last, due]).then(() => stopped || tell()).then(() => undefined);
  };
  function put(object: T): void {
    const before = objects.get(keyOf(object));
    objects.set(keyOf(object), object);
    indexes.put(before, object);
    for (const handler of [...handlers]) if (before) handler.updated?.(object, before);
      else handler.added?.(object);
  }
  function remove(object: T): void {
    indexes.put(objects.get(keyOf(object)), undefined);
    objects.delete(keyOf(object));
    for (const handler of [...handlers]) handler.deleted?.(object);
  }
  const source = kube.informer(resource, query);
  source.on({ added: (object) => later(() => put(object)), updated: (object) => later(() => put(object)), deleted: (object) => later(() => remove(object)) });
  later(() => {});
  const synced = last;
  return {
    synced,
    get: (name, namespace = query.namespace ?? "") => objects.get(resource.namespaced ? `${namespace}/${name}` : `/${name}`),
    list: (namespace) => [...objects.values()].filter((object) => !namespace || object.metadata!.namespace === namespace),
    byIndex: indexes.find,
    on(handler) {
      for (const object of [...objects.values()]) handler.added?.(object);
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
    stop() {
      stopped = true;
      source.stop();
    },
  };
}
