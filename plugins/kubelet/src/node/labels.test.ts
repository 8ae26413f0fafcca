import { expect, it } from "vitest";
import { checkNodeLabels } from "./labels.ts";

it.each([
  "node-role.kubernetes.io/worker", "kubernetes.io/role", "node-restriction.kubernetes.io/tier", "k8s.io/x", "x.k8s.io/y", "topology.kubernetes.io/rack",
])("a node does not give itself the label %s", (label) => {
  const refuse = () => checkNodeLabels({ tier: "edge", [label]: "yes" });
  expect(refuse).toThrow(`unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-label: [${label}]`);
  expect(refuse).toThrow(expect.objectContaining({
    code: "K3SP_FLAG_INVALID",
    detail: [expect.stringContaining("(kubelet.kubernetes.io, node.kubernetes.io)"), expect.stringContaining("topology.kubernetes.io/zone")],
    fix: expect.stringContaining(`kubectl label node NAME ${label}=yes`),
  }));
});

it("but those of its machine, those of the kubelet's own domains and those of nobody", () => {
  const labels = [
    "tier", "example.com/kubernetes.io", "notkubernetes.io/x", "topology.kubernetes.io/zone", "node.kubernetes.io/instance-type", "node.kubernetes.io/any", "gpu.node.kubernetes.io/a",
    "kubelet.kubernetes.io/x", "kubernetes.io/arch",
  ];
  expect(() => checkNodeLabels(Object.fromEntries(labels.map((label) => [label, ""])))).not.toThrow();
});
