/** The one table of controllers: their upstream names, and what makes each of them start. */
import {
  certificateSigningRequests,
  cronJobs,
  daemonSets,
  deployments,
  endpoints,
  horizontalPodAutoscalers,
  jobs,
  persistentVolumeClaims,
  persistentVolumes,
  podDisruptionBudgets,
  pods,
  replicaSets,
  replicationControllers,
  resourceQuotas,
  secrets,
  statefulSets,
  type Resource,
} from "@k3s-p/plugin-api/kube";
import type { ControllerDeps, StartController } from "./controller.ts";

export interface ControllerEntry {
  /** Name in upstream's `--controllers`. */
  readonly name: string;
  /** The code is loaded when the first object of one of these resources is there; without it, at the start. */
  readonly when?: readonly Resource<any>[];
  start(deps: ControllerDeps): Promise<void>;
}

type Module = { readonly start: StartController };

function entry(name: string, load: () => Promise<Module>, when?: readonly Resource<any>[]): ControllerEntry {
  return { name, ...(when && { when }), start: async (deps) => (await load()).start(deps) };
}

export const controllers: readonly ControllerEntry[] = [
  entry("serviceaccount-controller", () => import("./cluster/serviceaccount.ts")),
  entry("serviceaccount-token-controller", () => import("./cluster/serviceaccount-token.ts")),
  entry("root-ca-certificate-publisher-controller", () => import("./cluster/root-ca.ts")),
  entry("namespace-controller", () => import("./cluster/namespace.ts")),
  entry("garbage-collector-controller", () => import("./gc/garbage-collector.ts")),
  entry("pod-garbage-collector-controller", () => import("./cluster/pod-gc.ts"), [pods]),
  entry("deployment-controller", () => import("./workloads/deployment.ts"), [deployments]),
  entry("replicaset-controller", () => import("./workloads/replicaset.ts"), [replicaSets, deployments]),
  entry("replicationcontroller-controller", () => import("./workloads/replicationcontroller.ts"), [replicationControllers]),
  entry("job-controller", () => import("./batch/job.ts"), [jobs]),
  entry("cronjob-controller", () => import("./batch/cronjob.ts"), [cronJobs]),
  entry("daemonset-controller", () => import("./workloads/daemonset.ts"), [daemonSets]),
  entry("statefulset-controller", () => import("./workloads/statefulset.ts"), [statefulSets]),
  entry("ttl-after-finished-controller", () => import("./batch/ttl-after-finished.ts"), [jobs]),
  entry("endpointslice-controller", () => import("./network/endpointslice.ts")),
  entry("endpoints-controller", () => import("./network/endpoints.ts")),
  entry("endpointslice-mirroring-controller", () => import("./network/endpointslice-mirroring.ts"), [endpoints]),
  entry("node-ipam-controller", () => import("./node/ipam.ts")),
  entry("node-lifecycle-controller", () => import("./node/lifecycle.ts")),
  entry("taint-eviction-controller", () => import("./node/taint-eviction.ts")),
  entry("control-plane-label-controller", () => import("./node/control-plane-label.ts")),
  entry("ttl-controller", () => import("./node/ttl.ts")),
  entry("persistentvolume-binder-controller", () => import("./storage/binder.ts"), [
    persistentVolumeClaims,
    persistentVolumes,
  ]),
  entry("ephemeral-volume-controller", () => import("./storage/ephemeral-volume.ts"), [pods]),
  entry(
    "persistentvolumeclaim-protection-controller",
    async () => ({ start: (await import("./storage/protection.ts")).startClaimProtection }),
    [persistentVolumeClaims],
  ),
  entry(
    "persistentvolume-protection-controller",
    async () => ({ start: (await import("./storage/protection.ts")).startVolumeProtection }),
    [persistentVolumes],
  ),
  entry("resourcequota-controller", () => import("./policy/resourcequota.ts"), [resourceQuotas]),
  entry("disruption-controller", () => import("./policy/disruption.ts"), [podDisruptionBudgets]),
  entry("horizontal-pod-autoscaler-controller", () => import("./policy/hpa.ts"), [horizontalPodAutoscalers]),
  entry("token-cleaner-controller", () => import("./cluster/token-cleaner.ts"), [secrets]),
  entry("clusterrole-aggregation-controller", () => import("./cluster/clusterrole-aggregation.ts")),
  entry(
    "certificatesigningrequest-approving-controller",
    async () => ({ start: (await import("./certificates/csr.ts")).startApprover }),
    [certificateSigningRequests],
  ),
  entry(
    "certificatesigningrequest-signing-controller",
    async () => ({ start: (await import("./certificates/csr.ts")).startSigner }),
    [certificateSigningRequests],
  ),
  entry(
    "certificatesigningrequest-cleaner-controller",
    async () => ({ start: (await import("./certificates/csr.ts")).startCleaner }),
    [certificateSigningRequests],
  ),
];

/** The entries that `--controllers` selects: `*` is all, `name` one, `-name` not that one. Unknown names are returned apart. */
export function selectControllers(
  flags: readonly string[], table = controllers,
): { readonly selected: readonly ControllerEntry[]; readonly unknown: readonly string[] } {
  const canonical = (name: string): string => (table.some((e) => e.name === name) ? name : `${name}-controller`);
  const named = flags.filter((flag) => flag !== "*");
  const off = new Set(named.filter((flag) => flag.startsWith("-")).map((flag) => canonical(flag.slice(1))));
  const on = new Set(named.filter((flag) => !flag.startsWith("-")).map(canonical));
  const all = flags.includes("*");
  const unknown = [...off, ...on].filter((name) => !table.some((e) => e.name === name));
  return { selected: table.filter((e) => !off.has(e.name) && (all || on.has(e.name))), unknown };
}
