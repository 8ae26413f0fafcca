/**
 * The scheduler: takes pods from the queue one by one, finds a node, counts the pod there at once ("assumes" it)
 * and binds it in the background.
 *
 *     informers -> cluster picture -> queue -> place -> reserve, assume -> (preBind, bind) ~> confirmed by informer
 *                                        ^        `-> no node: preempt?, park until an event helps
 *                                        `------------- binding failed: forget, back-off
 */
import { eventRecorder, namespaces, nodes, persistentVolumeClaims, persistentVolumes, podDisruptionBudgets, pods, storageClasses } from "@k3s-p/plugin-api/kube";
import type { Informer, KubeClient } from "@k3s-p/plugin-api/kube";
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import { createBinder } from "./binder.ts";
import { createCluster } from "./cluster.ts";
import { defaultPlugins } from "./default-plugins.ts";
import { groupSources } from "./default-selector.ts";
import { createFailureMemory } from "./failure-memory.ts";
import { compile, type ClusterEvent } from "./framework.ts";
import { failureMessage, rejectors } from "./messages.ts";
import { createNominations } from "./nominations.ts";
import { createOutcome } from "./outcome.ts";
import { createPlacer, type Placement } from "./placement.ts";
import { createPreemption } from "./preemption.ts";
import { createQueue, type QueueClock, type QueuedPod } from "./queue.ts";
import { createReactivation } from "./reactivation.ts";
import { watchNodes, watchPods } from "./watch.ts";

export interface SchedulerOptions {
  readonly client: KubeClient;
  readonly log: Logger;
  readonly schedulerName?: string;
  /** 0 = adaptive, as upstream. */
  readonly percentageOfNodesToScore?: number;
  readonly clock?: QueueClock;
  readonly random?: () => number;
  /** Runs a function in a later turn of the event loop. */
  readonly defer?: (fn: () => void) => void;
}

export interface RunningScheduler {
  stop(): void;
}

/** Longest time that the loop holds the event loop, milliseconds. */
const slice = 5;
/** Bindings on their way to the API server at one time. */
const maxBinding = 512;
const systemClock: QueueClock = { now: () => Date.now(), setTimer: (fn, ms) => setTimeout(fn, ms) };

/** Resolves when the informers are filled and the first pods are being scheduled. */
export async function startScheduler(options: SchedulerOptions): Promise<RunningScheduler> {
  const { client, log, schedulerName = "default-scheduler", clock = systemClock, random = Math.random } = options;
  const { defer = setImmediate, percentageOfNodesToScore = 0 } = options;

  const informers = {
    nodes: client.informer(nodes), pods: client.informer(pods), namespaces: client.informer(namespaces),
    claims: client.informer(persistentVolumeClaims), volumes: client.informer(persistentVolumes),
    classes: client.informer(storageClasses), budgets: client.informer(podDisruptionBudgets),
  };
  const groups = groupSources(client);
  const cluster = createCluster((name) => informers.namespaces.get(name)?.metadata.labels);
  const volumes = { client, ...informers, hasNode: (name: string) => cluster.node(name)?.node !== undefined };
  const framework = compile(defaultPlugins(volumes, groups.selector), random);
  const nominations = createNominations();
  const memory = createFailureMemory(cluster);
  const recorder = eventRecorder(client, { component: schedulerName });
  const outcome = createOutcome({ client, recorder, log, schedulerName, now: () => new Date(clock.now()) });
  const queue = createQueue(clock, wake);
  const placer = createPlacer(cluster, framework, nominations, percentageOfNodesToScore);
  const preempt = createPreemption({
    cluster, framework, placer, random,
    budgets: (namespace) => informers.budgets.list(namespace),
    nominatedNode: (pod) => nominations.nodeOf(pod.uid),
  });
  const reactivation = createReactivation(cluster, framework, queue, nominations, defer);
  const binder = createBinder({
    client, cluster, framework, nominations, outcome, queue, signal,
    latest: ({ name, namespace }) => informers.pods.get(name, namespace),
    onSettled: () => void (queue.ready && wake()),
  });
  let pumping = false;
  let running = false;

  function wake(): void {
    if (pumping || !running) return;
    pumping = true;
    defer(pump);
  }

  const mayGoOn = (): boolean => running && binder.calls < maxBinding;

  function pump(): void {
    const end = performance.now() + slice;
    while (mayGoOn() && performance.now() < end) {
      const item = queue.pop();
      if (!item) break;
      scheduleOne(item);
    }
    pumping = false;
    if (queue.ready && mayGoOn()) wake();
  }

  function signal(event: ClusterEvent, node?: string): void {
    if (event !== "podAdded") memory.clear();
    reactivation.signal(event, node);
  }

  function scheduleOne(item: QueuedPod): void {
    const { info } = item;
    const remembered = memory.recall(info);
    if (remembered) return reject(item, remembered.message, remembered.rejectedBy);
    try {
      const placement = placer.place(info);
      if (placement.ok) return binder.accept(item, placement);
      preemptOrPark(item, placement);
    } catch (error) {
      log.error({ err: error, pod: info.key }, "scheduling a pod failed");
      outcome.failed(info, "SchedulerError", messageOf(error));
      queue.retry(item);
    }
  }

  function preemptOrPark(item: QueuedPod, { cycle, diagnosis }: Extract<Placement, { ok: false }>): void {
    const rejectedBy = rejectors(diagnosis);
    const { info } = item;
    const { candidate, message, waiting } = diagnosis.total ? preempt(cycle, diagnosis) : { message: "" };
    const text = failureMessage(diagnosis, candidate ? "" : message);
    if (!candidate) {
      memory.remember(info, { message: text, rejectedBy });
      const stale = !waiting && nominations.nodeOf(info.uid) !== undefined;
      if (stale) nominations.remove(info.uid);
      return reject(item, text, rejectedBy, stale ? null : undefined);
    }
    const { node, victims } = candidate;
    for (const lesser of nominations.lesser(node.name, info)) {
      nominations.remove(lesser.uid);
      outcome.withdraw(lesser);
    }
    nominations.set(info, node.name);
    reject(item, text, rejectedBy, node.name);
    for (const victim of victims) outcome.evict(victim, info, node.name);
  }

  function reject(item: QueuedPod, message: string, rejectedBy: ReadonlySet<string>, nominated?: string | null): void {
    queue.park(item, rejectedBy);
    outcome.failed(item.info, "Unschedulable", message, nominated);
  }

  await Promise.all([groups.synced, ...Object.values(informers).map((informer) => informer.synced)]);
  const watching = { schedulerName, cluster, queue, framework, nominations, outcome, signal, onGone: binder.abort };
  const unsubscribe = [
    watchNodes(informers.nodes, watching),
    watchPods(informers.pods, watching),
    onAny(informers.claims, () => signal("claim")),
    onAny(informers.volumes, () => signal("volume")),
    onAny(informers.classes, () => signal("storageClass")),
    onAny(informers.namespaces, () => signal("namespace")),
  ];
  running = true;
  wake();

  return {
    stop() {
      running = false;
      for (const off of unsubscribe) off();
      binder.stop();
      for (const informer of Object.values(informers)) informer.stop();
      groups.stop();
      queue.stop();
    },
  };
}

const onAny = (informer: Informer<any>, fn: () => void): (() => void) =>
  informer.on({ added: fn, updated: fn });
