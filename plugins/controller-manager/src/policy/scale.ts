/** Reading the scale of whatever controls pods, through the `scale` subresource. */
import { notFound, type KubeClient, type OwnerReference, type Scale } from "@k3s-p/plugin-api/kube";
import { discover } from "../lib/discovery.ts";

export interface ScaleTarget {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
}

export interface ScaleReader {
  /** Path of the target's scale; undefined when the kind is unknown. */
  path(target: ScaleTarget, namespace: string): Promise<string | undefined>;
  /** Throws an ApiError-like error with the server's message when it is not there. */
  read(target: ScaleTarget | OwnerReference, namespace: string): Promise<Scale>;
}

export function createScaleReader(client: KubeClient): ScaleReader {
  const paths = new Map<string, string>();

  async function resourcePath({ apiVersion, kind }: Pick<ScaleTarget, "apiVersion" | "kind">): Promise<string | undefined> {
    const group = apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
    const id = `${group}/${kind}`;
    if (!paths.has(id)) {
      const { resources } = await discover(client);
      const found = resources.find(({ resource: r }) => r.group === group && r.kind === kind)?.resource;
      if (!found) return undefined;
      paths.set(id, `${group ? `/apis/${group}` : "/api"}/${found.version}/namespaces/%s/${found.plural}`);
    }
    return paths.get(id);
  }

  const path = async (target: ScaleTarget, namespace: string): Promise<string | undefined> => {
    const base = await resourcePath(target);
    return base && `${base.replace("%s", namespace)}/${target.name}/scale`;
  };

  return {
    path,
    async read(target, namespace) {
      const at = await path(target, namespace);
      if (!at) throw new Error(`no matches for kind "${target.kind}" in group "${target.apiVersion}"`);
      const { status, body } = await client.request("GET", at);
      if (status === 404)
        throw notFound(
          { group: target.apiVersion.split("/").slice(0, -1).join(""), plural: `${target.kind.toLowerCase()}s` },
          target.name,
        );
      if (status !== 200) throw new Error((body as { message?: string }).message ?? `scale answered ${status}`);
      return body as Scale;
    },
  };
}
