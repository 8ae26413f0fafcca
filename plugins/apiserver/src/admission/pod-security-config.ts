/** `PodSecurityConfiguration`: the standards of namespaces without labels, and who is exempt. */
import type { Policy } from "./pod-security.ts";
import { isLevel, isVersion, levels, modes } from "./pod-security.ts";

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
