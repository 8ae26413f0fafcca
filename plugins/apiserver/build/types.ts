/** Where upstream's types live, and what the models do not say of their fields. */

/** Models of these names are shared, and belong to another package than the kinds that reach them would suggest. */
const packageOfShared: Readonly<Record<string, string>> = {
  V1ObjectMeta: "meta/v1", V1ListMeta: "meta/v1", V1ManagedFieldsEntry: "meta/v1", V1OwnerReference: "meta/v1",
  V1LabelSelector: "meta/v1", V1LabelSelectorRequirement: "meta/v1", V1FieldSelectorRequirement: "meta/v1",
  V1Condition: "meta/v1", V1DeleteOptions: "meta/v1", V1Preconditions: "meta/v1", V1Status: "meta/v1",
  V1APIGroup: "meta/v1", V1APIGroupList: "meta/v1", V1APIResource: "meta/v1", V1APIResourceList: "meta/v1", V1APIVersions: "meta/v1",
  V1GroupVersionForDiscovery: "meta/v1", V1ServerAddressByClientCIDR: "meta/v1", V1WatchEvent: "meta/v1", V1StatusDetails: "meta/v1", V1StatusCause: "meta/v1", V1ShardInfo: "meta/v1", V1TopologySelectorTerm: "core/v1",
  V1TopologySelectorLabelRequirement: "core/v1",
};

/** The package of a model, from the packages whose kinds reach it. */
export function packageOfModel(className: string, reachedBy: ReadonlySet<string>): string {
  const shared = packageOfShared[className];
  if (shared) return shared;
  const named = /^([A-Z][a-z]+)(V\d+[a-z0-9]*?)(?=[A-Z])/.exec(className);
  if (named && !/^V\d/.test(className)) return `${named[1]!.toLowerCase()}/${named[2]!.toLowerCase()}`;
  return reachedBy.size === 1 ? [...reachedBy][0]! : "core/v1";
}

/** `V1PodSpec` -> `PodSpec`, `CoreV1Event` -> `Event`. */
export const typeNameOf = (className: string): string => className.replace(/^(?:[A-Z][a-z]+)?V\d+(?:(?:alpha|beta)\d+)?(?=[A-Z])/, "");

/** Candidates for the model of a type: some carry their package's name. */
export function classNamesOf(pkg: string, type: string): string[] {
  const [name = "", version = ""] = pkg.split("/");
  const upper = (text: string) => text[0]!.toUpperCase() + text.slice(1);
  return [upper(name) + upper(version) + type, upper(version) + type];
}

/** Fields that are quantities; the models know them as text. */
const quantityFields = new Set([
  "HPAScalingRules.tolerance", "MetricTarget.averageValue", "MetricTarget.value", "MetricValueStatus.averageValue",
  "MetricValueStatus.value", "ContainerStatus.allocatedResources", "EmptyDirVolumeSource.sizeLimit",
  "LimitRangeItem.default", "LimitRangeItem.defaultRequest", "LimitRangeItem.max", "LimitRangeItem.maxLimitRequestRatio",
  "LimitRangeItem.min", "NodeAllocatableResourceClaimStatus.resources", "NodeStatus.allocatable", "NodeStatus.capacity",
  "PersistentVolumeClaimStatus.allocatedResources", "PersistentVolumeClaimStatus.capacity", "PersistentVolumeSpec.capacity",
  "PodSpec.overhead", "PodStatus.allocatedResources", "ResourceFieldSelector.divisor", "ResourceQuotaSpec.hard",
  "ResourceQuotaStatus.hard", "ResourceQuotaStatus.used", "ResourceRequirements.limits", "ResourceRequirements.requests",
  "VolumeResourceRequirements.limits", "VolumeResourceRequirements.requests", "Overhead.podFixed",
  "CapacityRequestPolicy.default", "CapacityRequestPolicy.validValues", "CapacityRequestPolicyRange.max",
  "CapacityRequestPolicyRange.min", "CapacityRequestPolicyRange.step", "CapacityRequirements.requests", "Counter.value",
  "DeviceCapacity.value", "DeviceRequestAllocationResult.consumedCapacity",
  "NodeAllocatableResourceMapping.allocationMultiplier", "CSIStorageCapacity.capacity", "CSIStorageCapacity.maximumVolumeSize",
]);

export const isQuantity = (type: string, field: string): boolean => quantityFields.has(`${type}.${field}`);

/** What upstream states of single fields beside the merge semantics that have an effect. */
export const fieldMarks: Readonly<Record<string, object>> = {
  "apiregistration/v1.APIServiceSpec.caBundle": { "x-kubernetes-list-type": "atomic" },
  "core/v1.PersistentVolumeClaimStatus.allocatedResourceStatuses": { "x-kubernetes-map-type": "granular" },
  "core/v1.PersistentVolumeSpec.claimRef": { "x-kubernetes-map-type": "granular" },
};

const union = (discriminator: string | undefined, ...fields: readonly string[]): object => ({
  ...(discriminator && { discriminator }),
  "fields-to-discriminateBy": Object.fromEntries(fields.map((field) => [field, field[0]!.toUpperCase() + field.slice(1)])),
});

/** Structs of which one member is set, by the field that says which. */
export const unions: Readonly<Record<string, object>> = {
  "core/v1.AppArmorProfile": union("type", "localhostProfile"),
  "core/v1.PodSchedulingGroup": union(undefined, "podGroupName"),
  "core/v1.SeccompProfile": union("type", "localhostProfile"),
  "flowcontrol/v1.LimitResponse": union("type", "queuing"),
  "flowcontrol/v1.PriorityLevelConfigurationSpec": union("type", "exempt", "limited"),
  "flowcontrol/v1.Subject": union("kind", "group", "serviceAccount", "user"),
};

/** What stands behind the models' `any`. */
const anyTypes: Readonly<Record<string, string>> = {
  "ManagedFieldsEntry.fieldsV1": "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
  "CustomResourceSubresources.status": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceStatus",
  "JSONSchemaProps.additionalItems": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
  "JSONSchemaProps.additionalProperties": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
  "JSONSchemaProps.default": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
  "JSONSchemaProps.enum": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
  "JSONSchemaProps.example": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
  "JSONSchemaProps.dependencies": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
  "JSONSchemaProps.items": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
};
export const RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension";
export const anyDefinition = (type: string, field: string): string => anyTypes[`${type}.${field}`] ?? RAW_EXTENSION;

export const INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
export const QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity";
export const TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
export const MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/** Definitions that are no structs, in our own words. */
export const leafDefinitions: Readonly<Record<string, object>> = {
  [INT_OR_STRING]: { type: "string", format: "int-or-string", description: "A number or a string, as a port may be given by number or by name." },
  [QUANTITY]: { type: "string", description: "An amount with an optional suffix: m, k, M, G, T, P, E, or Ki, Mi, Gi, Ti, Pi, Ei, or a decimal exponent." },
  [TIME]: { type: "string", format: "date-time", description: "A moment as RFC 3339 writes it, in whole seconds." },
  [MICRO_TIME]: { type: "string", format: "date-time", description: "A moment as RFC 3339 writes it, in microseconds." },
  [RAW_EXTENSION]: { type: "object", description: "Any object; its kind decides on its fields." },
  "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": { type: "object", description: "A set of fields, as a trie whose keys are f:<name>, v:<value>, i:<index>, k:<keys> and '.'." },
  "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": { type: "object", description: "The body of a PATCH request." },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": { description: "Any JSON value." },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": { description: "A schema or a boolean." },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": { description: "A schema or a list of schemas." },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": { description: "A schema or a list of strings." },
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceStatus": { type: "object", description: "Makes /status a subresource of its own." },
};
