/** Writes the node addresses that answer for each LoadBalancer Service into its status. */
import { endpointSlices, eventRecorder, isNotFound, keyOf, nodes, services, workQueue } from "@k3s-p/plugin-api/kube";
import type { EndpointSlice, KubeClient, Node, ObjectReference, Service } from "@k3s-p/plugin-api/kube";
import type { Logger } from "@k3s-p/plugin-api";
import { assign, isOurs, type Assignment } from "./assign.ts";

export interface Controller {
  readonly synced: Promise<unknown>;
  stop(): Promise<void>;
}

const serviceName = "kubernetes.io/service-name";
/** Ports are shared by all Services, so all of them are worked out together. */
const everything = "services";

export function startController(client: KubeClient, log: Logger): Controller {
  const service = client.informer(services);
  const node = client.informer(nodes);
  const slices = client.informer(endpointSlices, {
    indexes: { service: ({ metadata }) => [`${metadata.namespace}/${metadata.labels?.[serviceName]}`] },
  });
  const recorder = eventRecorder(client, { component: "service-controller" });
  const reported = new Map<string, string>();

  const queue = workQueue({
    name: "servicelb",
    workers: 1,
    backoff: [100, 30_000],
    onError: (_key, error) => log.warn({ err: error }, "the status of LoadBalancer Services was not written"),
    reconcile: reconcileAll,
  });

  async function reconcileAll(): Promise<void> {
    const all = service.list();
    const answers = assign(all, node.list(), (s) => slices.byIndex("service", keyOf(s)));
    const writes = all.map((s) => reconcile(s, answers.get(s)));
    const failed = (await Promise.allSettled(writes)).filter((r) => r.status === "rejected");
    if (failed.length) throw new AggregateError(failed.map((r) => r.reason));
  }

  async function reconcile(found: Service, answer: Assignment | undefined): Promise<void> {
    const before = (found.status?.loadBalancer?.ingress ?? []).map((i) => i.ip ?? i.hostname ?? "");
    if (!answer) {
      reported.delete(found.metadata.uid!);
      if (before.length && found.spec?.type !== "LoadBalancer") await write(found, []);
      return;
    }
    const { addresses, reason } = answer;
    const moved = before.join() !== addresses.join();
    if (moved) await write(found, addresses);
    if (reason) warnOnce(found, reason);
    else reported.delete(found.metadata.uid!);
    if (moved && addresses.length) {
      const text = `Updated LoadBalancer with new IPs: [${before.join(" ")}] -> [${addresses.join(" ")}]`;
      recorder.record(referenceTo(found), "Normal", "UpdatedLoadBalancer", text);
    }
  }

  function warnOnce(found: Service, reason: string): void {
    if (reported.get(found.metadata.uid!) === reason) return;
    reported.set(found.metadata.uid!, reason);
    recorder.record(referenceTo(found), "Warning", "UnAvailableLoadBalancer", reason);
  }

  async function write({ metadata }: Service, addresses: readonly string[]): Promise<void> {
    const ingress = addresses.length ? addresses.map((ip) => ({ ip })) : null;
    const patch = { status: { loadBalancer: { ingress } } };
    await client.patch(services, metadata.name!, patch, { namespace: metadata.namespace!, subresource: "status" }).catch((error) => {
      if (!isNotFound(error)) throw error;
    });
  }

  const run = () => queue.add(everything);
  const concerns = (s: Service) => isOurs(s) || Boolean(s.status?.loadBalancer?.ingress?.length);
  const onSlice = ({ metadata }: EndpointSlice) => {
    const owner = service.get(metadata.labels?.[serviceName] ?? "", metadata.namespace);
    if (owner && isOurs(owner) && owner.spec?.externalTrafficPolicy === "Local") run();
  };
  const informers = [service, node, slices];
  const synced = Promise.all(informers.map((informer) => informer.synced)).then(() => {
    service.on({
      added: (s) => concerns(s) && run(),
      updated: (s, previous) => (concerns(s) || concerns(previous)) && run(),
      deleted: (s) => {
        reported.delete(s.metadata.uid!);
        if (s.spec?.type === "LoadBalancer") run();
      },
    });
    node.on({ added: run, updated: (n, previous) => facts(n) !== facts(previous) && run(), deleted: run });
    slices.on({ added: onSlice, updated: onSlice, deleted: onSlice });
  });

  return {
    synced,
    async stop() {
      for (const informer of informers) informer.stop();
      await queue.stop();
    },
  };
}

/** What counts of a node; heartbeats change nothing of it. */
function facts({ metadata, spec, status }: Node): string {
  const ready = status?.conditions?.find((c) => c.type === "Ready")?.status;
  return JSON.stringify([metadata.labels, metadata.deletionTimestamp, spec?.taints, status?.addresses, ready]);
}

function referenceTo({ metadata }: Service): ObjectReference {
  const { name, namespace, uid, resourceVersion } = metadata;
  return { kind: "Service", apiVersion: "v1", name: name!, namespace: namespace!, ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
}
