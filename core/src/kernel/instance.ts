/** What the kernel knows of one plugin over all its runs. */
import type { HealthResult, K3spError } from "@k3s-p/plugin-api";
import type { Manifest } from "./manifest.ts";
import type { CrashPolicy } from "./policy.ts";
import type { Run } from "./run.ts";

export type PluginState =
  | "resolved" | "loading" | "starting" | "ready" | "degraded" | "skipped" | "failed" | "quarantined" | "stopping" | "stopped";

export interface Instance {
  readonly manifest: Manifest;
  readonly policy: CrashPolicy;
  config: object;
  state: PluginState;
  since: number;
  restarts: number;
  error?: K3spError | undefined;
  health: readonly HealthResult[];
  run?: Run;
  /** Memo of the first start. */
  ready?: Promise<void>;
  /** The slot that it waits for. */
  blockedBy?: string | undefined;
  cancelRestart?: () => void;
}

export const isUp = ({ state }: Instance): boolean => state === "ready" || state === "degraded";

export interface PluginStatus {
  readonly id: string;
  readonly version: string;
  readonly slots: readonly string[];
  readonly mode: Manifest["isolation"];
  readonly criticality: Manifest["criticality"];
  readonly state: PluginState;
  /** Milliseconds since the epoch at which the state was entered. */
  readonly since: number;
  readonly restarts: number;
  readonly error?: string;
  /** The last results, newest last. */
  readonly health: readonly HealthResult[];
  readonly pid?: number;
}

export function statusOf({ manifest, state, since, restarts, error, health, run }: Instance): PluginStatus {
  return {
    id: manifest.id, version: manifest.version, slots: Object.keys(manifest.provides), mode: manifest.isolation,
    criticality: manifest.criticality, state, since, restarts, health,
    ...(error && { error: error.message }), ...(run?.host.pid !== undefined && { pid: run.host.pid }),
  };
}

