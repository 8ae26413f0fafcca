/** Brings the cluster in line with one set of objects: create or patch each, then delete what the set no longer holds. */
import {
  type ApiError, apiVersionOf, isAlreadyExists, isNotFound, type KubeClient, type KubeObject, type Resource, type Status,
} from "@k3s-p/plugin-api/kube";
import { type Json, threeWayPatch } from "./diff.ts";
import { type Discovery, formatGvk, type Gvk, gvkOf } from "./gvk.ts";
import { HASH_LABEL, isOwnedBy, lastApplied, type Owner, ownerHash, PRUNE, withMarks } from "./objectset.ts";

export interface ApplyResult {
  /** Kinds of the objects that are in place. */
  readonly gvks: readonly Gvk[];
  readonly failures: readonly Failure[];
}

export interface Failure {
  readonly what: string;
  readonly message: string;
  /** A later attempt may succeed although the file stays the same: the kind or namespace is still to come. */
  readonly transient: boolean;
}

export interface Applier {
  apply(owner: Owner, objects: readonly KubeObject[]): Promise<ApplyResult>;
  /** Fields that the server does not know and therefore dropped, as `ConfigMap ns/name: unknown field "dta"`. */
  unknownFields(objects: readonly KubeObject[]): Promise<readonly string[]>;
  /** Deletes the owner's objects of these kinds, except those in `keep`. */
  prune(owner: Owner, gvks: readonly Gvk[], keep: readonly KubeObject[]): Promise<readonly Failure[]>;
}

const FIELD_MANAGER = "deploy";
/** Patches built by the server from strategic merge keys exist for built-in kinds only. */
const isBuiltIn = (gvk: Gvk): boolean => !gvk.group.includes(".") || builtInGroups.has(gvk.group);
const builtInGroups = new Set([
  "admissionregistration", "apiextensions", "apiregistration", "authentication", "authorization", "certificates",
  "coordination", "discovery", "events", "flowcontrol.apiserver", "networking", "node", "rbac.authorization",
  "resource", "scheduling", "storage",
].map((name) => `${name}.k8s.io`));

export function createApplier(client: KubeClient, discovery: Discovery): Applier {
  async function applyOne(owner: Owner, object: KubeObject): Promise<void> {
    const gvk = gvkOf(object);
    const resource = await discovery.resourceFor(gvk);
    if (!resource) throw new NotServed(gvk);
    const wanted = withMarks(normalise(object, resource), owner);
    const name = wanted.metadata!.name!;
    const existing = await find(client, resource, name, wanted.metadata!.namespace);
    if (!existing) {
      try {
        await client.create(resource, wanted, { fieldManager: FIELD_MANAGER, ...(wanted.metadata!.namespace && { namespace: wanted.metadata!.namespace }) });
        return;
      } catch (error) {
        // Somebody else was faster: adopt what they made.
        if (!isAlreadyExists(error)) throw error;
      }
    }
    await patch(resource, gvk, wanted, existing ?? (await client.get(resource, name, wanted.metadata!.namespace)));
  }

  async function patch(resource: Resource, gvk: Gvk, wanted: KubeObject, existing: KubeObject): Promise<void> {
    const strategic = isBuiltIn(gvk);
    const last = lastApplied(existing);
    const change = threeWayPatch({ last: last as Json | undefined, next: wanted as Json, current: existing as Json }, strategic);
    if (!change) return;
    await client.patch(resource, wanted.metadata!.name!, change, {
      type: strategic ? "strategic" : "merge", fieldManager: FIELD_MANAGER,
      ...(wanted.metadata!.namespace && { namespace: wanted.metadata!.namespace }),
    });
  }

  return {
    async apply(owner, objects) {
      const gvks: Gvk[] = [];
      const failures: Failure[] = [];
      for (const object of [...objects].sort((a, b) => rank(a) - rank(b))) {
        try {
          await applyOne(owner, object);
          gvks.push(gvkOf(object));
        } catch (error) {
          failures.push({ what: describe(object), message: (error as Error).message, transient: isTransient(error) });
        }
      }
      return { gvks, failures };
    },

    async unknownFields(objects) {
      const findings: string[] = [];
      for (const object of objects) {
        const resource = await discovery.resourceFor(gvkOf(object));
        const message = resource && (await strictFinding(client, resource, normalise(object, resource)));
        if (message) findings.push(`${describe(object)}: ${message}`);
      }
      return findings;
    },

    async prune(owner, gvks, keep) {
      const kept = new Set(keep.flatMap((object) => placements(object).map(identity)));
      const failures: Failure[] = [];
      for (const gvk of gvks) {
        const resource = await discovery.resourceFor(gvk);
        if (!resource) continue;
        const owned = await client.list(resource, { labelSelector: `${HASH_LABEL}=${ownerHash(owner)}` });
        for (const listed of owned.items) {
          const object = { ...listed, apiVersion: listed.apiVersion ?? groupVersionOf(gvk), kind: gvk.kind };
          if (kept.has(identity(object))) continue;
          if (!isOwnedBy(object, owner) || object.metadata?.annotations?.[PRUNE] === "false" || object.metadata?.deletionTimestamp) continue;
          await remove(client, resource, object).catch((error: unknown) => {
            failures.push({ what: describe(object), message: (error as Error).message, transient: isTransient(error) });
          });
        }
      }
      return failures;
    },
  };
}

/** A dry run with strict field validation: the decoder speaks first, whatever else is wrong with a second create. */
async function strictFinding(client: KubeClient, resource: Resource, object: KubeObject): Promise<string | undefined> {
  const namespace = object.metadata?.namespace;
  const base = resource.group ? `/apis/${apiVersionOf(resource)}` : `/api/${resource.version}`;
  const path = `${base}${namespace ? `/namespaces/${namespace}` : ""}/${resource.plural}?dryRun=All&fieldValidation=Strict`;
  const { status, body } = await client.request("POST", path, object);
  const message = status === 400 ? String((body as Status).message) : "";
  const at = message.indexOf("strict decoding error: ");
  return at < 0 ? undefined : message.slice(at + "strict decoding error: ".length);
}

class NotServed extends Error {
  override readonly name = "NotServed";
  constructor(gvk: Gvk) {
    super(`no matches for kind "${gvk.kind}" in version "${groupVersionOf(gvk)}"`);
  }
}

const groupVersionOf = (gvk: Gvk): string => formatGvk(gvk).split(",")[0]!;
const describe = (object: KubeObject): string =>
  `${object.kind} ${object.metadata?.namespace ? `${object.metadata.namespace}/` : ""}${object.metadata?.name}`;
const identity = (object: KubeObject): string =>
  `${gvkOf(object).group}\0${object.kind}\0${object.metadata?.namespace ?? ""}\0${object.metadata?.name}`;

/** Where an object may be: without a namespace it is in `default`, or in none when its kind has none. */
function placements(object: KubeObject): readonly KubeObject[] {
  if (object.metadata?.namespace) return [object];
  return [object, { ...object, metadata: { ...object.metadata, namespace: "default" } }];
}

/** Namespaces and definitions first; the rest in the order of the file (sort is stable). */
function rank(object: KubeObject): number {
  if (object.kind === "Namespace") return 0;
  return object.kind === "CustomResourceDefinition" ? 1 : 2;
}

/** The namespace as the server will see it, and a Secret's `stringData` where it will end up. */
function normalise(object: KubeObject, resource: Resource): KubeObject {
  const { namespace, ...metadata } = object.metadata!;
  const placed: KubeObject = { ...object, metadata: resource.namespaced ? { ...metadata, namespace: namespace || "default" } : metadata };
  if (resource.group !== "" || resource.kind !== "Secret") return placed;
  const { stringData, ...secret } = placed as KubeObject & { stringData?: Record<string, string>; data?: Record<string, string> };
  if (!stringData) return placed;
  const encoded = Object.entries(stringData).map(([key, value]) => [key, Buffer.from(String(value)).toString("base64")]);
  return { ...secret, data: { ...secret.data, ...Object.fromEntries(encoded) } } as KubeObject;
}

async function find(client: KubeClient, resource: Resource, name: string, namespace?: string): Promise<KubeObject | undefined> {
  try {
    return await client.get(resource, name, namespace);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function remove(client: KubeClient, resource: Resource, object: KubeObject): Promise<void> {
  const namespace = object.metadata?.namespace;
  try {
    await client.delete(resource, object.metadata!.name!, { propagationPolicy: "Background", ...(namespace && { namespace }) });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/** Not found (namespace or kind to come), conflicts, overload, and everything that is not an answer of the server. */
function isTransient(error: unknown): boolean {
  const code = (error as Partial<ApiError>).code;
  return typeof code !== "number" || code === 404 || code === 409 || code === 429 || code >= 500;
}
