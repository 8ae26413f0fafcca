/** The plumbing that every controller shares: what it is given, its informers, its one work queue and its events. */
import type { ClusterSettings, NodeInfo, Pki } from "@k3s-p/plugin-api/slots";
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import {
  eventRecorder, isConflict, isNotFound, keyOf, workQueue,
  type EventRecorder, type Informer, type KubeClient, type KubeObject, type Resource,
} from "@k3s-p/plugin-api/kube";
import type { Tuning } from "./options.ts";

/** Everything that a controller touches from outside; tests inject a fake client, clock and randomness. */
export interface ControllerDeps {
  readonly client: KubeClient;
  readonly log: Logger;
  readonly now: () => Date;
  readonly random: () => number;
  readonly signal: AbortSignal;
  readonly cluster: Pick<ClusterSettings, "clusterCidr">;
  /** This server's own node. */
  readonly self: Pick<NodeInfo, "name">;
  readonly pki: Pki;
  readonly tuning: Tuning;
  /** One view a resource for all controllers, with the indexes of `lib/informers.ts`. */
  readonly informer: <T extends KubeObject>(resource: Resource<T>) => Informer<T>;
  readonly defer: (undo: () => void | Promise<void>) => void;
}

export type StartController = (deps: ControllerDeps) => void | Promise<void>;

export interface Change<T> {
  readonly previous: T | undefined;
  readonly deleted: boolean;
}

type Keys = Iterable<string> | string | undefined | void;

export interface Controller {
  readonly events: EventRecorder;
  /** Turns every change of a resource into keys; `run` waits until its first list is in. */
  follow<T extends KubeObject>(resource: Resource<T>, toKeys?: (object: T, change: Change<T>) => Keys): Informer<T>;
  /** A view without handlers; `run` waits for it, too. */
  read<T extends KubeObject>(resource: Resource<T>): Informer<T>;
  enqueue(key: string): void;
  enqueueAfter(key: string, ms: number): void;
  /** Starts the queue. `reconcile` may return the milliseconds after which it wants to run again. */
  run(reconcile: (key: string) => Promise<number | void>): void;
}

export interface ControllerOptions {
  readonly workers?: number;
  /** Source component of the controller's events, `<name>-controller` by default. */
  readonly component?: string;
  readonly backoff?: readonly [number, number];
}

export function createController(deps: ControllerDeps, name: string, options: ControllerOptions = {}): Controller {
  const { workers = 5, component = `${name}-controller`, backoff = [5, 60_000] } = options;
  const synced: Promise<void>[] = [];
  let subscriptions: (() => void)[] | undefined = [];
  let reconcile: ((key: string) => Promise<number | void>) | undefined;
  let begin: () => void;
  const started = new Promise<void>((resolve) => (begin = resolve));

  const queue = workQueue({
    name, workers, backoff,
    async reconcile(key) {
      await started;
      if (deps.signal.aborted) return;
      return reconcile!(key);
    },
    onError(key, error, retries) {
      const expected = isConflict(error) || isNotFound(error) || deps.signal.aborted;
      // A lasting failure is told at the 1st, 2nd, 4th, 8th, ... attempt.
      const told = (retries & (retries - 1)) === 0;
      deps.log[expected || !told ? "debug" : "warn"]({ controller: name, key, retries, err: messageOf(error) }, "reconcile failed");
    },
  });
  deps.defer(() => {
    begin();
    return queue.stop();
  });

  const read = <T extends KubeObject>(resource: Resource<T>): Informer<T> => {
    const informer = deps.informer(resource);
    synced.push(informer.synced);
    return informer;
  };

  return {
    events: eventRecorder(deps.client, { component, now: deps.now }),
    read,
    follow(resource, toKeys = keyOf) {
      const informer = read(resource);
      const add = (keys: Keys) => {
        if (typeof keys === "string") queue.add(keys);
        else if (keys) for (const key of keys) queue.add(key);
      };
      const subscribe = () => deps.defer(informer.on({
        added: (object) => add(toKeys(object, { previous: undefined, deleted: false })),
        updated: (object, previous) => add(toKeys(object, { previous, deleted: false })),
        deleted: (object) => add(toKeys(object, { previous: undefined, deleted: true })),
      }));
      if (subscriptions) subscriptions.push(subscribe);
      else queueMicrotask(subscribe);
      return informer;
    },
    enqueue: (key) => queue.add(key),
    enqueueAfter: (key, ms) => queue.addAfter(key, ms),
    run(fn) {
      reconcile = fn;
      // After the caller has returned: its handlers may use anything that it declares.
      queueMicrotask(() => {
        if (deps.signal.aborted) return;
        const planned = subscriptions ?? [];
        subscriptions = undefined;
        for (const subscribe of planned) subscribe();
        void Promise.all(synced).then(begin);
      });
    },
  };
}
