/** The plugin's options, and the flags of upstream's controller manager that K3s users pass with `--kube-controller-manager-arg`. */
import { k3spError } from "@k3s-p/plugin-api";
import { parseCidr } from "@k3s-p/plugin-api/net";

export interface Config {
  readonly controllers: readonly string[];
  readonly managerArg: readonly string[];
}

/** Settings of single controllers, with upstream's defaults. Durations in milliseconds. */
export interface Tuning {
  readonly nodeCidrMask4: number;
  readonly nodeCidrMask6: number;
  readonly nodeMonitorGrace: number;
  readonly nodeStartupGrace: number;
  readonly terminatedPodThreshold: number;
  readonly hpaPeriod: number;
  readonly hpaTolerance: number;
  readonly signingDuration: number;
}

export const defaultTuning: Tuning = {
  nodeCidrMask4: 24, nodeCidrMask6: 64, nodeMonitorGrace: 40_000, nodeStartupGrace: 60_000, terminatedPodThreshold: 12_500,
  hpaPeriod: 15_000, hpaTolerance: 0.1, signingDuration: 365 * 24 * 3600_000,
};

type Kind = "number" | "duration";

/** With `controllers`, what `read` of arguments.json has. */
export const flags: Readonly<Record<string, readonly [keyof Tuning, Kind]>> = {
  "node-cidr-mask-size": ["nodeCidrMask4", "number"],
  "node-cidr-mask-size-ipv4": ["nodeCidrMask4", "number"],
  "node-cidr-mask-size-ipv6": ["nodeCidrMask6", "number"],
  "node-monitor-grace-period": ["nodeMonitorGrace", "duration"],
  "node-startup-grace-period": ["nodeStartupGrace", "duration"],
  "terminated-pod-gc-threshold": ["terminatedPodThreshold", "number"],
  "horizontal-pod-autoscaler-sync-period": ["hpaPeriod", "duration"],
  "horizontal-pod-autoscaler-tolerance": ["hpaTolerance", "number"],
  "cluster-signing-duration": ["signingDuration", "duration"],
};

export interface Options {
  readonly controllers: readonly string[];
  readonly tuning: Tuning;
}

/** Throws `K3SP_FLAG_INVALID` for a value that is none. */
export function readOptions(config: Partial<Config>): Options {
  let controllers = config.controllers ?? ["*"];
  const tuning: { -readonly [K in keyof Tuning]: Tuning[K] } = { ...defaultTuning };
  for (const arg of config.managerArg ?? []) {
    const [name, value] = splitArg(arg);
    const known = flags[name];
    if (name === "controllers") controllers = value.split(",").map((part) => part.trim()).filter(Boolean);
    else if (known) tuning[known[0]] = readValue(name, value, known[1]);
  }
  return { controllers, tuning };
}

/** Refuses networks of pods that are smaller than the block of one node, as upstream. */
export function checkNodeMasks(clusterCidr: readonly string[], { nodeCidrMask4, nodeCidrMask6 }: Tuning): void {
  for (const text of clusterCidr) {
    const { family, prefix } = parseCidr(text)!;
    const mask = family === 4 ? nodeCidrMask4 : nodeCidrMask6;
    if (prefix <= mask) continue;
    throw k3spError("K3SP_CONFIG_INVALID", {
      message: `cluster-cidr: ${text} is smaller than the block of a node, /${mask}`,
      fix: `give --cluster-cidr a network of at least /${mask}, or smaller blocks with --kube-controller-manager-arg node-cidr-mask-size-ipv${family}=${prefix}`,
    });
  }
}

function splitArg(arg: string): readonly [name: string, value: string] {
  const text = arg.replace(/^--/, "");
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

function readValue(name: string, value: string, kind: Kind): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  const isDuration = parts.length > 0 && parts.map(([part]) => part).join("") === value;
  if (kind === "duration" && isDuration) return parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit!]!, 0);
  if (kind === "number" && /^\d+(\.\d+)?$/.test(value)) return Number(value);
  throw k3spError("K3SP_FLAG_INVALID", {
    message: `--kube-controller-manager-arg ${name}: "${value}" is not a ${kind}`,
    fix: kind === "duration" ? "write it as 40s or 1m30s" : "write a number",
  });
}
