/** Group, version and kind: the text forms that AddOns and owner annotations carry, and the resource behind them. */
import { defineResource, type KubeClient, type KubeObject, type Resource } from "@k3s-p/plugin-api/kube";

export interface Gvk {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export function gvkOf(object: KubeObject): Gvk {
  const [left = "", right] = (object.apiVersion ?? "").split("/");
  return right === undefined ? { group: "", version: left, kind: object.kind! } : { group: left, version: right, kind: object.kind! };
}

export const groupVersion = (gvk: Gvk): string => (gvk.group ? `${gvk.group}/${gvk.version}` : gvk.version);

/** `apps/v1, Kind=Deployment`, as Kubernetes prints it. */
export const formatGvk = (gvk: Gvk): string => `${groupVersion(gvk)}, Kind=${gvk.kind}`;

export function parseGvks(text: string | undefined): readonly Gvk[] {
  return (text ?? "").split(";").flatMap((part) => {
    const match = /^\/?([^,]+), Kind=(\w+)$/.exec(part.trim());
    return match ? [gvkOf({ apiVersion: match[1]!, kind: match[2]! })] : [];
  });
}

export const formatGvks = (gvks: readonly Gvk[]): string => [...new Set(gvks.map(formatGvk))].sort().join(";");

interface ResourceEntry {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** Finds the resource that serves a kind; undefined when the server does not serve it now. */
export interface Discovery {
  resourceFor(gvk: Gvk): Promise<Resource | undefined>;
}

/** Asks the server once for each group and version, and again when a kind is not in the answer it remembers. */
export function createDiscovery(client: KubeClient): Discovery {
  const known = new Map<string, Promise<readonly ResourceEntry[]>>();

  async function fetchEntries(gv: string): Promise<readonly ResourceEntry[]> {
    const { status, body } = await client.request("GET", gv.includes("/") ? `/apis/${gv}` : `/api/${gv}`);
    if (status === 404) return [];
    if (status >= 300) throw new Error(`discovery of ${gv} failed with status ${status}`);
    return ((body as { resources?: ResourceEntry[] }).resources ?? []).filter((entry) => !entry.name.includes("/"));
  }

  function entries(gv: string, fresh: boolean): Promise<readonly ResourceEntry[]> {
    const cached = known.get(gv);
    if (cached && !fresh) return cached;
    const next = fetchEntries(gv).catch((error: unknown) => {
      known.delete(gv);
      if ((error as { code?: number }).code === 404) return [];
      throw error;
    });
    known.set(gv, next);
    return next;
  }

  return {
    async resourceFor(gvk) {
      const gv = groupVersion(gvk);
      const find = (list: readonly ResourceEntry[]) => list.find((entry) => entry.kind === gvk.kind);
      const remembered = known.has(gv);
      const entry = find(await entries(gv, false)) ?? (remembered ? find(await entries(gv, true)) : undefined);
      return entry && defineResource(gvk.group, gvk.version, entry.name, gvk.kind, entry.namespaced ? "namespaced" : "cluster");
    },
  };
}
