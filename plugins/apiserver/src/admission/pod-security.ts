/** PodSecurity: the Pod Security Standards that a namespace's labels ask for (https://kubernetes.io/docs/concepts/security/pod-security-standards). */
import { type FieldError, invalid } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse, resourceOf, toPlugin } from "./common.ts";
import { type Finding, violations } from "./pod-security-checks.ts";
import {
  defaultPodSecurity, isLevel, isVersion, levels, type Mode, modes, type PodSecurityConfig, type Policy, type Standard,
} from "./pod-security-config.ts";

const PREFIX = "pod-security.kubernetes.io/";

export function podSecurity({ view }: Pick<AdmissionDeps, "view">, config: PodSecurityConfig = defaultPodSecurity): AdmissionPlugin[] {
  const policyFor = (request: AdmissionRequest): ReturnType<typeof policyOf> | undefined => {
    const { namespaces, usernames } = config.exemptions;
    const exempt = namespaces.has(request.namespace) ? "namespace" : usernames.has(request.user.name) ? "user" : undefined;
    if (exempt) return void request.annotate?.(`${PREFIX}exempt`, exempt);
    return policyOf(view.get("", "namespaces", request.namespace)?.metadata?.labels, config.defaults);
  };
  return [
    toPlugin({
      name: "PodSecurity", resources: ["pods"], operations: ["CREATE", "UPDATE"], subresources: ["", "ephemeralcontainers"],
      validate(pod, request) {
        const found = policyFor(request);
        if (!found || (modes.every((mode) => found.policy[mode].level === "privileged") && found.errors.length === 0)) return;
        if (request.operation === "UPDATE" && !isSignificant(pod, request.oldObject as Obj)) return;
        judge({ request, pod, ...found, exempt: config.exemptions.runtimeClasses }, true);
      },
    }),
    toPlugin({
      name: "PodSecurity", resources: Object.keys(templates), operations: ["CREATE", "UPDATE"],
      validate(object, request) {
        const template = templates[resourceOf(request)]!(object);
        const found = template && policyFor(request);
        if (found && template.spec) judge({ request, pod: template, ...found, exempt: config.exemptions.runtimeClasses }, false);
      },
    }),
    toPlugin({
      name: "PodSecurity", resources: ["namespaces"], operations: ["CREATE", "UPDATE"],
      validate(namespace, request) {
        const now = policyOf(namespace.metadata?.labels, config.defaults);
        const old = request.oldObject && policyOf(request.oldObject.metadata?.labels, config.defaults);
        if (now.errors.length > 0 && JSON.stringify(now.errors) !== JSON.stringify(old?.errors)) throw invalid("", "Namespace", namespace.metadata!.name!, now.errors);
        if (!old || !isTighter(now.policy.enforce, old.policy.enforce) || config.exemptions.namespaces.has(request.name)) return;
        const pods = view.list("", "pods", namespace.metadata!.name).filter((pod) => !config.exemptions.runtimeClasses.has(pod.spec.runtimeClassName));
        request.warn?.(warningsOf(namespace.metadata!.name!, now.policy.enforce, pods));
      },
    }),
  ];
}

/** Where kinds that make pods keep the pod's template. */
const templates: Readonly<Record<string, (object: Obj) => Obj | undefined>> = {
  podtemplates: (object) => object["template"],
  replicationcontrollers: ({ spec }) => spec?.template,
  "cronjobs.batch": ({ spec }) => spec?.jobTemplate?.spec?.template,
  ...Object.fromEntries(["replicasets.apps", "deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch"]
    .map((resource) => [resource, ({ spec }: Obj) => spec?.template as Obj | undefined])),
};

interface Wanted {
  readonly policy: Policy;
  readonly errors: readonly FieldError[];
}

const noLabels = Object.freeze({});
/** Labels in the cache never change: a namespace's are read once. */
const read = new WeakMap<object, { readonly defaults: Policy; readonly wanted: Wanted }>();

function policyOf(labels: Readonly<Record<string, string>> = noLabels, defaults: Policy): Wanted {
  const known = read.get(labels);
  if (known?.defaults === defaults) return known.wanted;
  const wanted = readPolicy(labels, defaults);
  if (Object.isFrozen(labels)) read.set(labels, { defaults, wanted });
  return wanted;
}

/** What cannot be understood is enforced at its strictest; warnings and audit then stay away. */
function readPolicy(labels: Readonly<Record<string, string>>, defaults: Policy): Wanted {
  const errors: FieldError[] = [];
  const checked = (key: string, isValid: (text: string) => boolean, fallback: string, why: string): string | undefined => {
    const value = labels[PREFIX + key];
    if (value === undefined || isValid(value)) return value;
    errors.push({ type: "FieldValueInvalid", field: `metadata.labels[${PREFIX}${key}]`, message: `Invalid value: ${JSON.stringify(value)}: ${why}` });
    return fallback;
  };
  const entries = modes.map((mode) => {
    const level = checked(mode, isLevel, mode === "enforce" ? "restricted" : "privileged", `must be one of ${levels.join(", ")}`);
    const version = checked(`${mode}-version`, isVersion, "latest", 'must be "latest" or "v1.x"');
    return [mode, { level: level ?? defaults[mode].level, version: version ?? defaults[mode].version }] as const;
  });
  return { policy: Object.fromEntries(entries) as unknown as Policy, errors };
}

interface Case {
  readonly request: AdmissionRequest;
  readonly pod: Obj;
  readonly policy: Policy;
  readonly errors: readonly FieldError[];
  readonly exempt: ReadonlySet<string>;
}

function judge({ request, pod, policy, errors, exempt }: Case, enforces: boolean): void {
  const note = (key: string, value: string): void => request.annotate?.(PREFIX + key, value);
  if (exempt.has(pod.spec.runtimeClassName)) return note("exempt", "runtimeClass");
  if (errors.length > 0) note("error", `Failed to parse policy: ${errors.map(({ field, message }) => `${field}: ${message}`).join(", ")}`);
  const results = new Map<string, string>();
  const detail = (mode: Mode): string => {
    const name = nameOf(policy[mode]);
    if (!results.has(name)) results.set(name, describe(violationsOf(pod, policy[mode])));
    return results.get(name)!;
  };
  if (enforces) note("enforce-policy", nameOf(policy.enforce));
  const denied = enforces && detail("enforce");
  if (detail("audit")) note("audit-violations", `would violate PodSecurity "${nameOf(policy.audit)}": ${detail("audit")}`);
  if (denied) throw refuse(request, `violates PodSecurity "${nameOf(policy.enforce)}": ${denied}`);
  if (detail("warn")) request.warn?.([`would violate PodSecurity "${nameOf(policy.warn)}": ${detail("warn")}`]);
}

const nameOf = ({ level, version }: Standard): string => `${level}:${version}`;
const violationsOf = (pod: Obj, { level, version }: Standard): Finding[] =>
  violations(pod, level, version === "latest" ? Infinity : Number(version.slice("v1.".length)));
const describe = (findings: readonly Finding[]): string => findings.map(({ reason, detail }) => (detail ? `${reason} (${detail})` : reason)).join(", ");

/** Of what an update may change, only images matter, and containers that are added. */
function isSignificant(pod: Obj, old: Obj): boolean {
  const images = ({ spec }: Obj): string => JSON.stringify(["containers", "initContainers", "ephemeralContainers"].map((list) =>
    (spec[list] ?? []).map(({ name, image }: Obj) => [name, image])));
  return images(pod) !== images(old);
}

/** Then pods that are there may be against it. */
const isTighter = (now: Standard, old: Standard): boolean =>
  now.level !== "privileged" && (now.version === old.version ? levels.indexOf(now.level) > levels.indexOf(old.level) : true);

/** One line for all pods with the same violations, named after the first of them. */
function warningsOf(namespace: string, standard: Standard, pods: readonly Obj[]): string[] {
  const offenders = new Map<string, string[]>();
  for (const pod of pods) {
    const reasons = violationsOf(pod, standard).map(({ reason }) => reason).join(", ");
    if (reasons) offenders.set(reasons, [...(offenders.get(reasons) ?? []), pod.metadata!.name!]);
  }
  if (offenders.size === 0) return [];
  const lines = [...offenders].map(([reasons, names]) => {
    const [first, ...others] = names.sort();
    const more = others.length === 0 ? "" : ` (and ${others.length} other ${others.length === 1 ? "pod" : "pods"})`;
    return `${first}${more}: ${reasons}`;
  });
  return [`existing pods in namespace "${namespace}" violate the new PodSecurity enforce level "${nameOf(standard)}"`, ...lines.sort()];
}
