import { describe, expect, test } from "vitest";
import { type Json, threeWayPatch } from "./diff.ts";

const cases: readonly { name: string; last?: Json; next: Json; current: Json; strategic?: boolean; patch: Json | undefined }[] = [
  { name: "no change", last: { a: 1 }, next: { a: 1 }, current: { a: 1, b: 2 }, patch: undefined },
  { name: "a changed field comes back, a user's own field stays", last: { a: 1 }, next: { a: 1 }, current: { a: 5, b: 2 }, patch: { a: 1 } },
  { name: "a field that left the manifest is deleted", last: { a: 1, old: 1 }, next: { a: 1 }, current: { a: 1, old: 1, mine: 1 }, patch: { old: null } },
  { name: "a field that left the manifest and the object", last: { a: 1, old: 1 }, next: { a: 1 }, current: { a: 1 }, patch: undefined },
  { name: "without a last configuration nothing is deleted", next: { a: 1 }, current: { b: 1 }, patch: { a: 1 } },
  {
    name: "keyed lists merge by name", strategic: true,
    last: { containers: [{ name: "a", image: "1" }, { name: "gone", image: "1" }] },
    next: { containers: [{ name: "a", image: "2" }, { name: "new", image: "1" }] },
    current: { containers: [{ name: "a", image: "1", imagePullPolicy: "Always" }, { name: "gone", image: "1" }, { name: "injected" }] },
    patch: { containers: [{ name: "a", image: "2" }, { name: "new", image: "1" }, { $patch: "delete", name: "gone" }] },
  },
  {
    name: "a list whose keys repeat is atomic, and the server's defaults are no difference", strategic: true,
    last: { ports: [{ name: "dns", port: 53, protocol: "UDP" }, { name: "dns-tcp", port: 53, protocol: "TCP" }] },
    next: { ports: [{ name: "dns", port: 53, protocol: "UDP" }, { name: "dns-tcp", port: 53, protocol: "TCP" }] },
    current: { ports: [{ name: "dns", port: 53, protocol: "UDP", targetPort: 53 }, { name: "dns-tcp", port: 53, protocol: "TCP", targetPort: 53 }] },
    patch: undefined,
  },
  {
    name: "an atomic list that the manifest changed is replaced",
    last: { rules: [{ verbs: ["get"], x: 1 }] }, next: { rules: [{ verbs: ["get"] }] }, current: { rules: [{ verbs: ["get"], x: 1 }] },
    patch: { rules: [{ verbs: ["get"] }] },
  },
  { name: "finalizers are a set", strategic: true, next: { finalizers: ["a"] }, current: { finalizers: ["b"] }, patch: { finalizers: ["a"] } },
  { name: "an empty list or object that is absent", next: { a: [], b: {} }, current: {}, patch: undefined },
];

describe("three-way patch", () => {
  test.each(cases)("$name", ({ last, next, current, strategic = false, patch }) => {
    expect(threeWayPatch({ last, next, current }, strategic)).toEqual(patch);
  });
});
