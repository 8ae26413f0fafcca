/** Which taints a pod tolerates; shared by the plugins that look at taints. */
import type { Taint, Toleration } from "@k3s-p/plugin-api/kube";

export function tolerates(tolerations: readonly Toleration[] | undefined, taint: Taint): boolean {
  return tolerations?.some((t) => toleratesOne(t, taint)) ?? false;
}

/** An empty effect or key stands for all; `Exists` ignores the value. */
function toleratesOne(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect && toleration.effect !== taint.effect) return false;
  if (toleration.key && toleration.key !== taint.key) return false;
  if (toleration.operator === "Exists") return true;
  return Boolean(toleration.key) && (toleration.value ?? "") === (taint.value ?? "");
}
