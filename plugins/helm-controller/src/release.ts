/** What helm keeps of a release, read from its Secrets or ConfigMaps, and what is to be done about it. */
import { configMaps, type KubeClient, type KubeObject, type ObjectMeta, type Resource, secrets } from "@k3s-p/plugin-api/kube";
import type { FailurePolicy } from "./chart.ts";

/** Label of a revision: what was installed with it. */
export const HASH_LABEL = "helmcharts.helm.cattle.io/config-hash";
/** Label of a revision: the run of helm that made it. A revision that somebody makes by hand inherits it. */
export const RUN_LABEL = "helmcharts.helm.cattle.io/run";

export interface Revision {
  readonly version: number;
  /** Helm's: `deployed`, `superseded`, `failed`, `pending-upgrade`, ... */
  readonly status: string;
  readonly hash?: string;
  readonly run?: string;
  /** Milliseconds since 1970. */
  readonly created: number;
}

export interface ReleaseRef {
  readonly name: string;
  readonly namespace: string;
  readonly driver: "secret" | "configmap";
}

/** The revisions, oldest first; none when there is no such release. */
export async function readRevisions(client: KubeClient, { name, namespace, driver }: ReleaseRef): Promise<readonly Revision[]> {
  const resource: Resource<KubeObject> = driver === "configmap" ? configMaps : secrets;
  const { items } = await client.list(resource, { namespace, labelSelector: `owner=helm,name=${name}` });
  return items.map(({ metadata }) => revisionOf(metadata!)).sort((a, b) => a.version - b.version);
}

function revisionOf({ labels = {}, creationTimestamp = "" }: ObjectMeta): Revision {
  const { [HASH_LABEL]: hash, [RUN_LABEL]: run } = labels;
  return {
    version: Number(labels.version), status: labels.status ?? "unknown", created: Date.parse(creationTimestamp),
    ...(hash && { hash }), ...(run && { run }),
  };
}

export type Step =
  | { readonly kind: "upgrade" }
  | { readonly kind: "uninstall" }
  /** To the last revision that was deployed. */
  | { readonly kind: "rollback"; readonly to: number };

export type Plan =
  | { readonly kind: "steps"; readonly steps: readonly Step[] }
  /** What is installed is what is wanted. */
  | { readonly kind: "current"; readonly revision: number }
  /** It has failed, and somebody wants to look at it. */
  | { readonly kind: "aborted" }
  /** Somebody else's helm is at work, or was until then. */
  | { readonly kind: "busy"; readonly until: number; readonly status: string };

export interface Wanted {
  readonly hash: string;
  readonly failurePolicy: FailurePolicy;
  /** How long a pending operation of somebody else is taken for one that is under way, milliseconds. */
  readonly patience: number;
}

const upgrade: Step = { kind: "upgrade" };
const uninstall: Step = { kind: "uninstall" };
const doing = (...steps: readonly Step[]): Plan => ({ kind: "steps", steps });

/**
 * From the last revision to what is wanted. One that failed is installed anew only when nothing has changed since: what
 * somebody has corrected may well upgrade it. One that helm was interrupted at, which helm itself refuses to touch, goes
 * back to the last revision that was deployed; where there was none, there is nothing to lose.
 */
export function planFor(revisions: readonly Revision[], wanted: Wanted, now: number): Plan {
  const last = revisions.at(-1);
  if (!last) return doing(upgrade);
  if (last.status.startsWith("pending-")) {
    const until = last.created + wanted.patience;
    if (!isOurs(revisions) && now < until) return { kind: "busy", until, status: last.status };
    const good = revisions.findLast(({ status }) => status === "deployed");
    return good ? doing({ kind: "rollback", to: good.version }, upgrade) : doing(uninstall, upgrade);
  }
  if (last.status.startsWith("uninstall")) return doing(uninstall, upgrade);
  if (last.hash !== wanted.hash) return doing(upgrade);
  if (last.status === "deployed") return { kind: "current", revision: last.version };
  if (last.status !== "failed" || wanted.failurePolicy === "retry") return doing(upgrade);
  return wanted.failurePolicy === "abort" ? { kind: "aborted" } : doing(uninstall, upgrade);
}

/** The controller runs one helm at a time, and now it runs none: what is pending of its own was interrupted. */
function isOurs(revisions: readonly Revision[]): boolean {
  const last = revisions.at(-1)!;
  return last.run !== undefined && !revisions.slice(0, -1).some(({ run }) => run === last.run);
}
