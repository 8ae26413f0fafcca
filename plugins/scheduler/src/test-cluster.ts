/** For this plugin's tests: a fake API server with bindings, and a scheduler running on it. */
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import { events, nodes, pods, type CoreEvent, type KubeClient, type Node, type Pod } from "@k3s-p/plugin-api/kube";
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

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

export async function testCluster(options: TestOptions = {}): Promise<TestCluster> {
  const kube = fakeKube();
  const client: KubeClient = {
    ...kube,
    async create(resource, object, create = {}) {
      if (create.subresource !== "binding") return kube.create(resource, object, create) as never;
      const pod = kube.read(pods, create.name!, create.namespace)!;
      const node = (object as { target?: { name?: string } }).target!.name!;
      options.onBind?.(create.name!, node);
      return kube.put(pods, { ...pod, spec: { ...pod.spec, nodeName: node } }) as never;
    },
  };
  if (options.gracefulDeletion) {
    client.delete = async (resource, name, { namespace } = {}) => {
      const object = kube.read(resource, name, namespace)!;
      return kube.put(resource, { ...object, metadata: { ...object.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" } }) as never;
    };
  }
  const running = await startScheduler({ client, log: silent, random: options.random ?? (() => 0.9) });
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
