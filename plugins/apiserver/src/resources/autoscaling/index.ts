/** The rows of autoscaling (v2 is stored) and policy. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const v1 = rowsOf("autoscaling", "v1");
const v2 = rowsOf("autoscaling", "v2");
const policy = rowsOf("policy", "v1");
const hpa = { shortNames: ["hpa"], categories: ["all"], subresources: ["status"] } as const;
const plural = "horizontalpodautoscalers";

export const autoscalingResources: readonly ResourceDef[] = [
  v2("HorizontalPodAutoscaler", plural, hpa),
  v1("HorizontalPodAutoscaler", plural, { ...hpa, storedAs: { group: "autoscaling", version: "v2", plural } }),
  policy("PodDisruptionBudget", "poddisruptionbudgets", { shortNames: ["pdb"], subresources: ["status"] }),
];
