/** The rows of autoscaling (v2 is stored) and policy. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { hpaV1, hpaV2, podDisruptionBudget } from "./kinds.ts";

const v1 = rowsOf("autoscaling", "v1");
const v2 = rowsOf("autoscaling", "v2");
const policy = rowsOf("policy", "v1");
const hpa = { shortNames: ["hpa"], categories: ["all"], subresources: ["status"] } as const;
const plural = "horizontalpodautoscalers";

export const autoscalingResources: readonly ResourceDef[] = [
  v2("HorizontalPodAutoscaler", plural, hpa, hpaV2),
  v1("HorizontalPodAutoscaler", plural, { ...hpa, storedAs: { group: "autoscaling", version: "v2", plural } }, hpaV1),
  policy("PodDisruptionBudget", "poddisruptionbudgets", { shortNames: ["pdb"], subresources: ["status"], needsVersion: true }, podDisruptionBudget),
];
