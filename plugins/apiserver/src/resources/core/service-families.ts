/** Address families of Services: what is inferred from addresses, policy and cluster, and what of it cannot be. */
import { isIP } from "node:net";
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { invalidValue } from "../validate/field.ts";
import { validateAddresses } from "./validate-service.ts";

export type Family = "IPv4" | "IPv6";

/** What the cluster has, the preferred one first. */
export type ClusterFamilies = readonly Family[];

const POLICY = "spec.ipFamilyPolicy";

/** Settles `ipFamilyPolicy` and `ipFamilies`; of what is wrong, validation need not tell again. */
export function settleFamilies(spec: Obj, old: Obj | undefined, cluster: ClusterFamilies): FieldError[] {
  // A cluster that gains or loses a family changes no service that merely prefers both.
  if (old && isUnchangedPreference(spec, old)) return [];
  const isSelectorless = spec.clusterIP === "None" && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= old?.ipFamilyPolicy ?? (isSelectorless ? "RequireDualStack" : "SingleStack");
  const malformed = validateAddresses(spec, new Set(old?.clusterIPs));
  if (malformed.length > 0) return malformed;
  const errors = [...(old ? settleReduction(spec, old) : []), ...checkSingle(spec), ...inferFamilies(spec, cluster)];
  if (errors.length > 0) return errors;
  // Endpoints that somebody else manages may be of any family, whatever the cluster has.
  return isSelectorless ? complete(spec, cluster[0]!, true) : [...checkCluster(spec, cluster), ...complete(spec, cluster[0]!, cluster.length === 2)];
}

function isUnchangedPreference(spec: Obj, old: Obj): boolean {
  const prefers = ({ ipFamilyPolicy }: Obj): boolean => ipFamilyPolicy === "PreferDualStack";
  return prefers(spec) && prefers(old) && ["type", "clusterIP", "clusterIPs", "ipFamilies"].every((field) => same(spec[field], old[field]));
}

/** The second address and family go when the policy says so, and not otherwise. */
function settleReduction(spec: Obj, old: Obj): FieldError[] {
  const counted = [["clusterIPs", "cluster IP"], ["ipFamilies", "IP family"]] as const;
  if (spec.ipFamilyPolicy === "SingleStack") {
    for (const [field] of counted) if (spec[field]?.length > 1 && same(spec[field], old[field])) spec[field] = spec[field].slice(0, 1);
    return [];
  }
  return counted.filter(([field]) => spec[field]?.length > 0 && spec[field].length < (old[field]?.length ?? 0))
    .map(([, what]) => invalidValue(POLICY, spec.ipFamilyPolicy, `must be 'SingleStack' to release the secondary ${what}`));
}

function checkSingle(spec: Obj): FieldError[] {
  if (spec.ipFamilyPolicy !== "SingleStack") return [];
  return ([["clusterIPs", "cluster IPs"], ["ipFamilies", "IP families"]] as const).filter(([field]) => spec[field]?.length === 2)
    .map(([, what]) => invalidValue(POLICY, spec.ipFamilyPolicy, `must be 'RequireDualStack' or 'PreferDualStack' when multiple ${what} are specified`));
}

/** Addresses tell their families where those are not given. */
function inferFamilies(spec: Obj, cluster: ClusterFamilies): FieldError[] {
  if (spec.clusterIP === "None") return [];
  const families: Family[] = [...(spec.ipFamilies ?? [])];
  const errors = ((spec.clusterIPs ?? []) as string[]).flatMap((ip, i) => {
    const family: Family = isIP(ip) === 6 ? "IPv6" : "IPv4";
    if (i < families.length) return [];
    if (!cluster.includes(family)) return [invalidValue(`spec.clusterIPs[${i}]`, spec.clusterIPs, `${family} is not configured on this cluster`)];
    families.push(family);
    return [];
  });
  if (families.length > 0) spec.ipFamilies = families;
  return errors;
}

function checkCluster({ ipFamilyPolicy, ipFamilies = [] }: Obj, cluster: ClusterFamilies): FieldError[] {
  return [
    ...(ipFamilyPolicy === "RequireDualStack" && cluster.length < 2 ? [invalidValue(POLICY, ipFamilyPolicy, "this cluster is not configured for dual-stack services")] : []),
    ...(ipFamilies as Family[]).flatMap((family, i) => (cluster.includes(family) ? [] : [invalidValue(`spec.ipFamilies[${i}]`, family, "not configured on this cluster")])),
  ];
}

function complete(spec: Obj, preferred: Family, hasBoth: boolean): FieldError[] {
  const families: Family[] = spec.ipFamilies?.length ? spec.ipFamilies : [preferred];
  const other = families[0] === "IPv4" ? "IPv6" : "IPv4";
  const isAlone = families.length === 1 && hasBoth && spec.ipFamilyPolicy !== "SingleStack";
  spec.ipFamilies = isAlone ? [...families, other] : families;
  return [];
}
