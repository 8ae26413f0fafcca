/**
 * Remembers why a kind of pod found no node, until something changes that could help: hundreds of equal pods that
 * cannot be placed cost one search instead of hundreds.
 */
import type { Cluster } from "./cluster.ts";
import type { PodInfo } from "./pod-info.ts";

export interface RememberedFailure {
  readonly message: string;
  readonly rejectedBy: ReadonlySet<string>;
}

export interface FailureMemory {
  recall(info: PodInfo): RememberedFailure | undefined;
  remember(info: PodInfo, failure: RememberedFailure): void;
  /** Called on every change except of pods that only take room. */
  clear(): void;
}

export function createFailureMemory(cluster: Cluster): FailureMemory {
  const known = new Map<string, RememberedFailure>();
  let nodes = cluster.nodes();
  return {
    recall(info) {
      if (known.size === 0) return undefined;
      if (nodes !== cluster.nodes()) known.clear();
      const signature = signatureOf(info);
      return signature === undefined ? undefined : known.get(signature);
    },
    remember(info, failure) {
      nodes = cluster.nodes();
      const signature = signatureOf(info);
      if (signature !== undefined) known.set(signature, failure);
    },
    clear: () => known.clear(),
  };
}

/** Equal signatures get equal answers. Pods whose answer depends on other pods or on volumes have none. */
function signatureOf({ pod, claims, affinity, classKey, requests, hostPorts, priority }: PodInfo): string | undefined {
  const { spec, status } = pod;
  if (claims.length || affinity.required.length || spec?.topologySpreadConstraints?.length || status?.nominatedNodeName) return undefined;
  const { cpu, memory, ephemeral, scalars } = requests;
  return JSON.stringify([
    classKey, priority, spec?.preemptionPolicy, spec?.nodeSelector, spec?.affinity?.nodeAffinity, spec?.tolerations,
    [cpu, memory, ephemeral, ...scalars], hostPorts,
  ]);
}
