/** The resourcequota controller: keeps `status.used` in line with what a namespace holds. */
import {
  configMaps,
  cronJobs,
  daemonSets,
  deployments,
  groupResource,
  ingresses,
  jobs,
  keyOf,
  persistentVolumeClaims,
  pods,
  replicaSets,
  replicationControllers,
  resourceQuotas,
  secrets,
  serviceAccounts,
  services,
  splitKey,
  statefulSets,
  type Informer,
  type KubeObject,
  type ObjectMeta,
  type Pod,
  type Resource,
  type ResourceQuota,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { discover } from "../lib/discovery.ts";
import { semanticEqual } from "../lib/values.ts";
import {
  claimUsage, countsForQuota, formatAmount, inScopes, isScoped, podUsage, serviceUsage, type Usage,
} from "./usage.ts";

type Obj = KubeObject & { metadata: ObjectMeta };
const ONE = 1_000_000_000n;
const RECHECK_MS = 10_000;

/** Resources that old quota names count without the `count/` prefix. */
const legacyNames: ReadonlySet<string> = new Set(["configmaps", "secrets", "replicationcontrollers", "resourcequotas"]);

interface Evaluator {
  readonly informer: Informer<Obj>;
  readonly usage: (object: any) => Usage;
}

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "resourcequota");
  const evaluators = new Map<string, Evaluator>();
  const quotas = c.follow(resourceQuotas, (quota, { previous, deleted }) => {
    if (deleted) return undefined;
    if (!previous || !semanticEqual(previous.spec, quota.spec)) return keyOf(quota);
    // Admission counts an object just before it is stored. Should that come to nothing, this look corrects the count.
    if (!semanticEqual(previous.status, quota.status)) c.enqueueAfter(keyOf(quota), RECHECK_MS);
    return undefined;
  });

  evaluate(
    pods,
    (pod) => podUsage(pod, now()),
    (before, after) =>
      countsForQuota(before, now()) === countsForQuota(after, now()) && semanticEqual(before.spec, after.spec),
  );
  evaluate(services, serviceUsage);
  evaluate(persistentVolumeClaims, claimUsage);
  for (const resource of [
    configMaps,
    secrets,
    replicationControllers,
    resourceQuotas,
    serviceAccounts,
    deployments,
    replicaSets,
    statefulSets,
    daemonSets,
    jobs,
    cronJobs,
    ingresses,
  ] as readonly Resource<any>[]) {
    evaluate(resource, counter(resource), () => true);
  }
  c.run(reconcile);

  /** Every other resource is just counted. */
  function counter(resource: Resource<any>): () => Usage {
    const names = [
      `count/${groupResource(resource.group, resource.plural)}`,
      ...(resource.group === "" && legacyNames.has(resource.plural) ? [resource.plural] : []),
    ];
    const usage: Usage = new Map(names.map((name) => [name, ONE]));
    return () => usage;
  }

  function evaluate<T extends Obj>(
    resource: Resource<T>, usage: (object: T) => Usage, same?: (before: T, after: T) => boolean,
  ): void {
    const informer = c.follow(resource, (object, { previous }) => {
      if (previous && (same?.(previous, object) ?? semanticEqual((previous as any).spec, (object as any).spec)))
        return undefined;
      return quotas.list(object.metadata.namespace).map(keyOf);
    });
    evaluators.set(groupResource(resource.group, resource.plural), {
      informer: informer as unknown as Informer<Obj>,
      usage,
    });
  }

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const quota = quotas.get(name, namespace);
    if (!quota || quota.metadata.deletionTimestamp) return;
    await learn(quota);
    const hard = quota.spec?.hard ?? {};
    const total = sum(quota, namespace);
    const used = Object.fromEntries(
      Object.keys(hard).map((resource) => [resource, formatAmount(resource, total.get(resource) ?? 0n)]),
    );
    if (!semanticEqual({ hard, used }, quota.status)) {
      await client.update(resourceQuotas, { ...quota, status: { hard, used } }, { subresource: "status" });
    }
    return nextExpiry(namespace);
  }

  /** A quota may count resources that are not in the table above (custom ones, for example). */
  async function learn(quota: ResourceQuota): Promise<void> {
    const wanted = Object.keys(quota.spec?.hard ?? {})
      .filter((name) => name.startsWith("count/"))
      .map((name) => name.slice(6));
    const unknown = wanted.filter((name) => !evaluators.has(name));
    if (unknown.length === 0) return;
    const { resources } = await discover(client);
    for (const { resource } of resources.filter(
      ({ resource: r }) => r.namespaced && unknown.includes(groupResource(r.group, r.plural)),
    )) {
      evaluate(resource as Resource<any>, counter(resource), () => true);
    }
  }

  function sum(quota: ResourceQuota, namespace: string): Usage {
    const total: Usage = new Map();
    const names = new Set(Object.keys(quota.spec?.hard ?? {}));
    for (const [id, { informer, usage }] of evaluators) {
      if (isScoped(quota) && id !== "pods") continue;
      for (const object of informer.list(namespace)) {
        if (id === "pods" && !inScopes(quota, object as Pod)) continue;
        for (const [name, amount] of usage(object)) if (names.has(name)) total.set(name, (total.get(name) ?? 0n) + amount);
      }
    }
    return total;
  }

  /** Pods stop counting when their grace period is over, also when nobody says so. */
  function nextExpiry(namespace: string): number | undefined {
    const ends = (evaluators.get("pods")!.informer.list(namespace) as Pod[])
      .filter((pod) => pod.metadata.deletionTimestamp && countsForQuota(pod, now()))
      .map(
        (pod) =>
          Date.parse(pod.metadata.deletionTimestamp!) +
          (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000 -
          now().getTime() +
          1000,
      );
    return ends.length ? Math.min(...ends) : undefined;
  }
}
