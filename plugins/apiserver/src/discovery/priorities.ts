/** Upstream's order of the built-in API groups, as the aggregator's APIServices state it. */

/** `groupPriorityMinimum`; a group that is not named comes from a CustomResourceDefinition or a plugin. */
const groupPriorities: Readonly<Record<string, number>> = {
  "apiregistration.k8s.io": 20000, "": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
  "autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
  "rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
  "admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500,
  "node.k8s.io": 16300, "discovery.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100, "resource.k8s.io": 16000,
};
const ADDED_GROUP = 1000;

export const isBuiltinGroup = (group: string): boolean => group in groupPriorities;
export const groupPriority = (group: string): number => groupPriorities[group] ?? ADDED_GROUP;

/** Higher first: GA before beta before alpha, newer before older. */
export function versionPriority(group: string, version: string): number {
  if (!isBuiltinGroup(group)) return 100;
  const [, major = "0", stage = "", minor = "0"] = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version) ?? [];
  const base = stage === "" ? 15 : stage === "beta" ? 9 : 1;
  return base * Number(major) + (stage === "" ? 0 : Number(minor) / 10);
}

/** Kubernetes' order of version names: `v2, v1, v2beta1, v1alpha1, others`. */
export function compareVersions(a: string, b: string): number {
  const rank = (version: string): number[] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (!match) return [0, 0, 0];
    return [match[2] === undefined ? 3 : match[2] === "beta" ? 2 : 1, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [x, y] = [rank(a), rank(b)];
  const at = x.findIndex((value, index) => value !== y[index]);
  if (at >= 0) return y[at]! - x[at]!;
  return a < b ? -1 : a > b ? 1 : 0;
}
