/** For this plugin's tests: a scheduler running on a fake API server, and short ways to put nodes and pods there. */
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { events, nodes, pods, type CoreEvent, type KubeClient, type Node, type Pod } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { startScheduler, type RunningScheduler } from "./scheduler.ts";

export interface TestCluster extends RunningScheduler {
  readonly kube: FakeKube;
  addNode(name: string, options?: NodeOptions): void;
  addPod(name: string, spec?: object, metadata?: object): void;
  nodeOf(pod: string): string | undefined;
  pod(name: string): Pod | undefined;
  /** Messages of the events with that reason, oldest first. */
  messages(reason: string): string[];
  settle(): Promise<void>;
}

export interface NodeOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly allocatable?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly images?: readonly { readonly names: readonly string[]; readonly sizeBytes: number }[];
}

export interface TestOptions {
  /** Called before a binding takes place; throw to refuse it. */
  readonly onBind?: (pod: string, node: string) => void;
  readonly random?: () => number;
  /** A deleted pod stays, terminating, until the test drops it. */
  readonly gracefulDeletion?: boolean;
}

export async function testCluster(options: TestOptions = {}): Promise<TestCluster> {
  const kube = fakeKube({
    onWrite: ({ resource, name, body }) => resource === "pods/binding" && options.onBind?.(name, body.target.name),
  });
  const client: KubeClient = { ...kube };
  if (!options.gracefulDeletion) client.delete = (resource, name, o) => kube.delete(resource, name, { ...o, gracePeriodSeconds: 0 });
  const running = await startScheduler({ client, log: silentLogger, random: options.random ?? (() => 0.9) });
  return {
    kube,
    stop: () => running.stop(),
    addNode: (name, node = {}) => void kube.put(nodes, nodeObject(name, node)),
    addPod: (name, spec = {}, metadata = {}) => void kube.put(pods, podObject(name, spec, metadata)),
    nodeOf: (name) => kube.read(pods, name)?.spec?.nodeName,
    pod: (name) => kube.read(pods, name),
    messages: (reason) => kube.all<CoreEvent>(events).filter((e) => e.reason === reason).map((e) => e.message ?? ""),
    async settle() {
      for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

export function nodeObject(name: string, { labels, allocatable, spec, images }: NodeOptions = {}): Node {
  return {
    metadata: { name, labels: { "kubernetes.io/hostname": name, ...labels } },
    spec: { ...spec },
    status: { allocatable: { cpu: "4", memory: "8Gi", pods: "110", ...allocatable }, ...(images && { images }) },
  } as unknown as Node;
}

export function podObject(name: string, spec: object = {}, metadata: object = {}): Pod {
  return {
    metadata: { name, namespace: "default", uid: `uid-of-${name}`, ...metadata },
    spec: { containers: [{ name: "c", image: "busybox" }], schedulerName: "default-scheduler", ...spec },
    status: { phase: "Pending" },
  } as unknown as Pod;
}

/** A spec of one container with these requests. */
export const requesting = (requests: Readonly<Record<string, string>>): { containers: object[] } => ({
  containers: [{ name: "c", image: "busybox", resources: { requests } }],
});
