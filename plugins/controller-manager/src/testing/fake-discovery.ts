/** Discovery documents of the fake client: whatever resources a test has touched. */
import type { Resource } from "@k3s-p/plugin-api/kube";

export function fakeDiscovery(path: string, resources: readonly Resource[]): { status: number; body: unknown } {
  const listOf = (group: string, version: string) => ({
    kind: "APIResourceList", groupVersion: group ? `${group}/${version}` : version,
    resources: resources.filter((r) => r.group === group && r.version === version).map((r) => ({
      name: r.plural, kind: r.kind, namespaced: r.namespaced,
      verbs: ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    })),
  });
  if (path === "/api/v1") return { status: 200, body: listOf("", "v1") };
  if (path === "/apis") return { status: 200, body: { kind: "APIGroupList", groups: groupsOf(resources) } };
  const match = /^\/apis\/([^/]+)\/([^/]+)$/.exec(path);
  if (match) return { status: 200, body: listOf(match[1]!, match[2]!) };
  return { status: 404, body: { kind: "Status", status: "Failure", reason: "NotFound", code: 404 } };
}

function groupsOf(resources: readonly Resource[]): unknown[] {
  const groups = new Map<string, string>();
  for (const { group, version } of resources) if (group) groups.set(group, version);
  return [...groups].map(([name, version]) => ({
    name, versions: [{ groupVersion: `${name}/${version}`, version }],
    preferredVersion: { groupVersion: `${name}/${version}`, version },
  }));
}
