/** PodSecurity: the Pod Security Standards that a namespace's labels ask for (https://kubernetes.io/docs/concepts/security/pod-security-standards). */
import { badRequest } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse, toPlugin } from "./common.ts";
import { type Finding, type Level, violations } from "./pod-security-checks.ts";

const LABEL = "pod-security.kubernetes.io/enforce";
const levels: readonly string[] = ["privileged", "baseline", "restricted"];

export function podSecurity({ view }: Pick<AdmissionDeps, "view">): AdmissionPlugin[] {
  return [
    toPlugin({
      name: "PodSecurity", resources: ["pods"], operations: ["CREATE", "UPDATE"], subresources: ["", "ephemeralcontainers"],
      validate(pod, request) {
        const labels = view.get("", "namespaces", request.namespace)?.metadata?.labels ?? {};
        const level = labels[LABEL];
        if (!level || level === "privileged") return;
        const version = labels[`${LABEL}-version`] ?? "latest";
        // What cannot be understood is taken at its strictest, as upstream does.
        const effective = (levels.includes(level) ? level : "restricted") as Level;
        if (request.operation === "UPDATE" && !changesPolicy(pod, request.oldObject as Obj, request.subresource)) return;
        const findings = violations(pod, effective);
        if (findings.length > 0) {
          throw refuse(request, `violates PodSecurity "${effective}:${version}": ${findings.map(describe).join(", ")}`);
        }
      },
    }),
    toPlugin({
      name: "PodSecurityLabels", resources: ["namespaces"], operations: ["CREATE", "UPDATE"],
      validate(namespace) {
        for (const mode of ["enforce", "audit", "warn"]) checkLabels(namespace, mode);
      },
    }),
  ];
}

const describe = ({ reason, detail }: Finding): string => (detail ? `${reason} (${detail})` : reason);

/** Of what an update may change, only images of seccomp-exempt kinds and ephemeral containers matter. */
function changesPolicy(pod: Obj, old: Obj, subresource: string): boolean {
  if (subresource === "ephemeralcontainers") return true;
  const strip = (object: Obj) => JSON.stringify({ ...object.spec, tolerations: undefined, activeDeadlineSeconds: undefined, schedulingGates: undefined });
  return strip(pod) !== strip(old);
}

function checkLabels(namespace: Obj, mode: string): void {
  const key = `pod-security.kubernetes.io/${mode}`;
  const level = namespace.metadata?.labels?.[key];
  if (level !== undefined && !levels.includes(level)) {
    throw badRequest(`Namespace "${namespace.metadata!.name}" is invalid: metadata.labels[${key}]: Invalid value: "${level}": must be one of ${levels.join(", ")}`);
  }
}
