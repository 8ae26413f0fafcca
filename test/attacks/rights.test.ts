/** Taking rights that are not one's own: by impersonation, by writing roles, by being a node. */
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { namespaces, pods, secrets, serviceAccounts } from "@k3s-p/plugin-api/kube";
import { startVictim, type Identity, type Victim } from "./kit.ts";

const RBAC = "/apis/rbac.authorization.k8s.io/v1";
const GROUP = "rbac.authorization.k8s.io";
let victim: Victim;
let root: Identity;
/** May impersonate the user jane, the group dev, the uid 7 and the extra `team: blue`, and nobody else. */
let actor: Identity;
/** Administers the namespace `web` by the ClusterRole `admin`. */
let ann: Identity;
let nobody: Identity;

beforeAll(async () => {
  victim = await startVictim();
  root = victim.certificate("client-ca", "root", ["system:masters"]);
  [actor, ann, nobody] = ["actor", "ann", "nobody"].map((name) => victim.certificate("client-ca", name)) as [Identity, Identity, Identity];
  await victim.cluster.kube.create(namespaces, { metadata: { name: "web" } });
  await allow("impersonator", "User", "actor", [
    { verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["jane"] },
    { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: ["dev"] },
    { verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: ["uids"], resourceNames: ["7"] },
    { verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: ["userextras/team"], resourceNames: ["blue"] },
  ]);
  await post(root, `${RBAC}/namespaces/web/rolebindings`, binding("ann", "ClusterRole", "admin", "User", "ann"));
});
afterAll(() => victim[Symbol.asyncDispose]());

const post = (who: Identity, path: string, body: object) => victim.send(who, "POST", path, body);
const binding = (name: string, kind: string, role: string, subjectKind: string, subject: string) => ({
  metadata: { name }, roleRef: { apiGroup: GROUP, kind, name: role }, subjects: [{ apiGroup: GROUP, kind: subjectKind, name: subject }],
});
async function allow(name: string, kind: string, subject: string, rules: readonly object[]): Promise<void> {
  expect((await post(root, `${RBAC}/clusterroles`, { metadata: { name }, rules })).status).toBe(201);
  expect((await post(root, `${RBAC}/clusterrolebindings`, binding(name, "ClusterRole", name, kind, subject))).status).toBe(201);
}

describe("impersonation", () => {
  const as = async (headers: Record<string, string | string[]>, who = actor) => {
    const { status, body } = await post({ ...who, headers }, "/apis/authentication.k8s.io/v1/selfsubjectreviews", { kind: "SelfSubjectReview", apiVersion: "authentication.k8s.io/v1" });
    return status === 201 ? body.status.userInfo : `${status} ${body.message}`;
  };
  it("what is allowed in each part is done", async () => {
    expect(await as({ "Impersonate-User": "jane", "Impersonate-Group": "dev", "Impersonate-Uid": "7", "Impersonate-Extra-Team": "blue" }))
      .toEqual({ username: "jane", uid: "7", groups: ["dev", "system:authenticated"], extra: { team: ["blue"] } });
  });
  const refusal = (what: string, group = "", resource = what.split(" ")[0]!.split(".")[0]!) =>
    `403 ${what} is forbidden: User "actor" cannot impersonate resource "${resource}" in API group "${group}" at the cluster scope`;
  it.each<[string, Record<string, string | string[]>, string]>([
    ["another user", { "Impersonate-User": "system:admin" }, refusal('users "system:admin"')],
    ["another group", { "Impersonate-User": "jane", "Impersonate-Group": "system:masters" }, refusal('groups "system:masters"')],
    ["one group too many", { "Impersonate-User": "jane", "Impersonate-Group": ["dev", "system:masters"] }, refusal('groups "system:masters"')],
    ["two groups in one header", { "Impersonate-User": "jane", "Impersonate-Group": "dev, system:masters" }, refusal('groups "system:masters"')],
    ["another uid", { "Impersonate-User": "jane", "Impersonate-Uid": "8" }, refusal('uids.authentication.k8s.io "8"', "authentication.k8s.io")],
    ["another value of the extra", { "Impersonate-User": "jane", "Impersonate-Extra-Team": "red" }, refusal('userextras.authentication.k8s.io "red"', "authentication.k8s.io", "userextras/team")],
    ["another extra", { "Impersonate-User": "jane", "Impersonate-Extra-Scopes": "blue" }, refusal('userextras.authentication.k8s.io "blue"', "authentication.k8s.io", "userextras/scopes")],
  ])("%s is refused", async (_, headers, message) => {
    expect(await as(headers)).toBe(message);
  });
  it("a ServiceAccount and a node are users too", async () => {
    expect(await as({ "Impersonate-User": "system:serviceaccount:kube-system:default" }))
      .toBe('403 serviceaccounts "default" is forbidden: User "actor" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "kube-system"');
    expect(await as({ "Impersonate-User": "system:node:n1", "Impersonate-Group": "system:nodes" })).toMatch(/^403 users "system:node:n1" is forbidden/);
  });
  it("groups without a user are no identity", async () => {
    expect(await as({ "Impersonate-Group": "system:masters" })).toMatch(/^500 .*without impersonating a user$/);
  });
  it("one who is impersonated may not impersonate in turn, and has no rights of the impersonator", async () => {
    const { status } = await victim.send({ ...root, headers: { "Impersonate-User": "nobody" } }, "GET", "/api/v1/secrets");
    expect(status).toBe(403);
  });
});

describe("escalation", () => {
  const role = (rules: readonly object[], name = "r") => ({ metadata: { name }, rules });
  const write = async (who: Identity, path: string, body: object) => {
    const { status, body: answer } = await post(who, path, body);
    return status === 201 ? "done" : `${status} ${answer.message}`;
  };
  it("an administrator of a namespace gives there what is his", async () => {
    expect(await write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["get"], apiGroups: [""], resources: ["pods"] }]))).toBe("done");
    expect(await write(ann, `${RBAC}/namespaces/web/rolebindings`, binding("edits", "ClusterRole", "edit", "User", "jane"))).toBe("done");
  });
  const escalates = /^403 .*is forbidden: user "ann" \(groups=\["system:authenticated"\]\) is attempting to grant RBAC permissions not currently held:\n/;
  it.each<[string, () => Promise<string>, RegExp]>([
    ["a role with rights on nodes", () => write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["get"], apiGroups: [""], resources: ["nodes"] }], "r1")), escalates],
    ["a role with every verb", () => write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["*"], apiGroups: [""], resources: ["secrets"] }], "r2")), escalates],
    ["a role with every resource", () => write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["get"], apiGroups: ["*"], resources: ["*"] }], "r3")), escalates],
    ["a role to impersonate", () => write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["impersonate"], apiGroups: [""], resources: ["users"] }], "r4")), escalates],
    ["a role to escalate", () => write(ann, `${RBAC}/namespaces/web/roles`, role([{ verbs: ["escalate", "bind"], apiGroups: [GROUP], resources: ["roles"] }], "r5")), escalates],
    ["cluster-admin in the namespace", () => write(ann, `${RBAC}/namespaces/web/rolebindings`, binding("b1", "ClusterRole", "cluster-admin", "User", "ann")), escalates],
    ["a role that does not exist yet", () => write(ann, `${RBAC}/namespaces/web/rolebindings`, binding("b2", "ClusterRole", "later", "User", "ann")), /^404 .*"later" not found$/],
    ["a binding in another namespace", () => write(ann, `${RBAC}/namespaces/default/rolebindings`, binding("b3", "ClusterRole", "edit", "User", "ann")), /^403 rolebindings.* cannot create resource "rolebindings"/],
    ["a binding for the cluster", () => write(ann, `${RBAC}/clusterrolebindings`, binding("b4", "ClusterRole", "admin", "User", "ann")), /^403 clusterrolebindings.* cannot create resource/],
    ["a ClusterRole that aggregates", () => write(ann, `${RBAC}/clusterroles`, { metadata: { name: "c1" }, aggregationRule: { clusterRoleSelectors: [{}] } }), /^403 /],
    ["a ClusterRole that others aggregate", () => write(ann, `${RBAC}/clusterroles`, { ...role([], "c2"), metadata: { name: "c2", labels: { "rbac.authorization.k8s.io/aggregate-to-admin": "true" } } }), /^403 /],
  ])("%s is refused", async (_, attempt, message) => {
    expect(await attempt()).toMatch(message);
  });
  it("a role that is harmless when it is made stays so: patches and puts are held to the same", async () => {
    const path = `${RBAC}/namespaces/web/roles/r`;
    const rules = [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }];
    const patch = await victim.send({ ...ann, headers: { "content-type": "application/merge-patch+json" } }, "PATCH", path, JSON.stringify({ rules }));
    const json = await victim.send({ ...ann, headers: { "content-type": "application/json-patch+json" } }, "PATCH", path, JSON.stringify([{ op: "add", path: "/rules/-", value: rules[0] }]));
    const apply = await victim.send({ ...ann, headers: { "content-type": "application/apply-patch+yaml" } }, "PATCH", `${path}?fieldManager=x&force=true`, JSON.stringify({ apiVersion: `${GROUP}/v1`, kind: "Role", metadata: { name: "r" }, rules }));
    const put = await victim.send(ann, "PUT", path, { metadata: { name: "r" }, rules });
    for (const { status, body } of [patch, json, apply, put]) expect(`${status} ${body.message}`).toMatch(escalates);
    const collection = await victim.send({ ...ann, headers: { "content-type": "application/apply-patch+yaml" } }, "PATCH", `${RBAC}/namespaces/web/roles/fresh?fieldManager=x`, JSON.stringify({ apiVersion: `${GROUP}/v1`, kind: "Role", metadata: { name: "fresh" }, rules }));
    expect(`${collection.status} ${collection.body.message}`).toMatch(escalates);
  });
  it("who may read secrets of his namespace reads none of others, by whatever way", async () => {
    for (const path of ["/api/v1/secrets", "/api/v1/namespaces/kube-system/secrets", "/api/v1/namespaces/default/secrets?watch=1", "/api/v1/watch/secrets", "/api/v1/secrets?fieldSelector=metadata.namespace%3Dweb"]) {
      expect([path, (await victim.send(ann, "GET", path)).status]).toEqual([path, 403]);
    }
  });
  it("a token of a stronger account needs the right on that account", async () => {
    await victim.cluster.kube.create(serviceAccounts, { metadata: { name: "strong", namespace: "kube-system" } });
    expect(await write(ann, "/api/v1/namespaces/kube-system/serviceaccounts/strong/token", { spec: {} })).toMatch(/^403 serviceaccounts "strong" is forbidden: User "ann" cannot create resource "serviceaccounts\/token"/);
  });
});

describe("a node", () => {
  const node = (name: string) => victim.certificate("client-ca", `system:node:${name}`, ["system:nodes"]);
  beforeAll(async () => {
    const { kube } = victim.cluster;
    for (const name of ["own", "others", "unused"]) await kube.create(secrets, { metadata: { name, namespace: "web" } });
    for (const name of ["n1", "n2"]) await kube.request("POST", "/api/v1/nodes", { metadata: { name } });
    const pod = (name: string, nodeName: string, secret: string) => kube.create(pods, {
      metadata: { name, namespace: "web" },
      spec: { nodeName, automountServiceAccountToken: false, serviceAccountName: "runner", containers: [{ name: "c", image: "i", envFrom: [{ secretRef: { name: secret } }] }] },
    });
    await kube.create(serviceAccounts, { metadata: { name: "runner", namespace: "web" } });
    await pod("a", "n1", "own");
    await pod("b", "n2", "others");
  });
  test.each<[string, string, string, number, object?]>([
    ["reads a secret of its pods", "GET", "/api/v1/namespaces/web/secrets/own", 200],
    ["reads no secret of another node's pods", "GET", "/api/v1/namespaces/web/secrets/others", 403],
    ["reads no secret that no pod uses", "GET", "/api/v1/namespaces/web/secrets/unused", 403],
    ["watches one secret of its pods", "GET", "/api/v1/namespaces/web/secrets?fieldSelector=metadata.name%3Down&limit=1", 200],
    ["lists no secrets", "GET", "/api/v1/namespaces/web/secrets", 403],
    ["lists no secrets by a selector of its own making", "GET", "/api/v1/namespaces/web/secrets?fieldSelector=metadata.name%21%3Dx", 403],
    ["deletes no other node's pod", "DELETE", "/api/v1/namespaces/web/pods/b", 403],
    ["makes no pod that is not its mirror", "POST", "/api/v1/namespaces/web/pods", 403, { metadata: { name: "x" }, spec: { nodeName: "n1", containers: [{ name: "c", image: "i" }] } }],
    ["mirrors no pod that reads secrets", "POST", "/api/v1/namespaces/web/pods", 403, {
      metadata: { name: "x", annotations: { "kubernetes.io/config.mirror": "1" } },
      spec: { nodeName: "n1", containers: [{ name: "c", image: "i", envFrom: [{ secretRef: { name: "others" } }] }] },
    }],
    ["binds no pod", "POST", "/api/v1/namespaces/web/pods/b/binding", 403, { target: { name: "n1" } }],
    ["execs nowhere", "POST", "/api/v1/namespaces/web/pods/b/exec?command=id", 403],
    ["gets no token that is not bound to a pod", "POST", "/api/v1/namespaces/web/serviceaccounts/runner/token", 403, { spec: {} }],
    ["gets no token of a stronger account", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/clusterrole-aggregation-controller/token", 403, { spec: {} }],
    ["makes itself no other role", "PATCH", "/api/v1/nodes/n1", 403, { metadata: { labels: { "node-role.kubernetes.io/control-plane": "" } } }],
    ["labels no other node", "PATCH", "/api/v1/nodes/n2", 403, { metadata: { labels: { tier: "x" } } }],
    ["labels itself", "PATCH", "/api/v1/nodes/n1", 200, { metadata: { labels: { tier: "edge" } } }],
    ["becomes no administrator", "POST", `${RBAC}/clusterrolebindings`, 403, binding("n", "ClusterRole", "cluster-admin", "Group", "system:nodes")],
  ])("%s", async (_, method, path, status, body) => {
    const headers = method === "PATCH" ? { "content-type": "application/merge-patch+json" } : undefined;
    const answer = await victim.send({ ...node("n1"), ...(headers && { headers }) }, method, path, headers ? JSON.stringify(body) : body);
    expect([answer.status, answer.body?.message]).toEqual([status, status === 403 ? expect.any(String) : undefined]);
  });
  test("another who calls himself a node without the group is none", async () => {
    const { status } = await victim.send(victim.certificate("client-ca", "system:node:n1"), "GET", "/api/v1/namespaces/web/secrets/own");
    expect(status).toBe(403);
  });
});

test("who has no rights can do nothing but discover, and ask about himself", async () => {
  const allowed = ["/api", "/apis", "/version", "/healthz", "/livez", "/readyz", "/openapi/v2"];
  for (const path of allowed) expect([path, (await victim.send(nobody, "GET", path)).status]).toEqual([path, 200]);
  for (const path of ["/metrics", "/", "/logs", "/debug/pprof", "/api/v1/namespaces", "/api/v1/nodes", "/apis/apps/v1/deployments"]) {
    expect([path, (await victim.send(nobody, "GET", path)).status]).toEqual([path, 403]);
  }
});
