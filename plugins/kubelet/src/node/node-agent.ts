/** Keeps the Node object and its Lease: registers, renews, and writes status only when it changed. */
import { messageOf } from "@k3s-p/plugin-api";
import { isAlreadyExists, isForbidden, isInvalid, isNotFound, leases, microTimestamp, nodes, timestamp, type Informer, type Lease, type Node } from "@k3s-p/plugin-api/kube";
import type { ObjectReference } from "@k3s-p/plugin-api/kube";
import { sleep } from "../clock.ts";
import type { KubeletContext } from "../context.ts";
import { same } from "../status-manager.ts";
import type { Machine } from "./machine.ts";
import { newNode, nodeStatus, ownLabels, registrationPatch, statusPatch, transitionReasons, type NodeState } from "./node-object.ts";

export interface NodeAgent {
  /** Registers the node, trying until the API server has taken or refused it, then renews lease and status on its own. */
  start(): Promise<void>;
  /** Writes the status now when it changed; calls while one is under way are joined into one more. */
  sync(): Promise<void>;
  /** The Node as last seen. */
  node(): Node | undefined;
  reference(): ObjectReference;
  stop(): void;
}

const LEASE_NAMESPACE = "kube-node-lease";
const LEASE_SECONDS = 40;
const BEAT = 10_000;
const FULL_REPORT = 300_000;
/** Waits between attempts to register, milliseconds: upstream's. */
const REGISTER_RETRY = [100, 7000] as const;

type NodeStatus = NonNullable<Node["status"]>;

/** `beat` runs before each renewal: the node's own checks, every 10 s. */
export function nodeAgent(
  ctx: KubeletContext, machine: Machine, port: () => number, state: () => Promise<NodeState>, beat: () => Promise<void>,
): NodeAgent {
  const { kube, node: self, clock, events, log, options } = ctx;
  let informer: Informer<Node> | undefined;
  let written: NodeStatus | undefined;
  let writtenAt = 0;
  let cancelBeat = (): void => {};
  /** Before the Node is known, what it was cannot be told from what it is. */
  let known = false;
  const stopping = new AbortController();
  /** What does not work -> why. */
  const failing = new Map<string, string>();

  const now = (): string => timestamp(new Date(clock.now()));
  const current = (): Node | undefined => informer?.get(self.name);
  const reference = (): ObjectReference =>
    ({ kind: "Node", apiVersion: "v1", name: self.name, uid: self.name }) as ObjectReference;

  /** At each beat the same reason would be the same line: it is told once until it is overcome. */
  function failed(what: string, error: unknown): void {
    const err = messageOf(error);
    if (![...failing.values()].includes(err)) log.warn({ err }, what);
    failing.set(what, err);
  }

  /** Whether it worked. */
  async function tried(step: () => Promise<void>, complaint: string): Promise<boolean> {
    try {
      await step();
      failing.delete(complaint);
      return true;
    } catch (error) {
      failed(complaint, error);
      return false;
    }
  }

  async function register(): Promise<void> {
    const status = nodeStatus(self, port(), machine, await state(), undefined, now());
    try {
      await kube.create(nodes, newNode(self, options, machine, status));
      written = status;
      writtenAt = clock.now();
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const found = await kube.get(nodes, self.name);
      const patch = registrationPatch(found, newNode(self, options, machine, status), ownLabels(self, machine));
      if (patch) await kube.patch(nodes, self.name, patch);
    }
  }

  /** What the API server does not accept from this node will not get better by waiting. */
  async function registered(): Promise<void> {
    for (let delay: number = REGISTER_RETRY[0]; ; delay = Math.min(delay * 2, REGISTER_RETRY[1])) {
      try {
        await register();
        return failing.clear();
      } catch (error) {
        if (isForbidden(error) || isInvalid(error)) throw error;
        failed("node not registered", error);
        await sleep(clock, delay, stopping.signal);
        stopping.signal.throwIfAborted();
      }
    }
  }

  async function writeStatus(): Promise<void> {
    const before = current()?.status ?? written;
    const mine = nodeStatus(self, port(), machine, await state(), before, now());
    // A cloud controller of the user's own knows better at which addresses the node is reached.
    const next = options.externalCloud && before?.addresses?.length ? { ...mine, addresses: before.addresses } : mine;
    // A Node that somebody deleted is not seen: the answer to the write tells, and it is registered again.
    const due = !current() || clock.now() - writtenAt >= FULL_REPORT;
    if (!due && before && !differs(before, next)) return;
    try {
      await kube.patch(nodes, self.name, { status: statusPatch(before, next, machine) }, { subresource: "status", type: "strategic" });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return register();
    }
    reportTransitions(before, next);
    written = next;
    writtenAt = clock.now();
  }

  function reportTransitions(before: NodeStatus | undefined, next: NodeStatus): void {
    for (const condition of next.conditions ?? []) {
      const old = before?.conditions?.find((c) => c.type === condition.type);
      // As upstream: a new node that is not ready yet has not become unready.
      if (!old && condition.type === "Ready" && condition.status !== "True") continue;
      if (old?.status !== condition.status) reportCondition(condition.type, condition.status === "True");
    }
  }

  function reportCondition(type: string, isTrue: boolean): void {
    const reason = transitionReasons[type]?.[isTrue ? 0 : 1];
    if (reason) events.record(reference(), "Normal", reason, `Node ${self.name} status is now: ${reason}`);
  }

  let writing: Promise<void> | undefined;
  let again = false;
  function sync(): Promise<void> {
    if (!known || stopping.signal.aborted) return Promise.resolve();
    if (writing) {
      again = true;
      return writing;
    }
    writing = (async () => {
      do {
        again = false;
        await tried(writeStatus, "node status not written");
      } while (again && !stopping.signal.aborted);
    })().finally(() => (writing = undefined));
    return writing;
  }

  async function renewLease(): Promise<void> {
    const renewTime = microTimestamp(new Date(clock.now()));
    const spec = { holderIdentity: self.name, leaseDurationSeconds: LEASE_SECONDS, renewTime };
    try {
      await kube.patch(leases, self.name, { spec }, { namespace: LEASE_NAMESPACE });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const uid = current()?.metadata.uid ?? (await kube.get(nodes, self.name)).metadata.uid!;
      const ownerReferences = [{ apiVersion: "v1", kind: "Node", name: self.name, uid }];
      await kube.create(leases, { metadata: { name: self.name, namespace: LEASE_NAMESPACE, ownerReferences }, spec } as unknown as Lease);
    }
  }

  async function onBeat(): Promise<void> {
    // Who hears nothing of a node writes its status; and the watch that would tell may be as broken as the lease.
    if (!(await tried(renewLease, "node lease not renewed"))) writtenAt = 0;
    await tried(beat, "node checks failed");
    await sync();
    if (!stopping.signal.aborted) cancelBeat = clock.after(BEAT, () => void onBeat());
  }

  return {
    async start() {
      await registered();
      informer = kube.informer(nodes, { fieldSelector: `metadata.name=${self.name}` });
      await informer.synced;
      known = true;
      informer.on({ updated: (node, old) => void (same(node.status?.capacity, old.status?.capacity) || sync()) });
      events.record(reference(), "Normal", "Starting", "Starting kubelet.");
      if (written) reportTransitions(undefined, written);
      events.record(reference(), "Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
      await onBeat();
    },
    sync,
    node: current,
    reference,
    stop() {
      stopping.abort();
      cancelBeat();
      informer?.stop();
    },
  };
}

/** Heartbeats alone are no difference. */
function differs(before: NodeStatus, next: NodeStatus): boolean {
  const still = ({ conditions = [], ...rest }: NodeStatus): object => ({
    ...rest, conditions: conditions.map(({ lastHeartbeatTime: _, ...condition }) => condition),
  });
  const fields = (status: NodeStatus): object =>
    Object.fromEntries(Object.keys(next).map((key) => [key, (still(status) as Record<string, unknown>)[key]]));
  const own = new Set((next.conditions ?? []).map((c) => c.type));
  const mine = { ...before, conditions: (before.conditions ?? []).filter((c) => own.has(c.type)) };
  return !same(fields(mine), fields(next));
}
