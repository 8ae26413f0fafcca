/** The labels that a node may give itself: of Kubernetes' own only those that describe the machine, as the API server takes no others from it. */
import { k3spError } from "@k3s-p/plugin-api";

type Labels = Readonly<Record<string, string>>;

const allowed: ReadonlySet<string> = new Set([
  "beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os",
  "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
  "kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
  "node.kubernetes.io/instance-type", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
]);
const allowedDomains = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/** Throws K3SP_FLAG_INVALID that names what is refused and what is allowed. */
export function checkNodeLabels(labels: Labels): void {
  const refused = Object.keys(labels).filter((label) => isIn(label, ["kubernetes.io", "k8s.io"]) && !allowed.has(label) && !isIn(label, allowedDomains)).sort();
  if (refused.length === 0) return;
  throw k3spError("K3SP_FLAG_INVALID", {
    message: `unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-label: [${refused.join(", ")}]`,
    detail: [
      `labels of 'kubernetes.io' must begin with an allowed prefix (${allowedDomains.join(", ")})`,
      `or be one of: ${[...allowed].join(", ")}`,
    ],
    fix: `leave them out, and set them from elsewhere: kubectl label node NAME ${refused[0]}=${labels[refused[0]!] ?? ""}`,
    plugin: "kubelet",
  });
}

const isIn = (label: string, domains: readonly string[]): boolean => {
  const domain = label.includes("/") ? label.slice(0, label.indexOf("/")) : "";
  return domains.some((one) => domain === one || domain.endsWith(`.${one}`));
};
