/**
 * Writes the report of who may do what: every default plugin, by its manifest, and everybody whom the bootstrap roles name.
 * `node test/attacks/rights.ts` writes it; a test fails when it is stale, so that no right is added unseen.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pluginAccount, type UserInfo } from "@k3s-p/plugin-api/slots";
import { defaultPlugins } from "../../core/src/defaults.ts";
import { bootstrapRbacObjects } from "../../plugins/apiserver/src/auth/bootstrap-roles.ts";
import { createAuthorizer } from "../../plugins/apiserver/src/auth/rbac.ts";
import type { AccessAttributes, PolicyRule } from "../../plugins/apiserver/src/auth/rules.ts";
import { testView } from "../../plugins/apiserver/src/auth/testing.ts";

export interface Holder {
  /** Plugin, or how RBAC names the subject. */
  readonly title: string;
  readonly user: UserInfo;
  readonly rules: readonly PolicyRule[];
  /** What stands for rules. */
  readonly note?: string;
}

const root = join(import.meta.dirname, "../..");
export const reportPath = join(import.meta.dirname, "rights-report.md");
const everything: readonly PolicyRule[] = [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }, { verbs: ["*"], nonResourceURLs: ["*"] }];

interface ManifestRule {
  readonly groups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

export const pluginHolders = (): Holder[] => [...defaultPlugins].sort().map((id) => {
  const { k3sp } = JSON.parse(readFileSync(join(root, "plugins", id, "package.json"), "utf8")) as { k3sp: { permissions?: { kube?: "admin" | "node" | readonly ManifestRule[] } } };
  const kube = k3sp.permissions?.kube ?? [];
  const account: UserInfo = { name: pluginAccount(id).user, groups: ["system:authenticated"] };
  if (kube === "node") return { title: id, user: { name: "system:node:n1", groups: ["system:nodes", "system:authenticated"] }, rules: [], note: "as its node: what the node authorizer and NodeRestriction leave of the ClusterRole `system:node`" };
  if (kube === "admin") return { title: id, user: account, rules: everything };
  return { title: id, user: account, rules: kube.map(({ groups, resources, verbs }) => ({ verbs, apiGroups: groups, resources })) };
});

/** Everybody whom a bootstrap binding names, with all that is bound to them. */
export function bootstrapHolders(): Holder[] {
  const view = testView(...bootstrapRbacObjects());
  const authorizer = createAuthorizer(view, () => 1);
  const bindings = [...view.list("rbac.authorization.k8s.io", "clusterrolebindings"), ...view.list("rbac.authorization.k8s.io", "rolebindings")];
  const subjects = bindings.flatMap((binding) => (binding.subjects ?? []) as { kind: string; name: string; namespace?: string }[]);
  const names = [...new Set(subjects.map(({ kind, name, namespace }) => `${kind} ${namespace ? `${namespace}/` : ""}${name}`))].sort();
  return names.map((title) => {
    const [kind = "", name = ""] = title.split(" ");
    const user: UserInfo = kind === "Group" ? { name: "someone", groups: [name] }
      : { name: kind === "User" ? name : `system:serviceaccount:${name.replace("/", ":")}`, groups: [] };
    const rules = ["", "kube-system", "kube-public"].flatMap((namespace) => authorizer.rulesFor(user, namespace).map((rule) => (namespace ? { ...rule, namespace } : rule)));
    return { title, user, rules: unique(rules) };
  });
}

const unique = (rules: readonly PolicyRule[]): PolicyRule[] => {
  const cluster = new Set(rules.filter((rule) => !("namespace" in rule)).map((rule) => JSON.stringify(rule)));
  return rules.filter((rule) => !("namespace" in rule) || !cluster.has(JSON.stringify({ ...rule, namespace: undefined })));
};

/** What nobody should have without a reason. */
const sensitive: readonly [label: string, asked: Partial<AccessAttributes>][] = [
  ["read secrets", { verb: "get", resource: "secrets" }],
  ["make pods", { verb: "create", resource: "pods" }],
  ["exec into pods", { verb: "create", resource: "pods", subresource: "exec" }],
  ["make tokens", { verb: "create", resource: "serviceaccounts", subresource: "token" }],
  ["delete namespaces", { verb: "delete", resource: "namespaces" }],
  ["proxy to nodes", { verb: "get", resource: "nodes", subresource: "proxy" }],
  ["write roles", { verb: "update", group: "rbac.authorization.k8s.io", resource: "clusterroles" }],
  ["escalate", { verb: "escalate", group: "rbac.authorization.k8s.io", resource: "clusterroles" }],
  ["bind", { verb: "bind", group: "rbac.authorization.k8s.io", resource: "clusterroles" }],
  ["impersonate", { verb: "impersonate", resource: "users" }],
  ["sign certificates", { verb: "sign", group: "certificates.k8s.io", resource: "signers" }],
  ["write webhooks", { verb: "create", group: "admissionregistration.k8s.io", resource: "mutatingwebhookconfigurations" }],
];

/** Answers as the server does for what a holder may do in the namespace `web`. */
export function mayHolder({ user, rules }: Holder): (asked: Partial<AccessAttributes>) => boolean {
  const clusterWide = rules.filter((rule) => !("namespace" in rule));
  const authorizer = createAuthorizer(testView(), () => 1, (name) => (name === user.name ? clusterWide : []));
  return (asked) => authorizer.authorize(user, { isResource: true, verb: "", path: "", group: "", resource: "", subresource: "", namespace: "web", name: "x", ...asked }).allowed;
}

function sensitiveTable(holders: readonly Holder[]): string[] {
  const rows = holders.map((holder) => ({ title: holder.title, may: sensitive.map(([, asked]) => mayHolder(holder)(asked)) })).filter(({ may }) => may.includes(true));
  return [
    `| | ${sensitive.map(([label]) => label).join(" | ")} |`, `|---|${sensitive.map(() => ":-:").join("|")}|`,
    ...rows.map(({ title, may }) => `| ${title} | ${may.map((yes) => (yes ? "yes" : "")).join(" | ")} |`),
  ];
}

/** `get,list  pods, deployments.apps` for each set of verbs. */
function linesOf(rules: readonly PolicyRule[]): string[] {
  const verbs = new Map<string, Set<string>>();
  for (const rule of rules) {
    const where = "namespace" in rule ? ` in ${(rule as { namespace: string }).namespace}` : "";
    const named = rule.resourceNames?.length ? ` =${rule.resourceNames.join("|")}` : "";
    const resources = (rule.resources ?? []).flatMap((resource) => (rule.apiGroups ?? []).map((group) => `${resource}${group && `.${group}`}${named}${where}`));
    for (const target of [...resources, ...(rule.nonResourceURLs ?? [])]) verbs.set(target, new Set([...(verbs.get(target) ?? []), ...rule.verbs]));
  }
  const byVerbs = Map.groupBy(verbs.keys(), (target) => [...verbs.get(target)!].sort().join(","));
  return [...byVerbs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([list, targets]) => `- ${list}: ${targets.sort().join(", ")}`);
}

const section = ({ title, user, rules, note }: Holder, isPlugin: boolean): string[] =>
  [`### ${title}`, "", ...(isPlugin ? [`\`${user.name}\``, ""] : []), ...(note ? [note] : rules.length > 0 ? linesOf(rules) : ["nothing"]), ""];

export function rightsReport(): string {
  const [plugins, others] = [pluginHolders(), bootstrapHolders()];
  return [
    "# Who may do what", "", "<!-- Written by test/attacks/rights.ts from the manifests and the bootstrap roles. -->", "",
    "A change here gives or takes rights. `system:masters` may do everything, and stands nowhere else.", "",
    "## Sensitive rights", "", ...sensitiveTable([...plugins, ...others]), "",
    "## Plugins", "", ...plugins.flatMap((holder) => section(holder, true)),
    "## Users, groups and ServiceAccounts of the bootstrap roles", "", ...others.flatMap((holder) => section(holder, false)),
  ].join("\n").trimEnd() + "\n";
}

if (import.meta.main) writeFileSync(reportPath, rightsReport());
