/** Validates each plugin's own section against its schema, with defaults applied and the result frozen. */
import { isDeepStrictEqual } from "node:util";
import { k3spError } from "@k3s-p/plugin-api";
import { didYouMean, type Manifest } from "../kernel/manifest.ts";
import { checkArguments } from "./arguments.ts";
import type { Settings } from "./load.ts";

interface Property {
  readonly type?: string;
  /** The same on every node: agents take over what is in force on their server. */
  readonly shared?: boolean;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
}

/** Plugin id -> frozen config. Every finding is reported at once, with its place and the allowed values. */
export async function pluginConfigs(manifests: readonly Manifest[], settings: Settings): Promise<Map<string, object>> {
  const configs = new Map<string, object>();
  const findings: string[] = [];
  const placesOf = new Map<string, ReadonlyMap<string, string>>();
  for (const m of manifests) {
    const section = settings.plugins.get(m.id);
    const raw: Record<string, unknown> = structuredClone(section?.config ?? {});
    const places = new Map(section?.positions);
    for (const [flag, option] of Object.entries(m.flags)) {
      const setting = settings.values.get(flag);
      if (!setting) continue;
      raw[option] = setting.value;
      places.set(option, setting.source);
    }
    for (const [option, { value, source }] of Object.entries(settings.common?.get(m.id) ?? {})) {
      const own = raw[option];
      if (own !== undefined && !isDeepStrictEqual(own, value)) findings.push(contrary(m.id, option, own, value, places.get(option)));
      raw[option] = value;
      places.set(option, source);
    }
    // Most plugins have no section: their config is the schema's defaults, and the validator is not loaded for them.
    if (Object.keys(raw).length) findings.push(...(await validate(m, raw, places)));
    else applyDefaults(m, raw);
    placesOf.set(m.id, places);
    configs.set(m.id, deepFreeze(raw));
  }
  if (findings.length) {
    throw k3spError("K3SP_CONFIG_INVALID", { message: findings[0]!, detail: findings.slice(1) });
  }
  for (const m of manifests) checkArguments(m, configs.get(m.id)!, (option) => placesOf.get(m.id)!.get(option) ?? m.source.label);
  return configs;
}

const contrary = (id: string, option: string, own: unknown, value: unknown, place = ""): string =>
  `plugins.${id}.config.${option}: ${JSON.stringify(own)} is not what the server has, ${JSON.stringify(value)}; leave it out here\n  ${place}`;

const propertiesOf = (m: Manifest): Readonly<Record<string, Property>> => (m.schema.properties ?? {}) as Record<string, Property>;

/** Options of a plugin that its schema marks as the same on every node. */
export const sharedOptions = (m: Manifest): string[] => Object.entries(propertiesOf(m)).filter(([, { shared }]) => shared).map(([name]) => name);

function applyDefaults(m: Manifest, raw: Record<string, unknown>): void {
  for (const [name, property] of Object.entries(propertiesOf(m))) {
    if (raw[name] === undefined && property.default !== undefined) raw[name] = structuredClone(property.default);
  }
}

async function validate(m: Manifest, raw: Record<string, unknown>, places: ReadonlyMap<string, string>): Promise<string[]> {
  const { Ajv2020 } = await import("ajv/dist/2020.js");
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, coerceTypes: true, strict: true });
  ajv.addKeyword({ keyword: "shared", schemaType: "boolean" });
  ajv.addKeyword({ keyword: "arguments", schemaType: "string" });
  const check = ajv.compile({ additionalProperties: false, ...m.schema });
  if (check(raw)) return [];
  return (check.errors ?? []).map((error) => {
    const path = error.instancePath.split("/").filter(Boolean);
    const extra = (error.params as { additionalProperty?: string }).additionalProperty;
    const option = extra ?? path[0] ?? "";
    const name = ["plugins", m.id, "config", ...path, ...(extra ? [extra] : [])].join(".");
    return [`${name}: ${reason(error, raw, path, m)}`, `  ${places.get(option) ?? places.get("") ?? m.source.label}`].join("\n");
  });
}

interface AjvError {
  readonly keyword: string;
  readonly message?: string;
  readonly params: unknown;
}

function reason(error: AjvError, raw: unknown, path: readonly string[], m: Manifest): string {
  const params = error.params as { additionalProperty?: string; allowedValues?: readonly unknown[] };
  const known = Object.keys((m.schema.properties ?? {}) as object);
  if (params.additionalProperty) return `unknown option${didYouMean(params.additionalProperty, known)}   allowed: ${known.join(", ") || "none"}`;
  const value = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], raw);
  const text = JSON.stringify(value);
  if (params.allowedValues) {
    const allowed = params.allowedValues.map(String);
    return `${text} is not allowed   allowed: ${allowed.join(", ")}${didYouMean(String(value), allowed)}`;
  }
  return `${text} ${error.message ?? "is not allowed"}`;
}

function deepFreeze<T extends object>(value: T): T {
  for (const child of Object.values(value)) if (typeof child === "object" && child !== null) deepFreeze(child as object);
  return Object.freeze(value);
}
