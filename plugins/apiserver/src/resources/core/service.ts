/** Services. */
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { serviceColumns } from "./columns.ts";
import { defaultService } from "./service-defaults.ts";
import { prepareServiceCreate, prepareServiceUpdate } from "./service-strategy.ts";
import { validateLoadBalancerStatus } from "./validate-endpoints.ts";
import { validateService, validateServiceUpdate } from "./validate-service.ts";
import { warnOfAddress, warnOfRange } from "./warn-address.ts";

export const service: Behaviour = {
  columns: serviceColumns,
  defaults: defaultService,
  prepareCreate: prepareServiceCreate,
  prepareUpdate: prepareServiceUpdate,
  validate: validateService,
  validateUpdate: validateServiceUpdate,
  validateStatusUpdate: validateLoadBalancerStatus,
  warnings: (object) => [...warnOfFields(object), ...warnOfAddresses(object.spec)],
  selectableFields: { "spec.clusterIP": (o) => o.spec?.clusterIP ?? "", "spec.type": (o) => o.spec?.type ?? "" },
};

const HINTS = "service.kubernetes.io/topology-aware-hints";

function warnOfAddresses({ clusterIPs, externalIPs, loadBalancerIP, loadBalancerSourceRanges }: Obj): string[] {
  const each = (name: string, texts: readonly string[] | undefined, warn: typeof warnOfAddress): string[] => (texts ?? []).flatMap((text, i) => warn(`spec.${name}[${i}]`, text));
  return [
    ...each("clusterIPs", clusterIPs, warnOfAddress), ...each("externalIPs", externalIPs, warnOfAddress),
    ...(loadBalancerIP ? warnOfAddress("spec.loadBalancerIP", loadBalancerIP) : []),
    ...each("loadBalancerSourceRanges", loadBalancerSourceRanges, warnOfRange),
  ];
}

/** Fields that go, and those that have no effect together. */
function warnOfFields({ metadata, spec }: Obj): string[] {
  const isExternal = spec.type === "ExternalName";
  const isHeadless = spec.type === "ClusterIP" && spec.clusterIP === "None";
  const warnings: readonly (readonly [boolean, string])[] = [
    [metadata?.annotations?.[HINTS] !== undefined, `annotation ${HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead`],
    [isHeadless && Boolean(spec.loadBalancerIP), "spec.loadBalancerIP is ignored for headless services"],
    [isHeadless && spec.externalIPs?.length > 0, "spec.externalIPs is ignored for headless services"],
    [isHeadless && spec.sessionAffinity !== "None", "spec.SessionAffinity is ignored for headless services"],
    [!isHeadless && !isExternal && spec.externalIPs?.length > 0, "spec.externalIPs is deprecated and may no longer be implemented in some clusters"],
    [isExternal && spec.externalIPs?.length > 0, 'spec.externalIPs is ignored when spec.type is "ExternalName"'],
    [!isExternal && Boolean(spec.externalName), 'spec.externalName is ignored when spec.type is not "ExternalName"'],
    [spec.trafficDistribution === "PreferClose", 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'],
  ];
  return warnings.filter(([isMeant]) => isMeant).map(([, text]) => text);
}
