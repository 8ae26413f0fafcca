/** Which requests a webhook or a policy is for: rules over operations and resources, and selectors over labels. */
import { matchesSelector } from "@k3s-p/plugin-api/kube";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { CacheView, Obj } from "../resources/types.ts";

export interface Rule {
  readonly operations: readonly string[];
  readonly apiGroups: readonly string[];
  readonly apiVersions: readonly string[];
  readonly resources: readonly string[];
  readonly scope?: string;
  /** Policies alone have names; none means all. */
  readonly resourceNames?: readonly string[];
}

/** A resource in one of its versions. */
export interface Place {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
}

type Asked = Pick<AdmissionRequest, "operation" | "subresource" | "namespace" | "name">;

export function ruleMatches(rule: Rule, asked: Asked, place: Place): boolean {
  return inList(rule.operations, asked.operation) && inList(rule.apiGroups, place.group) && inList(rule.apiVersions, place.version) &&
    inScope(rule.scope, asked, place) && namesResource(rule.resources, place.resource, asked.subresource) &&
    (!rule.resourceNames?.length || rule.resourceNames.includes(asked.name));
}

const inList = (list: readonly string[], value: string): boolean => list.includes("*") || list.includes(value);

function inScope(scope: string | undefined, { namespace }: Asked, { group, resource }: Place): boolean {
  if (!scope || scope === "*") return true;
  const isNamespaced = namespace !== "" && !(resource === "namespaces" && group === "");
  return isNamespaced === (scope === "Namespaced");
}

/** `pods`, `pods/log`, `pods/*`, any with `/scale`; `*` alone leaves subresources out. */
function namesResource(list: readonly string[], resource: string, subresource: string): boolean {
  return list.some((text) => {
    const [wanted, sub = ""] = text.split("/");
    return (wanted === "*" || wanted === resource) && (sub === "*" || sub === subresource);
  });
}

export interface Selectors {
  readonly namespaceSelector?: object;
  readonly objectSelector?: object;
}

export function selectorsMatch({ namespaceSelector, objectSelector }: Selectors, request: AdmissionRequest, view: CacheView): boolean {
  return namespaceMatches(namespaceSelector, request, view) && objectMatches(objectSelector, request);
}

const isEmpty = (selector: Obj | undefined): boolean =>
  !selector || (Object.keys(selector["matchLabels"] ?? {}).length === 0 && !selector["matchExpressions"]?.length);

/** What has no namespace is never excluded by one; a Namespace counts as lying in itself. */
function namespaceMatches(selector: object | undefined, request: AdmissionRequest, view: CacheView): boolean {
  if (isEmpty(selector as Obj)) return true;
  const { group, resource, subresource, operation, namespace, name, object } = request;
  const isNamespace = group === "" && resource === "namespaces";
  if (!namespace && !isNamespace) return true;
  if (isNamespace && operation === "CREATE" && !subresource) return matchesSelector(selector, object?.metadata?.labels);
  return matchesSelector(selector, view.get("", "namespaces", namespace || name)?.metadata?.labels);
}

/** The new or the old state has to match; what has no labels at all does not. */
function objectMatches(selector: object | undefined, { object, oldObject }: AdmissionRequest): boolean {
  if (isEmpty(selector as Obj)) return true;
  return [object, oldObject].some((state) => state?.metadata !== undefined && matchesSelector(selector, state.metadata.labels));
}

const own = "admissionregistration.k8s.io";
const ownResources = new Set([
  "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
  "validatingadmissionpolicies", "validatingadmissionpolicybindings",
]);
const reviews = new Set([
  "authentication.k8s.io/selfsubjectreviews", "authentication.k8s.io/tokenreviews", "authorization.k8s.io/localsubjectaccessreviews",
  "authorization.k8s.io/selfsubjectaccessreviews", "authorization.k8s.io/selfsubjectrulesreviews", "authorization.k8s.io/subjectaccessreviews",
]);

/** A mistake in admission's own configuration must stay correctable, and asking for rights must not need admission. */
export const isExempt = ({ group, resource }: Pick<AdmissionRequest, "group" | "resource">): boolean =>
  (group === own && ownResources.has(resource)) || reviews.has(`${group}/${resource}`);
