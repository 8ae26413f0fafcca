/** Services. */
import type { Behaviour } from "../row.ts";
import { serviceColumns } from "./columns.ts";
import { defaultService } from "./service-defaults.ts";

export const service: Behaviour = {
  columns: serviceColumns,
  defaults: defaultService,
  selectableFields: { "spec.clusterIP": (o) => o.spec?.clusterIP ?? "", "spec.type": (o) => o.spec?.type ?? "" },
};
