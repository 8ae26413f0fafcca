/** Table columns of autoscaling (v2 form) and policy. */
import { ageColumn, integer, nameColumn, text } from "../columns.ts";
import type { Column, Obj } from "../types.ts";

export const hpaColumns: readonly Column[] = [
  nameColumn,
  text("Reference", "Workload that is scaled.", (o) => `${o.spec?.scaleTargetRef?.kind}/${o.spec?.scaleTargetRef?.name}`),
  text("Targets", "Current and wanted value of each metric.", (o) => metricsText(o.spec?.metrics ?? [], o.status?.currentMetrics ?? [])),
  text("MinPods", "Lower limit of replicas.", (o) => (o.spec?.minReplicas == null ? "<unset>" : String(o.spec.minReplicas))),
  integer("MaxPods", "Upper limit of replicas.", (o) => o.spec?.maxReplicas ?? 0),
  integer("Replicas", "Replicas at the last look.", (o) => o.status?.currentReplicas ?? 0),
  ageColumn,
];

const SHOWN = 2;

function metricsText(specs: readonly Obj[], statuses: readonly Obj[]): string {
  if (specs.length === 0) return "<none>";
  const texts = specs.map((spec, i) => metricText(spec, statuses[i]));
  const shown = texts.slice(0, SHOWN).join(", ");
  return texts.length > SHOWN ? `${shown} + ${texts.length - SHOWN} more...` : shown;
}

const sources: Readonly<Record<string, string>> = {
  External: "external", Pods: "pods", Object: "object", Resource: "resource", ContainerResource: "containerResource",
};

function metricText(spec: Obj, status: Obj | undefined): string {
  const field = sources[spec.type];
  if (!field) return "<unknown type>";
  const { target = {}, name } = spec[field] ?? {};
  const current = status?.[field]?.current;
  const average = target.averageValue !== undefined && target.averageValue !== null;
  switch (spec.type) {
    case "Pods": return `${current?.averageValue ?? "<unknown>"}/${target.averageValue}`;
    case "External": case "Object":
      return average
        ? `${current?.averageValue ?? "<unknown>"}/${target.averageValue} (avg)`
        : `${current?.value ?? "<unknown>"}/${target.value}`;
    default: {
      if (average) return `${name}: ${current?.averageValue ?? "<unknown>"}/${target.averageValue}`;
      const now = current?.averageUtilization == null ? "<unknown>" : `${current.averageUtilization}%`;
      const wanted = target.averageUtilization == null ? "<auto>" : `${target.averageUtilization}%`;
      return `${name}: ${now}/${wanted}`;
    }
  }
}

const orNA = (value: string | number | undefined): string => (value == null ? "N/A" : String(value));

export const pdbColumns: readonly Column[] = [
  nameColumn,
  text("Min Available", "The minimum number of pods that must be available.", (o) => orNA(o.spec?.minAvailable)),
  text("Max Unavailable", "The maximum number of pods that may be unavailable.", (o) => orNA(o.spec?.maxUnavailable)),
  integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", (o) => o.status?.disruptionsAllowed ?? 0),
  ageColumn,
];
