/** The FlowSchemas and PriorityLevelConfigurations that every cluster has. */
import type { Obj } from "../resources/types.ts";

const GROUP = "flowcontrol.apiserver.k8s.io/v1";
export const AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec";
const ALL = ["*"];

const object = (kind: string, name: string, spec: object): Obj =>
  ({ apiVersion: GROUP, kind, metadata: { name, annotations: { [AUTOUPDATE]: "true" } }, spec });

/** Without `queues` what finds no seat is refused. */
const limited = (name: string, nominalConcurrencyShares: number, lendablePercent: number, queues?: number, handSize?: number): Obj =>
  object("PriorityLevelConfiguration", name, {
    type: "Limited",
    limited: {
      nominalConcurrencyShares, lendablePercent,
      limitResponse: queues ? { type: "Queue", queuing: { queues, handSize, queueLengthLimit: 50 } } : { type: "Reject" },
    },
  });

const exemptLevel = object("PriorityLevelConfiguration", "exempt", { type: "Exempt", exempt: { nominalConcurrencyShares: 0, lendablePercent: 0 } });
const catchAllLevel = limited("catch-all", 5, 0);

const user = (name: string): object => ({ kind: "User", user: { name } });
const group = (name: string): object => ({ kind: "Group", group: { name } });
const account = (name: string): object => ({ kind: "ServiceAccount", serviceAccount: { namespace: "kube-system", name } });
const everybody = [group("system:unauthenticated"), group("system:authenticated")];
const manager = user("system:kube-controller-manager");
const scheduler = user("system:kube-scheduler");

const everything = {
  resourceRules: [{ verbs: ALL, apiGroups: ALL, resources: ALL, clusterScope: true, namespaces: ALL }],
  nonResourceRules: [{ verbs: ALL, nonResourceURLs: ALL }],
};
const leaseElection = {
  resourceRules: [{ verbs: ["get", "create", "update"], apiGroups: ["coordination.k8s.io"], resources: ["leases"], namespaces: ALL }],
};
const endpointWrites = { resourceRules: [{ verbs: ["get", "create", "update"], apiGroups: [""], resources: ["endpoints"], namespaces: ALL }] };
const nodeState = {
  resourceRules: [
    { verbs: ALL, apiGroups: [""], resources: ["nodes", "nodes/status"], clusterScope: true, namespaces: ALL },
    { verbs: ALL, apiGroups: ["coordination.k8s.io"], resources: ["leases"], namespaces: ["kube-node-lease"] },
  ],
};
const probes = { nonResourceRules: [{ verbs: ["get"], nonResourceURLs: ["/healthz", "/readyz", "/livez"] }] };

const schema = (
  name: string, level: string, matchingPrecedence: number, distinguisher: "ByUser" | "ByNamespace" | undefined,
  subjects: readonly object[], rules: object,
): Obj => object("FlowSchema", name, {
  priorityLevelConfiguration: { name: level }, matchingPrecedence,
  ...(distinguisher && { distinguisherMethod: { type: distinguisher } }), rules: [{ subjects, ...rules }],
});

const exemptSchema = schema("exempt", "exempt", 1, undefined, [group("system:masters")], everything);
const catchAllSchema = schema("catch-all", "catch-all", 10_000, "ByUser", everybody, everything);

/** Those that always hold, whatever is stored. */
export const mandatory = { schemas: [exemptSchema, catchAllSchema], levels: [exemptLevel, catchAllLevel] };

export const defaultLevels: readonly Obj[] = [
  ...mandatory.levels,
  limited("system", 30, 33, 64, 6),
  limited("node-high", 40, 25, 64, 6),
  limited("leader-election", 10, 0, 16, 4),
  limited("workload-high", 40, 50, 128, 6),
  limited("workload-low", 100, 90, 128, 6),
  limited("global-default", 20, 50, 128, 6),
];

export const defaultSchemas: readonly Obj[] = [
  ...mandatory.schemas,
  schema("probes", "exempt", 2, undefined, everybody, probes),
  schema("system-leader-election", "leader-election", 100, "ByUser", [manager, scheduler, account("*")], leaseElection),
  schema("endpoint-controller", "workload-high", 150, "ByUser",
    [manager, account("endpoint-controller"), account("endpointslicemirroring-controller")], endpointWrites),
  schema("workload-leader-election", "leader-election", 200, "ByUser", [account("*")], leaseElection),
  schema("system-node-high", "node-high", 400, "ByUser", [group("system:nodes")], nodeState),
  schema("system-nodes", "system", 500, "ByUser", [group("system:nodes")], everything),
  schema("kube-controller-manager", "workload-high", 800, "ByNamespace", [manager], everything),
  schema("kube-scheduler", "workload-high", 800, "ByNamespace", [scheduler], everything),
  schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", [account("*")], everything),
  schema("service-accounts", "workload-low", 9000, "ByUser", [group("system:serviceaccounts")], everything),
  schema("global-default", "global-default", 9900, "ByUser", everybody, everything),
];

/** A mandatory object is always what it must be; the others stay as somebody who says so has changed them. */
export function reconcileFlow(wanted: Obj, found: Obj): Obj | undefined {
  const isMandatory = [...mandatory.schemas, ...mandatory.levels].includes(wanted);
  const auto = found.metadata?.annotations?.[AUTOUPDATE];
  const isOwn = isMandatory || (auto === undefined ? found.metadata?.generation === 1 : auto === "true");
  if (!isOwn || (auto === "true" && holds(wanted.spec, found.spec))) return undefined;
  return { ...found, metadata: { ...found.metadata, annotations: { ...found.metadata?.annotations, [AUTOUPDATE]: "true" } }, spec: wanted.spec };
}

/** Whether `found` says all that `wanted` does. */
function holds(wanted: unknown, found: unknown): boolean {
  if (Array.isArray(wanted)) return Array.isArray(found) && found.length === wanted.length && wanted.every((item, i) => holds(item, found[i]));
  if (typeof wanted !== "object" || wanted === null) return wanted === found;
  return typeof found === "object" && found !== null && Object.entries(wanted).every(([key, value]) => holds(value, (found as Record<string, unknown>)[key]));
}
