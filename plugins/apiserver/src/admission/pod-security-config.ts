/** `PodSecurityConfiguration`: the standards of namespaces without labels, and who is exempt. */
import type { Level } from "./pod-security-checks.ts";

/** A standard: its level as of a version of Kubernetes, `latest` or `v1.<minor>`. */
export interface Standard {
  readonly level: Level;
  readonly version: string;
}

export const modes = ["enforce", "audit", "warn"] as const;
export type Mode = (typeof modes)[number];
export type Policy = Readonly<Record<Mode, Standard>>;

export const levels: readonly string[] = ["privileged", "baseline", "restricted"];
export const isLevel = (text: string): text is Level => levels.includes(text);
export const isVersion = (text: string): boolean => text === "latest" || /^v1\.(\d|[1-9]\d+)$/.test(text);

export interface PodSecurityConfig {
  readonly defaults: Policy;
  readonly exemptions: {
    readonly usernames: ReadonlySet<string>;
    readonly runtimeClasses: ReadonlySet<string>;
    readonly namespaces: ReadonlySet<string>;
  };
}

const none: ReadonlySet<string> = new Set();
const privileged = { level: "privileged", version: "latest" } as const;

export const defaultPodSecurity: PodSecurityConfig = {
  defaults: { enforce: privileged, audit: privileged, warn: privileged },
  exemptions: { usernames: none, runtimeClasses: none, namespaces: none },
};

/** Throws an Error that names the field. */
export function readPodSecurity({ defaults = {}, exemptions = {} }: Record<string, any>): PodSecurityConfig {
  const standards = modes.map((mode) => {
    const level: unknown = defaults[mode] ?? privileged.level;
    const version: unknown = defaults[`${mode}-version`] ?? privileged.version;
    if (!isLevel(String(level))) throw new Error(`defaults.${mode}: Invalid value: ${JSON.stringify(level)}: must be one of ${levels.join(", ")}`);
    if (!isVersion(String(version))) throw new Error(`defaults.${mode}-version: Invalid value: ${JSON.stringify(version)}: must be "latest" or "v1.x"`);
    return [mode, { level, version }];
  });
  const setOf = (key: string): ReadonlySet<string> => {
    const list: unknown = exemptions[key] ?? [];
    if (!Array.isArray(list) || list.some((item) => typeof item !== "string" || item === "")) throw new Error(`exemptions.${key}: must be a list of names`);
    return new Set(list as string[]);
  };
  return {
    defaults: Object.fromEntries(standards) as Policy,
    exemptions: { usernames: setOf("usernames"), runtimeClasses: setOf("runtimeClasses"), namespaces: setOf("namespaces") },
  };
}
