/** Brings the cluster's first objects to what they must be: once at start, in two waves, and nothing when all is there. */
import {
  apiServices, clusterRoleBindings, clusterRoles, configMaps, defineResource, endpoints, endpointSlices, isAlreadyExists,
  isConflict, namespaces, priorityClasses, roleBindings, roles, services,
} from "@k3s-p/plugin-api/kube";
import type { KubeClient, Resource } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { bootstrapRbacObjects } from "../auth/bootstrap-roles.ts";
import { defaultLevels, defaultSchemas, reconcileFlow } from "../flowcontrol/defaults.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Authorities } from "../server/trust.ts";
import {
  defaultServiceCidr, extensionAuthentication, kubernetesEndpoints, kubernetesService, localApiServices,
  namespaceObjects, priorityClassObjects,
} from "./objects.ts";

export interface BootstrapDeps {
  readonly cluster: ClusterSettings;
  readonly authorities: Authorities;
  /** Every served row. */
  readonly defs: readonly ResourceDef[];
}

/** What to do with an object that exists: the object to write, or undefined when it is right. */
type Reconcile = (wanted: Obj, found: Obj) => Obj | undefined;

interface Step {
  readonly resource: Resource;
  readonly wanted: readonly Obj[];
  readonly reconcile: Reconcile;
}

const serviceCidrs = defineResource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", "cluster");
const FLOW = "flowcontrol.apiserver.k8s.io";
const flowSchemas = defineResource(FLOW, "v1", "flowschemas", "FlowSchema", "cluster");
const priorityLevels = defineResource(FLOW, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", "cluster");

/** Resolves when every object is durable; the writes of a wave go out together and share their fsyncs. */
export async function bootstrap(client: KubeClient, deps: BootstrapDeps): Promise<void> {
  const rbac = bootstrapRbacObjects();
  const ofKind = (kind: string) => rbac.filter((object) => object.kind === kind);
  const { cluster, authorities, defs } = deps;
  await runAll(client, [
    { resource: namespaces, wanted: namespaceObjects(), reconcile: keep },
    { resource: clusterRoles, wanted: ofKind("ClusterRole"), reconcile: addRules },
    { resource: clusterRoleBindings, wanted: ofKind("ClusterRoleBinding"), reconcile: addSubjects },
    { resource: priorityClasses, wanted: priorityClassObjects(), reconcile: keep },
    { resource: apiServices, wanted: localApiServices(defs), reconcile: keepSpec },
    ...(defs.some((def) => def.group === FLOW) ? flowSteps : []),
    ...(defs.some((def) => def.plural === "servicecidrs")
      ? [{ resource: serviceCidrs, wanted: [defaultServiceCidr(cluster)], reconcile: keep }] : []),
  ]);
  const reach = kubernetesEndpoints(cluster);
  await runAll(client, [
    { resource: roles, wanted: ofKind("Role"), reconcile: addRules },
    { resource: roleBindings, wanted: ofKind("RoleBinding"), reconcile: addSubjects },
    { resource: services, wanted: [kubernetesService(cluster)], reconcile: keepService },
    authenticationStep(authorities),
    ...(reach ? [
      { resource: endpoints, wanted: [reach.endpoints], reconcile: sameField("subsets") },
      { resource: endpointSlices, wanted: [reach.slice], reconcile: sameField("endpoints", "ports") },
    ] : []),
  ]);
}

const authenticationStep = ({ client, requestHeader }: Authorities): Step =>
  ({ resource: configMaps, wanted: [extensionAuthentication(client, requestHeader)], reconcile: sameField("data") });

/** Tells aggregated API servers whose certificates count now. */
export const publishAuthorities = (client: KubeClient, authorities: Authorities): Promise<void> => runAll(client, [authenticationStep(authorities)]);

const flowSteps: readonly Step[] = [
  { resource: priorityLevels, wanted: defaultLevels, reconcile: reconcileFlow },
  { resource: flowSchemas, wanted: defaultSchemas, reconcile: reconcileFlow },
];

/** Brings back the FlowSchemas and PriorityLevelConfigurations that somebody has changed or deleted. */
export const repairFlowControl = (client: KubeClient): Promise<void> => runAll(client, flowSteps);

async function runAll(client: KubeClient, steps: readonly Step[]): Promise<void> {
  const results = await Promise.allSettled(steps.flatMap((step) => runStep(client, step)));
  const errors = results.filter((result) => result.status === "rejected").map((result) => result.reason as Error);
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, `bootstrap objects: ${errors[0]!.message} (and ${errors.length - 1} more)`);
}

async function runStep(client: KubeClient, { resource, wanted, reconcile }: Step): Promise<void> {
  const { items } = await client.list(resource);
  const found = new Map(items.map((item) => [keyOf(item), item as Obj]));
  await Promise.all(wanted.map((object) => ensure(client, resource, object, found.get(keyOf(object)), reconcile)));
}

const keyOf = ({ metadata }: { metadata?: Obj["metadata"] }): string => `${metadata?.namespace ?? ""}/${metadata?.name}`;

async function ensure(client: KubeClient, resource: Resource, wanted: Obj, found: Obj | undefined, reconcile: Reconcile): Promise<void> {
  const next = found ? reconcile(wanted, found) : wanted;
  if (!next) return;
  try {
    if (!found) await client.create(resource, next);
    else if (next === wanted) await recreate(client, resource, wanted);
    else await client.update(resource, next);
  } catch (error) {
    // Another server of the cluster was faster, with the same intent.
    if (!isAlreadyExists(error) && !isConflict(error)) throw error;
  }
}

/** For what cannot be changed in place (the role of a binding). */
async function recreate(client: KubeClient, resource: Resource, wanted: Obj): Promise<void> {
  const { name, namespace } = wanted.metadata!;
  await client.delete(resource, name!, namespace ? { namespace } : {});
  await client.create(resource, wanted);
}

const keep: Reconcile = () => undefined;

const sameField = (...fields: readonly string[]): Reconcile => (wanted, found) => {
  if (fields.every((field) => same(wanted[field], found[field]))) return undefined;
  const changed = Object.fromEntries(fields.map((field) => [field, wanted[field]]));
  return { ...found, metadata: { ...found.metadata, labels: { ...found.metadata?.labels, ...wanted.metadata?.labels } }, ...changed };
};

const keepSpec: Reconcile = (wanted, found) =>
  Object.entries(wanted.spec).every(([key, value]) => same(value, found.spec?.[key])) ? undefined : { ...found, spec: wanted.spec };

/** The port may have changed with `--https-listen-port`. */
const keepService: Reconcile = (wanted, found) => {
  const port = wanted.spec.ports[0];
  const current = found.spec.ports?.find((p: Obj) => p.name === port.name);
  if (current?.port === port.port && current?.targetPort === port.targetPort) return undefined;
  return { ...found, spec: { ...found.spec, ports: [port] } };
};

const AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate";

/** Missing rules come back, those that were added stay; `autoupdate: "false"` keeps an object as it is. */
const addRules: Reconcile = (wanted, found) => {
  if (found.metadata?.annotations?.[AUTOUPDATE] === "false") return undefined;
  const rules = wanted.aggregationRule ? found.rules : union(found.rules, wanted.rules);
  const metadata = addMeta(wanted, found);
  if (rules === found.rules && metadata === found.metadata && (!wanted.aggregationRule || found.aggregationRule)) return undefined;
  return { ...found, metadata, rules, ...(wanted.aggregationRule && { aggregationRule: wanted.aggregationRule }) } as Obj;
};

const addSubjects: Reconcile = (wanted, found) => {
  if (found.metadata?.annotations?.[AUTOUPDATE] === "false") return undefined;
  if (found.roleRef?.name !== wanted.roleRef.name || found.roleRef?.kind !== wanted.roleRef.kind) return wanted;
  const subjects = union(found.subjects, wanted.subjects);
  const metadata = addMeta(wanted, found);
  return subjects === found.subjects && metadata === found.metadata ? undefined : { ...found, metadata, subjects } as Obj;
};

function addMeta(wanted: Obj, found: Obj): Obj["metadata"] {
  const [want, have] = [wanted.metadata!, found.metadata!];
  const missing = (part: "labels" | "annotations") => Object.keys(want[part] ?? {}).some((key) => have[part]?.[key] === undefined);
  if (!missing("labels") && !missing("annotations")) return have;
  return { ...have, labels: { ...want.labels, ...have.labels }, annotations: { ...want.annotations, ...have.annotations } };
}

/** The same array when nothing is missing. */
function union(have: readonly object[] | undefined, want: readonly object[] | undefined): readonly object[] | undefined {
  const known = new Set((have ?? []).map(canonical));
  const missing = (want ?? []).filter((item) => !known.has(canonical(item)));
  return missing.length === 0 ? have : [...(have ?? []), ...missing];
}

/** Equal values give equal text, whatever the order of keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part) => (typeof part === "object" && part !== null && !Array.isArray(part)
    ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part));
}

/** Equal as far as `wanted` says; the server adds defaults of its own. */
function same(wanted: unknown, found: unknown): boolean {
  if (Array.isArray(wanted)) {
    return Array.isArray(found) && wanted.length === found.length && wanted.every((item, i) => same(item, found[i]));
  }
  if (typeof wanted !== "object" || wanted === null) return wanted === found;
  return typeof found === "object" && found !== null &&
    Object.entries(wanted).every(([key, value]) => same(value, (found as Record<string, unknown>)[key]));
}
