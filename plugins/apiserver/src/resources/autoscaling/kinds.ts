/** HorizontalPodAutoscalers in both versions, and PodDisruptionBudgets. */
import type { Behaviour } from "../row.ts";
import { ensure } from "../fields.ts";
import type { Obj } from "../types.ts";
import { always, keepStatus, withGeneration, withStatus } from "../strategy.ts";
import { hpaColumns, pdbColumns } from "./columns.ts";
import { hpaFromV2, hpaToV2, keepStatusAnnotations } from "./conversion.ts";
import { defaultHpa, defaultHpaV1 } from "./defaults.ts";
import { validateHpa, validateHpaStatus, validatePdb, validatePdbStatus } from "./validate.ts";

const hpaRules = {
  validate: (hpa: Obj) => validateHpa(hpaToV2(hpa)),
  validateUpdate: (hpa: Obj, old: Obj) => validateHpa(hpaToV2(hpa), hpaToV2(old)),
  validateStatusUpdate: validateHpaStatus,
};

export const hpaV2: Behaviour = { ...withStatus({ desiredReplicas: 0 }), columns: hpaColumns, defaults: defaultHpa, ...hpaRules };

export const hpaV1: Behaviour = {
  ...withStatus({ currentReplicas: 0, desiredReplicas: 0 }),
  prepareUpdate: (object, old) => {
    keepStatus(object, old);
    keepStatusAnnotations(object, old);
  },
  columns: hpaColumns.map((column) => ({ ...column, value: (o, now) => column.value(hpaToV2(o), now) })),
  defaults: defaultHpaV1,
  ...hpaRules,
  toStored: (object) => {
    const hpa = hpaToV2(object);
    defaultHpa(hpa);
    return hpa;
  },
  fromStored: hpaFromV2,
};

export const podDisruptionBudget: Behaviour = {
  ...withGeneration({ currentHealthy: 0, desiredHealthy: 0, disruptionsAllowed: 0, expectedPods: 0 }),
  columns: pdbColumns,
  ...always(validatePdb),
  validateStatusUpdate: validatePdbStatus,
  defaults: (object) => void ensure(object, "spec"),
};
