/**
 * Discovery: which groups, versions and resources the server has, in the legacy form (`/api`, `/apis`, one document a
 * group and version) and in the aggregated form (two documents in all).
 */
import { createHash } from "node:crypto";
import type { Registry } from "../server/registry.ts";
import { compareVersions, groupPriority } from "./priorities.ts";
import { discoveredResources, type DiscoveredResource, type Kind } from "./resources.ts";

export interface RouteAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Undefined = the path is not ours. */
export type Route = (path: string, headers: Readonly<Record<string, string | readonly string[] | undefined>>) => RouteAnswer | undefined;

/** A group and version that another server behind an APIService answers for. */
export interface ExternalVersion {
  readonly group: string;
  readonly version: string;
  readonly groupPriority: number;
  readonly versionPriority: number;
  /** Undefined while that server cannot be asked. */
  readonly resources: readonly DiscoveredResource[] | undefined;
}

export interface DiscoveryOptions {
  /** `host:port` under which clients reach the server. */
  readonly serverAddress?: () => string;
  readonly external?: {
    /** Grows with every change of `list`. */
    revision(): number;
    list(): readonly ExternalVersion[];
  };
}

interface Version {
  readonly version: string;
  readonly priority: number;
  readonly resources: readonly DiscoveredResource[] | undefined;
  readonly external: boolean;
}

interface Group {
  readonly name: string;
  readonly priority: number;
  readonly versions: Version[];
}

export function discoveryRoutes(registry: Registry, options: DiscoveryOptions = {}): Route {
  let builtAt = "";
  let groups: readonly Group[] = [];
  let documents = new Map<string, Document>();
  return (path, headers) => {
    const clean = path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
    if (clean !== "/api" && !clean.startsWith("/api/") && clean !== "/apis" && !clean.startsWith("/apis/")) return undefined;
    const revision = `${registry.revision}/${options.external?.revision() ?? 0}`;
    if (revision !== builtAt) {
      groups = collectGroups(registry, options.external?.list() ?? []);
      documents = new Map();
      builtAt = revision;
    }
    const form = aggregatedForm(headers.accept);
    const key = form && (clean === "/api" || clean === "/apis") ? `${clean}#${form}` : clean;
    let document = documents.get(key);
    if (!document) {
      const value = key === clean ? legacy(groups, clean, options.serverAddress?.() ?? "") : aggregated(groups, clean, form!);
      if (!value) return undefined;
      documents.set(key, (document = toDocument(value, key === clean ? undefined : form)));
    }
    return answer(document, headers["if-none-match"]);
  };
}

interface Document {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

function toDocument(value: object, form: string | undefined): Document {
  const body = Buffer.from(JSON.stringify(value));
  const type = form ? `application/json;g=apidiscovery.k8s.io;v=${form};as=APIGroupDiscoveryList` : "application/json";
  const etag = `"${createHash("sha256").update(body).digest("hex").toUpperCase()}"`;
  return { body, headers: { "content-type": type, etag, vary: "Accept", "cache-control": "no-cache, private" } };
}

const nothing = Buffer.alloc(0);

function answer({ body, headers }: Document, known: string | readonly string[] | undefined): RouteAnswer {
  if (known === headers.etag) return { status: 304, headers, body: nothing };
  return { status: 200, headers, body };
}

/** The version of `APIGroupDiscoveryList` that the client would rather have than the legacy documents. */
function aggregatedForm(accept: string | readonly string[] | undefined): string | undefined {
  if (typeof accept !== "string" || !accept.includes("APIGroupDiscoveryList")) return undefined;
  for (const part of accept.split(",")) {
    const fields = part.split(";").map((field) => field.trim());
    const version = fields.find((field) => field.startsWith("v="))?.slice(2);
    const wanted = fields[0] === "application/json" || fields[0] === "*/*";
    if (wanted && fields.includes("as=APIGroupDiscoveryList") && (version === "v2" || version === "v2beta1")) return version;
    if (fields[0] === "application/json" && fields.length === 1) return undefined;
  }
  return undefined;
}

function collectGroups(registry: Registry, external: readonly ExternalVersion[]): Group[] {
  const groups = new Map<string, Group>();
  const at = (name: string, priority: number): Group => {
    const known = groups.get(name);
    if (known) return known;
    const group = { name, priority, versions: [] };
    groups.set(name, group);
    return group;
  };
  const byVersion = Map.groupBy(registry.list(), (def) => `${def.group}/${def.version}`);
  for (const defs of byVersion.values()) {
    const { group, version } = defs[0]!;
    at(group, groupPriority(group)).versions.push({ version, priority: 0, external: false, resources: discoveredResources(defs) });
  }
  for (const { group, version, groupPriority: priority, versionPriority, resources } of external) {
    const { versions } = at(group, priority);
    if (versions.some((known) => known.version === version)) continue;
    versions.push({ version, priority: versionPriority, external: true, resources });
  }
  for (const group of groups.values()) {
    group.versions.sort((a, b) => b.priority - a.priority || compareVersions(a.version, b.version));
  }
  return [...groups.values()].sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
}

function legacy(groups: readonly Group[], path: string, serverAddress: string): object | undefined {
  const [, root, first, second, ...rest] = path.split("/");
  if (rest.length > 0) return undefined;
  if (root === "api") {
    const core = groups.find((group) => group.name === "");
    if (!first) {
      return {
        kind: "APIVersions", versions: core?.versions.map((v) => v.version) ?? [],
        serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress }],
      };
    }
    return second ? undefined : resourceList(core, first);
  }
  if (!first) {
    const named = groups.filter((group) => group.name !== "");
    return { kind: "APIGroupList", apiVersion: "v1", groups: named.map(apiGroup) };
  }
  const group = groups.find((candidate) => candidate.name === first);
  if (!group) return undefined;
  return second ? resourceList(group, second) : { kind: "APIGroup", apiVersion: "v1", ...apiGroup(group) };
}

function apiGroup({ name, versions }: Group): object {
  const list = versions.map(({ version }) => ({ groupVersion: `${name}/${version}`, version }));
  return { name, versions: list, preferredVersion: list[0] };
}

/** Of an external version only its own server knows the answer. */
function resourceList(group: Group | undefined, wanted: string): object | undefined {
  const version = group?.versions.find((candidate) => candidate.version === wanted);
  if (!version?.resources || version.external) return undefined;
  const groupVersion = group!.name ? `${group!.name}/${wanted}` : wanted;
  return {
    kind: "APIResourceList", ...(group!.name && { apiVersion: "v1" }), groupVersion,
    resources: version.resources.flatMap((resource) => legacyEntries(resource)),
  };
}

function legacyEntries({ name, singular, namespaced, responseKind, verbs, shortNames, categories, subresources }: DiscoveredResource): object[] {
  const foreign = ({ group, version }: Kind) => (group === responseKind.group && version === responseKind.version ? {} : { group, version });
  return [
    {
      name, singularName: singular, namespaced, kind: responseKind.kind, verbs,
      ...(shortNames && { shortNames }), ...(categories && { categories }),
    },
    ...subresources.map((sub) => ({
      name: `${name}/${sub.name}`, singularName: "", namespaced, ...foreign(sub.responseKind),
      kind: sub.responseKind.kind, verbs: sub.verbs,
    })),
  ];
}

function aggregated(groups: readonly Group[], path: string, form: string): object {
  const wanted = groups.filter((group) => (group.name === "") === (path === "/api"));
  return {
    kind: "APIGroupDiscoveryList", apiVersion: `apidiscovery.k8s.io/${form}`, metadata: {},
    items: wanted.map(({ name, versions }) => ({
      metadata: { name, creationTimestamp: null },
      versions: versions.map(({ version, resources }) => ({
        version,
        ...(resources && { resources: resources.map(aggregatedEntry) }),
        freshness: resources ? "Current" : "Stale",
      })),
    })),
  };
}

const aggregatedEntry = ({ name, singular, namespaced, responseKind, verbs, shortNames, categories, subresources }: DiscoveredResource) => ({
  resource: name, responseKind, scope: namespaced ? "Namespaced" : "Cluster", singularResource: singular, verbs,
  ...(shortNames && { shortNames }), ...(categories && { categories }),
  ...(subresources.length > 0 && {
    subresources: subresources.map((sub) => ({ subresource: sub.name, responseKind: sub.responseKind, verbs: sub.verbs })),
  }),
});
