/** Services. */
import type { Behaviour } from "../row.ts";
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
  selectableFields: { "spec.clusterIP": (o) => o.spec?.clusterIP ?? "", "spec.type": (o) => o.spec?.type ?? "" },
};
