/** Marks that tie an object to the AddOn it came from, in the form of Rancher's wrangler, so that either can take over. */
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import type { KubeObject } from "@k3s-p/plugin-api/kube";

const prefix = "objectset.rio.cattle.io/";
const APPLIED = `${prefix}applied`;
export const HASH_LABEL = `${prefix}hash`;
export const PRUNE = `${prefix}prune`;

/** Longer configurations are stored compressed. */
const PLAIN_LIMIT = 1024;

export interface Owner {
  /** `k3s.cattle.io/v1, Kind=Addon` */
  readonly gvk: string;
  readonly name: string;
  readonly namespace: string;
}

/** The value of the hash label: it selects everything that one owner applied. */
export const ownerHash = (owner: Owner): string =>
  createHash("sha1").update(owner.gvk + owner.name + owner.namespace).digest("hex");

/** A copy with the owner's marks and, in an annotation, the configuration itself: the base of the next three-way merge. */
export function withMarks(object: KubeObject, owner: Owner): KubeObject {
  const marked: KubeObject = {
    ...object,
    metadata: {
      ...object.metadata,
      labels: { ...object.metadata?.labels, [HASH_LABEL]: ownerHash(owner) },
      annotations: {
        ...object.metadata?.annotations,
        [`${prefix}id`]: "",
        [`${prefix}owner-gvk`]: owner.gvk,
        [`${prefix}owner-name`]: owner.name,
        [`${prefix}owner-namespace`]: owner.namespace,
      },
    },
  };
  marked.metadata!.annotations![APPLIED] = encodeApplied(marked);
  return marked;
}

/** The configuration applied last, by this deployer or by `kubectl apply`; undefined for an object of unknown origin. */
export function lastApplied(object: KubeObject): KubeObject | undefined {
  const annotations = object.metadata?.annotations;
  const text = annotations?.[APPLIED] ?? annotations?.["kubectl.kubernetes.io/last-applied-configuration"];
  if (!text) return undefined;
  try {
    const json = text.startsWith("{") ? text : gunzipSync(Buffer.from(text, "base64")).toString();
    return JSON.parse(json) as KubeObject;
  } catch {
    return undefined;
  }
}

export const isOwnedBy = (object: KubeObject, owner: Owner): boolean => object.metadata?.labels?.[HASH_LABEL] === ownerHash(owner);

function encodeApplied(object: KubeObject): string {
  const json = JSON.stringify(object);
  return json.length < PLAIN_LIMIT ? json : gzipSync(json).toString("base64").replace(/=+$/, "");
}
