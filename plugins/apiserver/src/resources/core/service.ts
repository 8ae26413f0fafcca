/** Services. */
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { serviceColumns } from "./columns.ts";
import { defaultService } from "./service-defaults.ts";
import { validateService, validateServiceUpdate } from "./validate-service.ts";
import { prepareServiceCreate, prepareServiceUpdate } from "./service-strategy.ts";

export const service: Behaviour = {
  columns: serviceColumns,
  defaults: defaultService,
  prepareCreate: prepareServiceCreate,
  prepareUpdate: prepareServiceUpdate,
  validate: validateService,
  validateUpdate: validateServiceUpdate,
  warnings: warnOfService,
  selectableFields: { "spec.clusterIP": (o) => o.spec?.clusterIP ?? "", "spec.type": (o) => o.spec?.type ?? "" },
};

/** Fields that have no effect together. */
function warnOfService({ spec }: Obj): string[] {
  const warnings = spec.externalName && spec.type !== "ExternalName" ? ['spec.externalName is ignored when spec.type is not "ExternalName"'] : [];
  if (spec.type === "ExternalName" || spec.clusterIP !== "None") return warnings;
  if (spec.loadBalancerIP) warnings.push("spec.loadBalancerIP is ignored for headless services");
  if (spec.externalIPs?.length) warnings.push("spec.externalIPs is ignored for headless services");
  if (spec.sessionAffinity && spec.sessionAffinity !== "None") warnings.push("spec.SessionAffinity is ignored for headless services");
  return warnings;
}
