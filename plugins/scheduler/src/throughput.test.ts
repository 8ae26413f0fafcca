import { expect, it } from "vitest";
import { nodes, pods, type Informer, type InformerHandlers, type KubeClient, type KubeObject, type Pod, type Resource } from "@k3s-p/plugin-api/kube";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { startScheduler } from "./scheduler.ts";
import { nodeObject, podObject, requesting } from "./test-cluster.ts";

/** A client that only feeds informers and takes bindings, so that the scheduler itself is what is measured. */
function bareClient(initial: ReadonlyMap<string, readonly KubeObject[]>) {
  const handlers = new Map<string, InformerHandlers<any>[]>();
  const waiting = new Map<string, Pod>();
  let bound = 0;
  const informer = (resource: Resource): Informer<any> => ({
    synced: Promise.resolve(),
    get: () => undefined,
    list: () => [],
    byIndex: () => [],
    on(h) {
      handlers.set(resource.plural, [...(handlers.get(resource.plural) ?? []), h]);
      for (const object of initial.get(resource.plural) ?? []) h.added?.(object);
      return () => undefined;
    },
    stop() {},
  });
  const emit = (pod: Pod, previous?: Pod) => {
    for (const h of handlers.get("pods") ?? []) {
      if (previous) h.updated?.(pod, previous);
      else h.added?.(pod);
    }
  };
  const client = {
    informer,
    async create(_resource: Resource, object: any, options: any = {}) {
      if (options.subresource !== "binding") return object;
      const pod = waiting.get(options.name)!;
      emit({ ...pod, spec: { ...pod.spec!, nodeName: object.target.name } }, pod);
      bound++;
      return object;
    },
    patch: async () => ({}),
  } as unknown as KubeClient;
  return {
    client,
    add: (pod: Pod) => (waiting.set(pod.metadata.name!, pod), emit(pod)),
    bound: () => bound,
  };
}

const spreading = {
  topologySpreadConstraints: [
    { maxSkew: 5, topologyKey: "topology.kubernetes.io/zone", whenUnsatisfiable: "DoNotSchedule", labelSelector: { matchLabels: { app: "web" } } },
  ],
};
const apart = {
  affinity: {
    podAntiAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 10, podAffinityTerm: { labelSelector: { matchLabels: { app: "web" } }, topologyKey: "kubernetes.io/hostname" } },
      ],
    },
  },
};

it.each<[string, object, number]>([
  ["plain pods", {}, 1_000],
  ["pods spread over zones", spreading, 300],
  ["pods that like to be apart", apart, 300],
])("schedules %s on 1,000 nodes", async (name, spec, floor) => {
  const cluster = Array.from({ length: 1_000 }, (_, i) =>
    nodeObject(`node-${i}`, { labels: { "topology.kubernetes.io/zone": `z${i % 3}` } }),
  );
  const { client, add, bound } = bareClient(new Map([[nodes.plural, cluster], [pods.plural, []]]));
  const scheduler = await startScheduler({ client, log: silentLogger });
  const total = 3_000;
  const made = Array.from({ length: total }, (_, i) =>
    podObject(`pod-${i}`, { ...requesting({ cpu: "100m", memory: "64Mi" }), ...spec }, { labels: { app: "web" } }),
  );
  const start = performance.now();
  for (const pod of made) add(pod);
  while (bound() < total) await new Promise((resolve) => setImmediate(resolve));
  const rate = Math.round(total / ((performance.now() - start) / 1000));
  scheduler.stop();
  console.log(`${name}: ${rate} pods/s on 1,000 nodes`);
  expect(rate).toBeGreaterThan(floor);
});
