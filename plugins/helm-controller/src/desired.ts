/** What a HelmChart asks for: with its HelmChartConfig, and with what its Secrets and ConfigMaps hold. */
import { createHash } from "node:crypto";
import { configMaps, isNotFound, type KubeClient, secrets } from "@k3s-p/plugin-api/kube";
import type { FailurePolicy, HelmChart, HelmChartConfig, HelmChartSpec, Overrides } from "./chart.ts";
import type { ReleaseRef } from "./release.ts";

export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface Desired {
  readonly release: ReleaseRef;
  readonly spec: HelmChartSpec;
  /** The archive, when the HelmChart holds it. */
  readonly archive?: Uint8Array;
  /** YAML; later ones go before earlier ones. */
  readonly values: readonly string[];
  /** PEM. */
  readonly ca?: string;
  readonly login?: Login;
  /** `config.json` of docker. */
  readonly registryLogin?: string;
  readonly failurePolicy: FailurePolicy;
  readonly serverSide?: string;
  readonly backOffLimit: number;
  /** Milliseconds. */
  readonly timeout: number;
  /** Changes with all that a release is made of, and with nothing else. */
  readonly hash: string;
}

/** A mistake of who wrote the object; the message begins with the field. */
export class SpecError extends Error {
  override readonly name = "SpecError";
  readonly reason: string;
  constructor(message: string, reason = "InvalidSpec") {
    super(message);
    this.reason = reason;
  }
}

const BACK_OFF_LIMIT = 1000;
const TIMEOUT = 300_000;

export const releaseOf = ({ metadata, spec }: HelmChart): ReleaseRef =>
  ({ name: metadata.name!, namespace: spec?.targetNamespace || metadata.namespace!, driver: spec?.driver ?? "secret" });

/** Rejects with a `SpecError`. */
export async function desiredOf(client: KubeClient, chart: HelmChart, config: HelmChartConfig | undefined): Promise<Desired> {
  const { spec = {}, metadata } = chart;
  if (spec.helmVersion && spec.helmVersion !== "v3") throw new SpecError("spec.helmVersion: Only Helm v3 charts are supported", "UnsupportedVersion");
  const read = readerOf(client, metadata.namespace!);
  const [own, more] = [await valuesOf(read, spec, "spec"), await valuesOf(read, config?.spec ?? {}, "HelmChartConfig: spec")];
  const ca = [spec.repoCA, ...Object.values((await read.configMap("spec.repoCAConfigMap", spec.repoCAConfigMap?.name)) ?? {})].filter(Boolean).join("\n");
  const login = await read.secret("spec.authSecret", spec.authSecret?.name);
  const registry = await read.secret("spec.dockerRegistrySecret", spec.dockerRegistrySecret?.name);
  const serverSide = config?.spec?.serverSide ?? spec.serverSide;
  const all = [...own, ...more];
  return {
    release: releaseOf(chart), spec,
    ...(spec.chartContent && { archive: archiveOf(spec.chartContent) }),
    values: all.map(({ text }) => text),
    ...(ca && { ca }),
    ...(login && { login: { username: login.username ?? "", password: login.password ?? "" } }),
    ...(registry && { registryLogin: keyOf(registry, ".dockerconfigjson", "spec.dockerRegistrySecret") }),
    ...(serverSide && { serverSide }),
    failurePolicy: config?.spec?.failurePolicy ?? spec.failurePolicy ?? "reinstall",
    backOffLimit: spec.backOffLimit ?? BACK_OFF_LIMIT,
    timeout: spec.timeout === undefined ? TIMEOUT : durationOf(spec.timeout),
    hash: hashOf(spec, serverSide, all.filter(({ counts }) => counts).map(({ text }) => text)),
  };
}

interface Values {
  readonly text: string;
  /** Whether a change of it upgrades the release. */
  readonly counts: boolean;
}

async function valuesOf(read: Reader, overrides: Overrides, at: string): Promise<readonly Values[]> {
  const { valuesContent, values, valuesSecrets = [] } = overrides;
  const found: Values[] = [];
  if (valuesContent) found.push({ text: valuesContent, counts: true });
  // JSON is YAML.
  if (values) found.push({ text: JSON.stringify(values), counts: true });
  for (const [index, { name, keys = [], ignoreUpdates = false }] of valuesSecrets.entries()) {
    const field = `${at}.valuesSecrets[${index}]`;
    const data = await read.secret(field, name, ignoreUpdates);
    for (const key of data ? keys : []) {
      if (data![key] === undefined && ignoreUpdates) continue;
      found.push({ text: keyOf(data!, key, field), counts: !ignoreUpdates });
    }
  }
  return found;
}

type Texts = Readonly<Record<string, string>>;

interface Reader {
  secret(field: string, name: string | undefined, optional?: boolean): Promise<Texts | undefined>;
  configMap(field: string, name: string | undefined): Promise<Texts | undefined>;
}

/** Objects that a field names, in the namespace of the HelmChart; undefined for a field that names none. */
function readerOf(client: KubeClient, namespace: string): Reader {
  const found = async <T>(field: string, what: string, got: Promise<T>): Promise<T | undefined> =>
    got.catch((error: unknown) => {
      if (isNotFound(error)) throw new SpecError(`${field}: ${what} is not in the namespace ${namespace}`);
      throw error;
    });
  return {
    async secret(field, name, optional = false) {
      if (!name) return undefined;
      const got = client.get(secrets, name, namespace);
      const secret = await (optional ? got.catch(() => undefined) : found(field, `Secret ${name}`, got));
      return secret && Object.fromEntries(Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));
    },
    async configMap(field, name) {
      return name ? ((await found(field, `ConfigMap ${name}`, client.get(configMaps, name, namespace)))?.data ?? {}) : undefined;
    },
  };
}

function keyOf(data: Texts, key: string, field: string): string {
  const text = data[key];
  if (text === undefined) throw new SpecError(`${field}: the Secret has no key ${key}`);
  return text;
}

function archiveOf(content: string): Uint8Array {
  const archive = Buffer.from(content, "base64");
  if (archive[0] !== 0x1f || archive[1] !== 0x8b) throw new SpecError("spec.chartContent: must be a chart archive (.tgz) in base64");
  return archive;
}

const units: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 };

/** Milliseconds of a duration as Go writes it: `5m`, `1h30m`. */
export function durationOf(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  const sum = parts.reduce((total, [, count, unit]) => total + Number(count) * units[unit!]!, 0);
  if (!sum || parts.map(([part]) => part).join("") !== text) throw new SpecError(`spec.timeout: "${text}" is not a duration such as 300s or 5m`);
  return sum;
}

function hashOf(spec: HelmChartSpec, serverSide: string | undefined, values: readonly string[]): string {
  const { chart, chartContent, version, repo, set = {}, takeOwnership } = spec;
  const sorted = Object.entries(set).sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = [chartContent ? "" : chart, chartContent, version, repo, sorted, takeOwnership, serverSide, values];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 40);
}
