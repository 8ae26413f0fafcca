/** Validation of Namespaces and Nodes. */
import { items, same } from "../fields.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue } from "../validate/field.ts";
import { cidr, qualifiedName } from "../validate/names.ts";
import { validateResourceList } from "../validate/resources.ts";
import { validateTaints } from "./validate-scheduling.ts";

const finalizersOf = ({ spec }: Obj): string[] => spec?.finalizers ?? [];

export const validateNamespace = (namespace: Obj): FieldError[] =>
  finalizersOf(namespace).flatMap((name) => validateFinalizer("spec.finalizers", name));

/** Finalizers are written by a subresource of their own, whose errors tell which it is. */
export function validateNamespaceUpdate(namespace: Obj, _: Obj, { subresource }: StrategyContext): FieldError[] {
  if (subresource !== "finalize") return validateNamespace(namespace);
  return finalizersOf(namespace).flatMap((name, i) => validateFinalizer(`spec.finalizers[${i}]`, name));
}

function validateFinalizer(field: string, name: string): FieldError[] {
  const isKnown = name === "kubernetes" || name === "orphan" || name === "foregroundDeletion" || name.includes("/");
  return [
    ...invalidAll(field, name, qualifiedName(name)),
    ...(isKnown ? [] : [invalidValue(field, name, "name is neither a standard finalizer name nor is it fully qualified")]),
  ];
}

/** The phase follows the deletion and nothing else. */
export function validateNamespaceStatus({ metadata, status }: Obj): FieldError[] {
  const [phase, when] = metadata?.deletionTimestamp ? ["Terminating", "not empty"] : ["Active", "empty"];
  return status?.phase === phase ? [] : [invalidValue("status.Phase", status?.phase ?? "", `may only be '${phase}' if \`deletionTimestamp\` is ${when}`)];
}

export const validateNode = (node: Obj): FieldError[] => [
  ...validateTaints("metadata.taints", items(node.spec, "taints")),
  ...validateResources(node),
  ...validatePodCidrs(node.spec?.podCIDRs ?? []),
];

const validateResources = ({ status }: Obj): FieldError[] =>
  ["capacity", "allocatable"].flatMap((list) => validateResourceList((name) => `status.${list}.${name}`, status?.[list]));

function validatePodCidrs(cidrs: readonly string[]): FieldError[] {
  const isDual = cidrs.length === 2 && cidrs.filter((text) => text.includes(":")).length === 1;
  return [
    ...cidrs.flatMap((text, i) => invalidAll(`spec.podCIDRs[${i}]`, text, cidr(text))),
    ...(cidrs.length > 1 && !isDual ? [invalidValue("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")] : []),
    ...cidrs.flatMap((text, i) => (cidrs.indexOf(text) < i ? [duplicate(`spec.podCIDRs[${i}]`, text)] : [])),
  ];
}

export const validateNodeUpdate = (node: Obj, old: Obj): FieldError[] => [...validateNode(node), ...validateNodeStatus(node), ...validateFrozen(node, old)];

/** What a node tells of itself, whoever writes it. */
export function validateNodeStatus(node: Obj): FieldError[] {
  const addresses = items(node.status, "addresses");
  const isTwice = (i: number): boolean => addresses.slice(0, i).some((other) => same(other, addresses[i]));
  return [
    ...validateResources(node),
    ...addresses.flatMap(({ type, address }, i) => (isTwice(i) ? [duplicate(`status.addresses[${i}]`, { Type: type, Address: address })] : [])),
  ];
}

function validateFrozen({ spec = {} }: Obj, { spec: old = {} }: Obj): FieldError[] {
  const frozen = (field: string, shown: string): FieldError => forbidden(`spec.${field}`, `node updates may not change ${shown} except from "" to valid`);
  return [
    ...(old.podCIDRs?.length > 0 && !same(spec.podCIDRs, old.podCIDRs) ? [frozen("podCIDRs", "podCIDR")] : []),
    ...(old.providerID && spec.providerID !== old.providerID ? [frozen("providerID", "providerID")] : []),
    ...((spec.externalID ?? "") === (old.externalID ?? "") ? [] : [forbidden("spec.externalID", "may not be updated")]),
  ];
}
