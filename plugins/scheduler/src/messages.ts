/** The texts of FailedScheduling, in upstream's form. */
import type { Diagnosis } from "./framework.ts";

/** `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.` */
export function nodesMessage(total: number, reasons: ReadonlyMap<string, number>): string {
  const texts = [...reasons].map(([reason, count]) => `${count} ${reason}`).sort();
  return `0/${total} nodes are available: ${texts.join(", ")}.`;
}

export function failureMessage(diagnosis: Diagnosis, preemption: string): string {
  if (diagnosis.total === 0) return "no nodes available to schedule pods";
  const after = preemption ? ` ${preemption}` : "";
  if (diagnosis.preFilter) {
    return `0/${diagnosis.total} nodes are available: ${diagnosis.preFilter.rejection.reasons.join(", ")}.${after}`;
  }
  const reasons = new Map<string, number>();
  for (const { rejection } of diagnosis.verdicts.values()) {
    for (const reason of rejection.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return nodesMessage(diagnosis.total, reasons) + after;
}

/** The plugins whose change of mind would help. */
export function rejectors(diagnosis: Diagnosis): ReadonlySet<string> {
  const names = new Set<string>();
  if (diagnosis.preFilter) names.add(diagnosis.preFilter.plugin);
  for (const { plugin } of diagnosis.verdicts.values()) names.add(plugin);
  if (!names.size) names.add("NodeName");
  return names;
}
