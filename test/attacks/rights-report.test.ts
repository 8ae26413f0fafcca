import { readFileSync } from "node:fs";
import { expect, it, test } from "vitest";
import type { AccessAttributes } from "../../plugins/apiserver/src/auth/rules.ts";
import { bootstrapHolders, mayHolder, pluginHolders, reportPath, rightsReport } from "./rights.ts";

test("nobody has more rights, or other ones, than the report says (node test/attacks/rights.ts writes it)", () => {
  expect(rightsReport()).toBe(readFileSync(reportPath, "utf8"));
});

test("no plugin is an administrator but those that apply whatever manifests and charts say", () => {
  const admins = pluginHolders().filter((holder) => mayHolder(holder)({ verb: "escalate", group: "x", resource: "y" })).map(({ title }) => title);
  expect(admins).toEqual(["deployer", "helm-controller"]);
});

const holders = [...pluginHolders(), ...bootstrapHolders()];
const ask = (verb: string, target: string): Partial<AccessAttributes> => {
  const [path = "", group = ""] = target.split(".", 2).length > 1 ? [target.slice(0, target.indexOf(".")), target.slice(target.indexOf(".") + 1)] : [target];
  const [resource = "", subresource = ""] = path.split("/");
  return { verb, group, resource, subresource };
};

it.each<[string, string, string, boolean]>([
  ["coredns", "watch", "services", true], ["coredns", "get", "secrets", false], ["coredns", "delete", "pods", false],
  ["traefik", "watch", "ingresses.networking.k8s.io", true], ["traefik", "list", "secrets", true], ["traefik", "create", "pods", false],
  ["scheduler", "create", "pods/binding", true], ["scheduler", "get", "secrets", false], ["scheduler", "create", "pods", false],
  ["kube-proxy", "watch", "services", true], ["kube-proxy", "get", "secrets", false], ["kube-proxy", "patch", "nodes", false],
  ["flannel", "watch", "nodes", true], ["flannel", "get", "pods", false],
  ["metrics-server", "get", "nodes", true], ["metrics-server", "get", "secrets", false],
  ["local-storage", "create", "persistentvolumes", true], ["local-storage", "get", "secrets", false],
  ["servicelb", "patch", "services/status", true], ["servicelb", "create", "pods", false],
  ["supervisor", "get", "secrets", true], ["supervisor", "list", "secrets", false], ["supervisor", "patch", "nodes", false],
  ["network-policy", "watch", "networkpolicies.networking.k8s.io", true], ["network-policy", "get", "secrets", false],
  ["controller-manager", "create", "pods", true], ["controller-manager", "impersonate", "users", false], ["controller-manager", "bind", "clusterroles.rbac.authorization.k8s.io", false],
  ["controller-manager", "create", "mutatingwebhookconfigurations.admissionregistration.k8s.io", false], ["controller-manager", "create", "pods/exec", false],
  ["Group system:authenticated", "get", "pods", false], ["Group system:authenticated", "create", "selfsubjectaccessreviews.authorization.k8s.io", true],
  ["Group system:serviceaccounts", "get", "secrets", false], ["Group system:bootstrappers", "get", "secrets", false],
  ["User system:kube-scheduler", "create", "pods/binding", true], ["User system:kube-scheduler", "get", "secrets", false],
  ["User system:kube-proxy", "watch", "services", true], ["User system:kube-proxy", "get", "pods", false],
  ["ServiceAccount kube-system/namespace-controller", "delete", "secrets", true], ["ServiceAccount kube-system/job-controller", "get", "secrets", false],
])("%s: %s %s is %s", (title, verb, target, allowed) => {
  const holder = holders.find((one) => one.title === title) ?? { title, user: { name: title, groups: [] }, rules: [] };
  expect(mayHolder(holder)(ask(verb, target))).toBe(allowed);
});
