/** The labels that hold a pod's group together: the selectors of its Services and of its controller. */
import { controllerOf, matchesMap, replicaSets, replicationControllers, selectorRequirements, services, statefulSets } from "@k3s-p/plugin-api/kube";
import type { Informer, KubeClient, KubeObject, LabelSelector, Requirement } from "@k3s-p/plugin-api/kube";
import type { PodInfo } from "./pod-info.ts";
import type { DefaultSelector } from "./plugins/pod-topology-spread.ts";

export interface GroupSources {
  readonly selector: DefaultSelector;
  readonly synced: Promise<unknown>;
  stop(): void;
}

type Owner = KubeObject & { readonly spec?: { readonly selector?: LabelSelector | Readonly<Record<string, string>> } };

/** Results are remembered per group of pods until a Service or controller changes. */
export function groupSources(client: KubeClient): GroupSources {
  const known = new Map<string, readonly Requirement[] | undefined>();
  const service = client.informer(services);
  const owners: Readonly<Record<string, Informer<any>>> = {
    ReplicaSet: client.informer(replicaSets),
    StatefulSet: client.informer(statefulSets),
    ReplicationController: client.informer(replicationControllers),
  };
  const forget = () => known.clear();
  const subscriptions = [
    service.on({ added: forget, updated: forget, deleted: forget }),
    ...Object.values(owners).map((informer) => informer.on({ added: forget, deleted: forget })),
  ];
  const all = [service, ...Object.values(owners)];

  function find(info: PodInfo): readonly Requirement[] | undefined {
    const found: Requirement[] = [];
    for (const { spec } of service.list(info.namespace)) {
      const map = spec?.selector;
      if (map && Object.keys(map).length && matchesMap(map, info.labels)) found.push(...fromMap(map));
    }
    const owner = controllerOf(info.pod);
    const object = owner && (owners[owner.kind]?.get(owner.name, info.namespace) as Owner | undefined);
    if (owner && object?.spec?.selector) found.push(...ownerSelector(owner.kind, object.spec.selector));
    return found.length ? found : undefined;
  }

  return {
    synced: Promise.all(all.map((informer) => informer.synced)),
    selector(info) {
      const key = `${info.classKey}|${controllerOf(info.pod)?.uid ?? ""}`;
      if (!known.has(key)) known.set(key, find(info));
      return known.get(key);
    },
    stop() {
      for (const unsubscribe of subscriptions) unsubscribe();
      for (const informer of all) informer.stop();
    },
  };
}

const fromMap = (map: Readonly<Record<string, string>>): Requirement[] =>
  Object.entries(map).map(([key, value]) => ({ key, operator: "In", values: [value] }));

const ownerSelector = (kind: string, selector: object): readonly Requirement[] =>
  kind === "ReplicationController"
    ? fromMap(selector as Record<string, string>)
    : (selectorRequirements(selector as LabelSelector) ?? []);
