/** Versions and pages: what a list or a get answers to every combination of its options. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Body, useCluster } from "./api.ts";

const api = useCluster();
const path = "/api/v1/namespaces/default/configmaps";
const listPath = `${path}?labelSelector=list=yes`;
const names = (list: Body): string[] => list.items.map((item: Body) => item.metadata.name);
let before = "";
let now = "";

beforeAll(async () => {
  const make = (name: string) => api.post(path, { metadata: { name, labels: { list: "yes" } } });
  for (const name of ["a", "b"]) await make(name);
  before = (await api.get(path)).metadata.resourceVersion;
  await make("c");
  now = (await api.get(path)).metadata.resourceVersion;
});

/** `BEFORE`, `NOW` and `FUTURE` stand for versions. */
const versioned = (query: string): string => query.replace("BEFORE", before).replace("NOW", now).replace("FUTURE", String(Number(now) + 1000));

describe("a list", () => {
  test.each<[string, readonly string[]]>([
    ["", ["a", "b", "c"]],
    ["resourceVersion=0", ["a", "b", "c"]],
    ["resourceVersion=BEFORE", ["a", "b", "c"]],
    ["resourceVersion=NOW", ["a", "b", "c"]],
    ["resourceVersion=0&resourceVersionMatch=NotOlderThan", ["a", "b", "c"]],
    ["resourceVersion=BEFORE&resourceVersionMatch=NotOlderThan", ["a", "b", "c"]],
    ["resourceVersion=BEFORE&resourceVersionMatch=Exact", ["a", "b"]],
    ["resourceVersion=NOW&resourceVersionMatch=Exact", ["a", "b", "c"]],
    ["resourceVersion=BEFORE&resourceVersionMatch=Exact&limit=1", ["a"]],
    // With a limit a version is exact unless the match says otherwise.
    ["resourceVersion=BEFORE&limit=3", ["a", "b"]],
    ["resourceVersion=BEFORE&resourceVersionMatch=NotOlderThan&limit=3", ["a", "b", "c"]],
    ["limit=2", ["a", "b"]],
  ])("with %s has %j", async (query, wanted) => {
    const list = await api.get(`${listPath}&${versioned(query)}`);
    expect(names(list)).toEqual(wanted);
    expect(list.metadata.resourceVersion).toBe(/Exact|BEFORE&limit/.test(query) ? versioned(/NOW|BEFORE/.exec(query)![0]) : now);
  });

  test.concurrent.each<[string, number, string, string]>([
    ["resourceVersionMatch=Exact", 422, "Invalid", 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided'],
    ["resourceVersion=NOW&resourceVersionMatch=x", 422, "Invalid", 'resourceVersionMatch: Unsupported value: "x": supported values: "Exact", "NotOlderThan"'],
    ["resourceVersion=0&resourceVersionMatch=Exact", 422, "Invalid", 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'],
    ["resourceVersion=NOW&resourceVersionMatch=NotOlderThan&continue=x", 422, "Invalid", "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided"],
    ["sendInitialEvents=true", 422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"],
    ["watch=1&resourceVersion=NOW&resourceVersionMatch=NotOlderThan", 422, "Invalid", "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"],
    ["watch=1&sendInitialEvents=true", 422, "Invalid", "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"],
    ["continue=x", 400, "BadRequest", "continue key is not valid"],
    ["resourceVersion=FUTURE", 504, "Timeout", "Too large resource version: FUTURE, current: NOW"],
    ["resourceVersion=FUTURE&resourceVersionMatch=NotOlderThan", 504, "Timeout", "Too large resource version: FUTURE, current: NOW"],
    ["fieldSelector=spec.x=y", 400, "BadRequest", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'],
    ["limit=x", 400, "BadRequest", ""],
  ])("with %s is refused", async (query, status, reason, message) => {
    const answer = await api.call("GET", `${listPath}&${versioned(query)}`);
    expect([answer.status, answer.body.reason]).toEqual([status, reason]);
    expect(answer.body.message).toContain(versioned(message));
  });

  test("in pages is one snapshot, counts what remains, and ends without a token", async () => {
    const all = Array.from({ length: 10 }, (_, i) => `p${i}`);
    for (const name of all) await api.post("/api/v1/namespaces/kube-public/configmaps", { metadata: { name } });
    const pages: Body[] = [];
    for (let token = ""; pages.length === 0 || token; token = pages.at(-1).metadata.continue ?? "") {
      pages.push(await api.get(`/api/v1/namespaces/kube-public/configmaps?limit=4${token && `&continue=${encodeURIComponent(token)}`}`));
      // What is written between the pages is not in them.
      await api.call("DELETE", `/api/v1/namespaces/kube-public/configmaps/p${9 - pages.length}`);
      await api.post("/api/v1/namespaces/kube-public/configmaps", { metadata: { name: `q${pages.length}` } });
    }
    expect(pages.flatMap(names).filter((name) => name.startsWith("p") || name.startsWith("q"))).toEqual(all);
    const [first] = pages;
    expect(pages.map(({ metadata }) => metadata.resourceVersion)).toEqual(pages.map(() => first.metadata.resourceVersion));
    const total = pages.flatMap(names).length;
    expect(pages.map(({ metadata }) => metadata.remainingItemCount)).toEqual(pages.map((_, i) => (i === pages.length - 1 ? undefined : total - 4 * (i + 1))));
    expect(pages.at(-1).metadata.continue).toBeUndefined();
  });
});

describe("a get", () => {
  test.each(["", "?resourceVersion=0", "?resourceVersion=NOW", "?resourceVersion=BEFORE"])("with %s has the newest state", async (query) => {
    expect((await api.get(`${path}/a${versioned(query)}`)).metadata.name).toBe("a");
  });

  test("of a version that is not there yet is told to wait", async () => {
    const { status, body, headers } = await api.call("GET", versioned(`${path}/a?resourceVersion=FUTURE`));
    expect([status, body.reason, headers["retry-after"]]).toEqual([504, "Timeout", "1"]);
    expect(body.details.causes).toEqual([{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }]);
  });
});

describe("the options of a write", () => {
  test.each<[string, string, string, string, Record<string, string>?]>([
    ["POST", "dryRun=x", "CreateOptions", 'dryRun: Unsupported value: "x": supported values: "All"'],
    ["POST", "fieldValidation=x", "CreateOptions", 'fieldValidation: Unsupported value: "x": supported values: "Ignore", "Strict", "Warn"'],
    ["POST", `fieldManager=${"x".repeat(129)}`, "CreateOptions", "fieldManager: Too long: may not be more than 128 bytes"],
    ["POST", "fieldManager=%07", "CreateOptions", 'fieldManager: Invalid value: "\\u0007": should only contain printable characters'],
    ["PUT", "dryRun=x", "UpdateOptions", "dryRun: Unsupported value"],
    ["DELETE", "dryRun=x", "DeleteOptions", "dryRun: Unsupported value"],
    ["DELETE", "propagationPolicy=x", "DeleteOptions", 'propagationPolicy: Unsupported value: "x"'],
    ["PATCH", "force=true", "PatchOptions", "force: Forbidden: may not be specified for non-apply patch", { "content-type": "application/merge-patch+json" }],
    ["PATCH", "", "PatchOptions", "fieldManager: Required value: is required for apply patch", { "content-type": "application/apply-patch+yaml" }],
  ])("%s with %s are refused", async (method, query, kind, message, headers = {}) => {
    const target = method === "POST" ? path : `${path}/a`;
    const { status, body } = await api.call(method, `${target}?${query}`, method === "DELETE" ? undefined : { apiVersion: "v1", kind: "ConfigMap", metadata: { name: method === "POST" ? "option" : "a" } }, headers);
    expect([status, body.reason, body.message]).toEqual([422, "Invalid", expect.stringContaining(`${kind}.meta.k8s.io "" is invalid: ${message}`)]);
  });
});
