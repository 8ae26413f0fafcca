import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { builtinResources } from "./index.ts";
import type { ResourceDef } from "./types.ts";

const reference = new URL("../../../../../shared/reference/kubernetes-1.36-openapi-v2.json", import.meta.url);
const present = existsSync(reference);
if (!present) console.log(`skipped: the reference OpenAPI document is not beside the checkout (${reference.pathname})`);

/** Served upstream only when switched on: alpha and beta versions of built-in groups are off by default. */
const offByDefault = /^v\d+(alpha|beta)\d+$/;
const pathPattern = /^\/(?:api|apis\/([^/]+))\/(v[^/]+)\/(namespaces\/\{namespace\}\/)?([a-z]+)(\/\{name\}(?:\/([a-z]+))?)?(?:\/\{path\})?$/;

interface Served {
  verbs: Set<string>;
  subresources: Set<string>;
  namespaced: boolean;
  kind: string;
}

function servedUpstream(): Map<string, Served> {
  const served = new Map<string, Served>();
  const { paths } = JSON.parse(readFileSync(reference, "utf8")) as { paths: Record<string, Record<string, any>> };
  for (const [path, item] of Object.entries(paths)) {
    const match = pathPattern.exec(path);
    if (!match || path.includes("/watch/") || offByDefault.test(match[2]!)) continue;
    const [, group = "", version, namespaced, plural, , subresource] = match;
    const key = `${group}/${version}/${plural}`;
    const entry = served.get(key) ?? { verbs: new Set(), subresources: new Set(), namespaced: false, kind: "" };
    served.set(key, entry);
    if (namespaced) entry.namespaced = true;
    if (subresource) entry.subresources.add(subresource);
    else addVerbs(entry, item);
  }
  return served;
}

function addVerbs(entry: Served, item: Record<string, any>): void {
  const names: Record<string, string> = { post: "create", put: "update" };
  for (const operation of Object.values(item)) {
    const action: string | undefined = operation["x-kubernetes-action"];
    if (!action) continue;
    entry.verbs.add(names[action] ?? action);
    entry.kind = operation["x-kubernetes-group-version-kind"].kind;
  }
}

const keyOf = (row: ResourceDef) => `${row.group}/${row.version}/${row.plural}`;

describe("the resource tables", () => {
  it.skipIf(!present)("serve every resource, verb and subresource of upstream's document", () => {
    const upstream = servedUpstream();
    expect(builtinResources.map(keyOf).sort()).toEqual([...upstream.keys()].sort());
    for (const row of builtinResources) {
      const want = upstream.get(keyOf(row))!;
      expect(
        {
          kind: row.kind, namespaced: row.namespaced, subresources: [...(row.subresources ?? [])].sort(),
          verbs: row.verbs.filter((verb) => verb !== "watch").sort(),
        },
        keyOf(row),
      ).toEqual({
        kind: want.kind, namespaced: want.namespaced, subresources: [...want.subresources].sort(), verbs: [...want.verbs].sort(),
      });
    }
  });

  it("have no name twice", () => {
    const names = builtinResources.map(keyOf);
    expect(new Set(names).size).toBe(names.length);
  });

  it("store shared resources in a row that exists", () => {
    for (const { storedAs } of builtinResources) {
      if (storedAs) expect(builtinResources.map(keyOf)).toContain(`${storedAs.group}/${storedAs.version}/${storedAs.plural}`);
    }
  });

  it("watch whatever they list from the store", () => {
    for (const row of builtinResources) expect(row.verbs.includes("watch"), keyOf(row)).toBe(row.verbs.includes("list") && !row.virtual);
  });
});
