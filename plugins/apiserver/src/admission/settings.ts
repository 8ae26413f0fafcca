/** `--enable-admission-plugins`, `--disable-admission-plugins` and `--admission-control-config-file`. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { argError, type ServerArgs } from "../server/args.ts";
import { readBackend } from "../webhook/kubeconfig.ts";
import type { ImagePolicy } from "./image-policy.ts";
import type { EventLimit } from "./opt-in.ts";
import { type PodSecurityConfig, readPodSecurity } from "./pod-security-config.ts";

export interface AdmissionSettings {
  /** Names beside those that are on anyway. */
  readonly enabled: ReadonlySet<string>;
  readonly disabled: ReadonlySet<string>;
  readonly podSecurity?: PodSecurityConfig;
  readonly eventLimits?: readonly EventLimit[];
  readonly imagePolicy?: ImagePolicy;
}

/** `known` are the names of all plugins. */
export async function admissionSettings(args: ServerArgs, known: readonly string[]): Promise<AdmissionSettings> {
  const enabled = namesIn(args, "enable-admission-plugins", known);
  const disabled = namesIn(args, "disable-admission-plugins", known);
  const both = [...enabled].filter((name) => disabled.has(name));
  if (both.length > 0) {
    throw argError("enable-admission-plugins", `${both.join(", ")} in enable-admission-plugins and disable-admission-plugins overlapped`, "name each plugin in one of them");
  }
  const file = args.get("admission-control-config-file");
  const settings: AdmissionSettings = { enabled, disabled, ...(file && (await readConfiguration(file))) };
  for (const [name, part, what] of needed) {
    if (enabled.has(name) && !settings[part]) throw argError("enable-admission-plugins", `${name} has no configuration`, `give it one in --admission-control-config-file: ${what}`);
  }
  return settings;
}

const needed = [
  ["EventRateLimit", "eventLimits", "kind Configuration of eventratelimit.admission.k8s.io/v1alpha1"],
  ["ImagePolicyWebhook", "imagePolicy", "imagePolicy: {kubeConfigFile, allowTTL, denyTTL, retryBackoff, defaultAllow}"],
] as const;

function namesIn(args: ServerArgs, option: string, known: readonly string[]): Set<string> {
  const names = (args.get(option) ?? "").split(",").map((name) => name.trim()).filter(Boolean);
  for (const name of names) {
    if (!known.includes(name)) throw argError(option, `${option} plugin "${name}" is unknown`, `take some of: ${known.join(", ")}`);
  }
  return new Set(names);
}

type Json = Record<string, any>;
type Configured = Omit<AdmissionSettings, "enabled" | "disabled">;

/** Readers by plugin; paths are relative to the file that they stand in. */
const readers: Readonly<Record<string, (config: Json, folder: string) => Configured | Promise<Configured>>> = {
  PodSecurity: (config) => ({ podSecurity: readPodSecurity(config) }),
  EventRateLimit: (config) => ({ eventLimits: readLimits(config) }),
  ImagePolicyWebhook: async (config, folder) => ({ imagePolicy: await readImagePolicy(config, folder) }),
};

async function readConfiguration(file: string): Promise<Configured> {
  const read = async (path: string): Promise<Json> => (parse(await readFile(path, "utf8")) ?? {}) as Json;
  try {
    const { kind, plugins = [] } = await read(file);
    if (kind !== "AdmissionConfiguration") throw new Error(`the kind is ${JSON.stringify(kind ?? "")} and not AdmissionConfiguration`);
    const parts = await Promise.all((plugins as Json[]).map(async ({ name, path, configuration }) => {
      const reader = readers[name as string];
      if (!reader) throw new Error(`plugin ${JSON.stringify(name)} takes no configuration; those that do: ${Object.keys(readers).join(", ")}`);
      const from = path ? resolve(dirname(file), path as string) : file;
      try {
        return await reader((path ? await read(from) : configuration) as Json ?? {}, dirname(from));
      } catch (cause) {
        throw new Error(`plugin ${name}: ${(cause as Error).message}`, { cause });
      }
    }));
    return Object.assign({}, ...parts) as Configured;
  } catch (cause) {
    throw argError("admission-control-config-file", `${file} cannot be used: ${(cause as Error).message}`, "give a file with an apiserver.config.k8s.io/v1 AdmissionConfiguration", cause);
  }
}

const limitTypes = ["Server", "Namespace", "User", "SourceAndObject"];
const DEFAULT_CACHE_SIZE = 4096;

function readLimits({ limits = [] }: Json): EventLimit[] {
  if (!Array.isArray(limits) || limits.length === 0) throw new Error("limits: Invalid value: []: must not be empty");
  return (limits as Json[]).map(({ type, qps, burst, cacheSize = DEFAULT_CACHE_SIZE }, i) => {
    if (!limitTypes.includes(type)) throw new Error(`limits[${i}].type: Unsupported value: ${JSON.stringify(type)}: supported values: ${limitTypes.map((name) => `"${name}"`).join(", ")}`);
    if (!(qps > 0)) throw new Error(`limits[${i}].qps: Invalid value: ${qps}: must be positive`);
    if (!(burst > 0)) throw new Error(`limits[${i}].burst: Invalid value: ${burst}: must be positive`);
    return { type, qps, burst, cacheSize };
  });
}

const DEFAULT_BACKOFF = 500;

async function readImagePolicy({ imagePolicy = {} }: Json, folder: string): Promise<ImagePolicy> {
  const { kubeConfigFile, allowTTL = 300, denyTTL = 30, retryBackoff = DEFAULT_BACKOFF, defaultAllow = false } = imagePolicy as Json;
  if (!kubeConfigFile) throw new Error("imagePolicy.kubeConfigFile: Required value");
  return { backend: await readBackend(resolve(folder, kubeConfigFile as string)), allowTtl: allowTTL, denyTtl: denyTTL, retryBackoff, defaultAllow };
}
