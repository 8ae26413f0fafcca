/** Discovery documents of the fake client, made from the resources that it serves. */
import type { Resource } from "./resources.ts";

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

export function fakeDiscovery(path: string, served: readonly Resource[]): Answer {
  if (path === "/apis") return { status: 200, body: { kind: "APIGroupList", groups: groupsOf(served) } };
  const [, group = "", version] = /^\/(?:api|apis\/([^/]+))\/([^/]+)$/.exec(path) ?? [];
  const resources = served.filter((r) => r.group === group && r.version === version);
  if (!resources.length && path !== "/api/v1") return { status: 404, body: { kind: "Status", status: "Failure", reason: "NotFound", code: 404 } };
  return {
    status: 200,
    body: {
      kind: "APIResourceList", groupVersion: group ? `${group}/${version}` : version,
      resources: resources.map((r) => ({ name: r.plural, kind: r.kind, namespaced: r.namespaced, verbs })),
    },
  };
}

function groupsOf(served: readonly Resource[]): unknown[] {
  const versions = new Map<string, string>();
  for (const { group, version } of served) if (group) versions.set(group, version);
  return [...versions].map(([name, version]) => {
    const preferred = { groupVersion: `${name}/${version}`, version };
    return { name, versions: [preferred], preferredVersion: preferred };
  });
}
