/** The command lines of helm, and the files that they name. */
import { join, normalize } from "node:path";
import type { HelmChartSpec } from "./chart.ts";
import type { Desired } from "./desired.ts";
import { HASH_LABEL, RUN_LABEL, type Step } from "./release.ts";

export interface Places {
  /** Folder of this run. */
  readonly work: string;
  /** `server/static`, whose files K3s serves below /static/. */
  readonly statics: string;
  /** Host and port of the API server. */
  readonly api: string;
}

type Request = Pick<Desired, "release" | "spec" | "archive" | "values" | "ca" | "login" | "registryLogin" | "serverSide" | "timeout" | "hash">;

/** One name for the repository of a chart, as each run has a list of its own. */
const REPOSITORY = "repo";

/** Where helm looks when these folders are its homes. */
const files = {
  archive: "chart.tgz", ca: "ca.pem", repositories: "config/repositories.yaml", registry: "config/registry/config.json",
  values: (index: number): string => `values-${String(index).padStart(3, "0")}.yaml`,
};

/** Nothing that the server's own environment says of another cluster, user or plugin gets through. */
export const environment = ({ work }: Places, driver: string): Readonly<Record<string, string>> => ({
  HOME: work, HELM_CACHE_HOME: join(work, "cache"), HELM_CONFIG_HOME: join(work, "config"), HELM_DATA_HOME: join(work, "data"),
  HELM_PLUGINS: join(work, "plugins"), HELM_REPOSITORY_CONFIG: join(work, files.repositories), HELM_REPOSITORY_CACHE: join(work, "cache/repository"),
  HELM_REGISTRY_CONFIG: join(work, files.registry), HELM_CONTENT_CACHE: join(work, "cache/content"), HELM_DRIVER: driver, KUBECONFIG: join(work, "kubeconfig"),
  ...Object.fromEntries(["APISERVER", "ASUSER", "ASGROUPS", "TOKEN", "CAFILE", "CONTEXT", "TLS_SERVER_NAME", "INSECURE_SKIP_TLS_VERIFY"].map((name) => [`HELM_KUBE${name}`, ""])),
});

/** Files below the folder of the run -> content. */
export function filesFor({ spec, archive, values, ca, login, registryLogin }: Request, { work }: Places): ReadonlyMap<string, string | Uint8Array> {
  const written = new Map<string, string | Uint8Array>(values.map((text, index) => [files.values(index), text]));
  if (archive) written.set(files.archive, archive);
  if (ca) written.set(files.ca, ca);
  if (fromRepository(spec)) {
    const entry = {
      name: REPOSITORY, url: spec.repo, ...login, ...(ca && { caFile: join(work, files.ca) }),
      insecure_skip_tls_verify: spec.insecureSkipTLSVerify ?? false, pass_credentials_all: spec.authPassCredentials ?? false,
    };
    written.set(files.repositories, JSON.stringify({ apiVersion: "v1", repositories: [entry] }));
  }
  const registry = registryLogin ?? (login && spec.chart?.startsWith("oci://") ? registryConfig(spec.chart, `${login.username}:${login.password}`) : undefined);
  if (registry) written.set(files.registry, registry);
  return written;
}

const registryConfig = (chart: string, login: string): string =>
  JSON.stringify({ auths: { [new URL(chart).host]: { auth: Buffer.from(login).toString("base64") } } });

const fromRepository = ({ chartContent, repo }: HelmChartSpec): boolean => !chartContent && Boolean(repo);

/** The command lines of one step, in their order. */
export function commandsFor(step: Step, request: Request, places: Places, run: string): readonly (readonly string[])[] {
  const { release: { name, namespace }, timeout } = request;
  const common = [`--namespace=${namespace}`, `--timeout=${timeout / 1000}s`];
  // What follows `--` is never taken for an option.
  if (step.kind === "rollback") return [["rollback", ...common, "--", name, String(step.to)]];
  if (step.kind === "uninstall") return [["uninstall", ...common, "--wait", "--ignore-not-found", "--", name]];
  const upgrade = ["upgrade", "--install", ...common, ...upgradeOptions(request, places, run), "--", name, chartOf(request.spec, places)];
  return fromRepository(request.spec) ? [["repo", "update", REPOSITORY], upgrade] : [upgrade];
}

function upgradeOptions({ spec, values, ca, serverSide, hash }: Request, { work }: Places, run: string): string[] {
  const isArchive = Boolean(spec.chartContent);
  return [
    // Without it helm keeps the old values when there are no new ones.
    "--reset-values", `--labels=${HASH_LABEL}=${hash},${RUN_LABEL}=${run}`,
    ...(spec.createNamespace ? ["--create-namespace"] : []),
    ...(spec.version && !isArchive ? [`--version=${spec.version}`] : []),
    ...(spec.takeOwnership ? ["--take-ownership"] : []),
    ...(serverSide ? [`--server-side=${serverSide}`] : []),
    ...(ca && !spec.repo ? [`--ca-file=${join(work, files.ca)}`] : []),
    ...(spec.insecureSkipTLSVerify ? ["--insecure-skip-tls-verify"] : []),
    ...(spec.plainHTTP ? ["--plain-http"] : []),
    ...(spec.authPassCredentials ? ["--pass-credentials"] : []),
    ...values.map((_, index) => `--values=${join(work, files.values(index))}`),
    ...setOptions(spec.set),
  ];
}

/** Numbers, booleans and null keep their type; commas in other text are not those of a list. */
export function setOptions(set: HelmChartSpec["set"] = {}): string[] {
  return Object.keys(set).sort().map((path) => {
    const value = set[path]!;
    if (typeof value === "number" || /^(true|false|null)$/i.test(value)) return `--set=${path}=${value}`;
    return `--set-string=${path}=${value.replace(/\\*,/g, (match) => (match.length % 2 ? `\\${match}` : match))}`;
  });
}

const KUBERNETES_API = "%{KUBERNETES_API}%";
const STATIC = `https://${KUBERNETES_API}/static/`;

/** What K3s serves to its own jobs lies on this machine. */
function chartOf({ chart = "", chartContent, repo }: HelmChartSpec, { work, statics, api }: Places): string {
  if (chartContent) return join(work, files.archive);
  if (repo) return `${REPOSITORY}/${chart}`;
  if (chart.startsWith(STATIC)) return join(statics, normalize(`/${chart.slice(STATIC.length)}`));
  return chart.replaceAll(KUBERNETES_API, api);
}
