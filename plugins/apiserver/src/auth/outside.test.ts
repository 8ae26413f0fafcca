import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AccessAuthorizer, Authenticator } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { createAuthenticator } from "./authenticate.ts";
import { createAccessMetrics, nobodyOutside, type Outside, type AccessMetrics, seldom, withOutside } from "./outside.ts";
import { createAuthorizer } from "./rbac.ts";
import { testView } from "./testing.ts";
import type { AccessAttributes } from "./rules.ts";
import type { TokenKeys } from "./tokens.ts";

let warnings: string[];
let metrics: AccessMetrics;
beforeEach(() => {
  vi.useFakeTimers();
  warnings = [];
  metrics = createAccessMetrics();
});
afterEach(() => vi.useRealTimers());

const outside = (more: Partial<Outside>): Outside => ({ ...nobodyOutside, warn: (source, message) => void warnings.push(`${source}: ${message}`), ...more });
const never = (): Promise<never> => new Promise(() => {});
const jane: UserInfo = { name: "jane", groups: ["dev", "system:authenticated"] };
const ask: AccessAttributes = { isResource: true, verb: "get", path: "", group: "", resource: "pods", subresource: "", namespace: "ns", name: "p" };

describe("contributed authenticators", () => {
  const tokens = { read: () => undefined, audiences: ["api"], issuers: [] } as unknown as TokenKeys;
  const start = (...list: Authenticator["authenticate"][]) => createAuthenticator({
    view: testView(), tokens, authorizer: createAuthorizer(testView()), metrics,
    outside: outside({ authenticators: () => list.map((authenticate, i) => ({ plugin: "p", impl: { name: `a${i}`, authenticate } })) }),
  });

  it("are asked in order, with what they need to know", async () => {
    const seen: unknown[] = [];
    const authenticate = start((request) => void seen.push(request), () => ({ name: "joe", groups: ["g"] }), () => ({ name: "late", groups: [] }));
    const headers = { authorization: "Bearer abc", "x-key": "1" };
    expect(await authenticate({ method: "GET", url: "/x", remoteAddress: "10.0.0.1", headers })).toEqual({ name: "joe", groups: ["g", "system:authenticated"] });
    expect(seen).toEqual([{ method: "GET", url: "/x", headers, token: "abc", remoteAddress: "10.0.0.1" }]);
    expect(metrics.render()).toMatch(/apiserver_authentication_attempts_total\{name="p\/a0",result="failure"\} 1\n.*name="p\/a1",result="success"\} 1/);
  });
  it("one that throws, hangs or answers nonsense is passed over, and told of", async () => {
    const authenticate = start(() => { throw new Error("broken"); }, never, () => ({ groups: ["system:masters"] }) as never, () => ({ name: "joe", groups: [] }));
    const answer = authenticate({ headers: {} });
    await vi.advanceTimersByTimeAsync(5000);
    expect((await answer)?.name).toBe("joe");
    expect(warnings).toEqual(["authenticator p/a0: broken", "authenticator p/a1: no answer within 5000 ms", "authenticator p/a2: the answer is no user: it lacks a name or groups"]);
    expect(vi.getTimerCount()).toBe(0);
  });
  it("are not asked about those who are known, and nobody is asked when there are none", () => {
    const none = vi.fn(() => undefined);
    expect(start(none)({ peerCertificate: { subject: { CN: "root", O: "system:masters" } }, headers: {} })).toMatchObject({ name: "root" });
    expect(none).not.toHaveBeenCalled();
    expect(start()({ headers: {} })).toBeUndefined();
  });
  it("impersonation is judged for the user whom they name", async () => {
    const authenticate = start(() => ({ name: "joe", groups: [] }));
    await expect(authenticate({ headers: { "impersonate-user": "root" } })).rejects.toThrow('users "root" is forbidden: User "joe" cannot impersonate');
  });
});

it("what fails often is told seldom, and how often", () => {
  const lines: string[] = [];
  let now = 0;
  const warn = seldom((line) => void lines.push(line), () => now);
  for (now = 0; now < 10_000; now += 1000) warn("a", `failure ${now}`);
  warn("b", "other");
  warn("a", "again");
  expect(lines).toEqual(["a: failure 0", "b: other", "a: again (and 9 more before)"]);
});

describe("contributed authorizers", () => {
  const start = (list: readonly Partial<AccessAuthorizer>[], webhooks = nobodyOutside.webhooks()) => withOutside(createAuthorizer(testView()), outside({
    webhooks: () => webhooks, authorizers: () => list.map((impl, i) => ({ plugin: "p", impl: { name: `z${i}`, authorize: () => undefined, ...impl } })),
  }), metrics);

  it("the first that decides decides, before RBAC", async () => {
    const order: string[] = [];
    const authorizer = start([
      { authorize: () => void order.push("first") }, { authorize: () => (order.push("second"), { decision: "allow", reason: "because" }) },
      { authorize: () => (order.push("third"), { decision: "deny" }) },
    ]);
    expect(await authorizer.decide(jane, ask)).toEqual({ allowed: true, denied: false, reason: "because" });
    expect(order).toEqual(["first", "second"]);
    expect(metrics.render()).toMatch(/apiserver_authorization_decisions_total\{name="p\/z0",decision="no-opinion"\} 1\n.*name="p\/z1",decision="allowed"\} 1/);
  });
  it.each<[string, Partial<AccessAuthorizer>]>([
    ["throws", { authorize: () => { throw new Error("broken"); } }], ["rejects", { authorize: () => Promise.reject(new Error("broken")) }],
    ["hangs", { authorize: never }], ["answers nonsense", { authorize: () => ({ decision: "maybe" }) as never }],
  ])("one that %s denies, unless it is to have no opinion then", async (_, impl) => {
    const denied = start([impl]).decide(jane, ask);
    await vi.advanceTimersByTimeAsync(5000);
    expect(await denied).toEqual({ allowed: false, denied: true, reason: 'authorizer "p/z0" failed' });
    const passed = start([{ ...impl, failurePolicy: "NoOpinion" }, { authorize: () => ({ decision: "allow" }) }]).decide(jane, ask);
    await vi.advanceTimersByTimeAsync(5000);
    expect((await passed).allowed).toBe(true);
    expect(warnings).toHaveLength(2);
  });
  it("superusers are not asked about, and without any nothing is a promise", () => {
    const authorize = vi.fn(() => ({ decision: "deny" as const }));
    expect(start([{ authorize }]).decide({ name: "root", groups: ["system:masters"] }, ask)).toMatchObject({ allowed: true });
    expect(authorize).not.toHaveBeenCalled();
    expect(start([]).decide(jane, ask)).toMatchObject({ allowed: false });
  });
  it("a webhook after RBAC is asked only about what RBAC does not allow", async () => {
    const authorize = vi.fn(() => ({ decision: "allow" as const }));
    const own = { ...createAuthorizer(testView()), authorize: () => ({ allowed: true, reason: "RBAC" }) };
    const after = { before: [], after: [{ name: "w", authorize }] };
    expect(await withOutside(own, outside({ webhooks: () => after }), metrics).decide(jane, ask)).toMatchObject({ reason: "RBAC" });
    expect(authorize).not.toHaveBeenCalled();
    expect(await start([], after).decide(jane, ask)).toMatchObject({ allowed: true });
  });
  it("a refusal says why", async () => {
    await expect(start([{ authorize: () => ({ decision: "deny", reason: "not on Sundays" }) }]).check(jane, ask))
      .rejects.toThrow('pods "p" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "ns": not on Sundays');
  });
});
