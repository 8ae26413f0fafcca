/** Every resource that the server has, read from its discovery documents. */
import { defineResource, type KubeClient, type Resource } from "@k3s-p/plugin-api/kube";

export interface DiscoveredResource {
  readonly resource: Resource;
  readonly verbs: readonly string[];
}

export interface Discovery {
  readonly resources: readonly DiscoveredResource[];
  /** Group versions whose document could not be read, with the reason. */
  readonly failures: readonly string[];
}

interface ApiResource {
  readonly name: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

interface ApiGroup {
  readonly name: string;
  readonly versions: readonly { readonly groupVersion: string; readonly version: string }[];
  readonly preferredVersion?: { readonly groupVersion: string; readonly version: string };
}

/** Each resource once, in its group's preferred version, or in another one when only that serves it. */
export async function discover(client: KubeClient): Promise<Discovery> {
  const failures: string[] = [];
  const found = new Map<string, DiscoveredResource>();

  async function readVersion(path: string, group: string, version: string): Promise<void> {
    const document = await client.request("GET", path).catch((error: unknown) => ({ status: 0, body: error }));
    if (document.status !== 200) {
      failures.push(`${group ? `${group}/` : ""}${version}: ${reason(document.body)}`);
      return;
    }
    for (const { name, kind, namespaced, verbs } of (document.body as { resources?: ApiResource[] }).resources ?? []) {
      if (name.includes("/") || found.has(`${group}/${name}`)) continue;
      found.set(`${group}/${name}`, {
        verbs,
        resource: defineResource(group, version, name, kind, namespaced ? "namespaced" : "cluster"),
      });
    }
  }

  const groups = await client.request("GET", "/apis");
  await readVersion("/api/v1", "", "v1");
  if (groups.status !== 200) failures.push(`apis: ${reason(groups.body)}`);
  for (const group of groups.status === 200 ? (groups.body as { groups: ApiGroup[] }).groups : []) {
    const preferred = group.preferredVersion?.version;
    const ordered = [...group.versions].sort((a, b) => Number(b.version === preferred) - Number(a.version === preferred));
    for (const { groupVersion, version } of ordered) await readVersion(`/apis/${groupVersion}`, group.name, version);
  }
  return { resources: [...found.values()], failures };
}

const reason = (body: unknown): string => (body as { message?: string } | undefined)?.message ?? "unexpected answer";
