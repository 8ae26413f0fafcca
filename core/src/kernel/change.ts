/** What must happen to go from one plan to another; data only. */
import { isDeepStrictEqual } from "node:util";
import type { Manifest } from "./manifest.ts";
import type { Plan } from "./resolve.ts";

export interface Change {
  /** `replaced` = the same name with other code; `reconfigured` may end in a restart of that plugin alone. */
  readonly kind: "stopped" | "started" | "replaced" | "reconfigured";
  readonly plugin: string;
  readonly manifest: Manifest;
}

type Configs = ReadonlyMap<string, object>;

export function diffPlans(from: Plan, to: Plan, fromConfigs: Configs, toConfigs: Configs): readonly Change[] {
  const before = new Map(from.plugins.map((m) => [m.id, m]));
  const after = new Map(to.plugins.map((m) => [m.id, m]));
  const changes: Change[] = [];
  for (const m of from.plugins) if (!after.has(m.id)) changes.push({ kind: "stopped", plugin: m.id, manifest: m });
  for (const m of to.plugins) {
    const old = before.get(m.id);
    if (!old) changes.push({ kind: "started", plugin: m.id, manifest: m });
    else if (!sameCode(old, m)) changes.push({ kind: "replaced", plugin: m.id, manifest: m });
    else if (!isDeepStrictEqual(fromConfigs.get(m.id), toConfigs.get(m.id))) changes.push({ kind: "reconfigured", plugin: m.id, manifest: m });
  }
  return changes;
}

/** Everything that the manifest says, but not where it was named. */
const sameCode = ({ source: _, ...a }: Manifest, { source: __, ...b }: Manifest): boolean => isDeepStrictEqual(a, b);
