/** Spreading wanted endpoints over EndpointSlices with as few and as small writes as possible; used by both slice controllers. */
import {
  endpointSlices, isNotFound,
  type EndpointSlice, type EndpointSliceEndpoint, type KubeClient, type OwnerReference,
} from "@k3s-p/plugin-api/kube";
import { canonicalJson, semanticEqual } from "../lib/values.ts";

export const label = {
  serviceName: "kubernetes.io/service-name",
  managedBy: "endpointslice.kubernetes.io/managed-by",
  skipMirror: "endpointslice.kubernetes.io/skip-mirror",
  headless: "service.kubernetes.io/headless",
} as const;

export type AddressType = "IPv4" | "IPv6";
export type EndpointPort = NonNullable<EndpointSlice["ports"]>[number];

/** Endpoints that share one list of ports and one address family, and so may share a slice. */
export interface EndpointGroup {
  readonly addressType: AddressType;
  readonly ports: readonly EndpointPort[];
  readonly endpoints: EndpointSliceEndpoint[];
}

export interface SliceFrame {
  readonly namespace: string;
  readonly generateName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly owner: OwnerReference;
}

export interface SlicePlan {
  readonly create: readonly EndpointSlice[];
  readonly update: readonly EndpointSlice[];
  readonly delete: readonly EndpointSlice[];
}

const groupId = (slice: { addressType: string; ports?: readonly EndpointPort[] }): string =>
  `${slice.addressType} ${canonicalJson([...(slice.ports ?? [])].sort((a, b) => ((a.name ?? "") < (b.name ?? "") ? -1 : 1)))}`;

const endpointId = (endpoint: EndpointSliceEndpoint): string =>
  `${endpoint.targetRef?.uid ?? ""} ${endpoint.addresses.join(",")} ${endpoint.hostname ?? ""}`;

/** Every address family in `families` keeps at least one slice, if need be an empty one. */
export function planSlices(
  frame: SliceFrame,
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
  families: readonly AddressType[],
  perSlice = 100,
): SlicePlan {
  const plan = { create: [] as EndpointSlice[], update: [] as EndpointSlice[], delete: [] as EndpointSlice[] };
  const wanted = groups.filter((group) => group.endpoints.length > 0);
  for (const family of families) {
    if (!wanted.some((group) => group.addressType === family))
      wanted.push({ addressType: family, ports: [], endpoints: [] });
  }
  const left = new Set(existing);
  for (const group of wanted) {
    const own = [...left].filter((slice) => groupId(slice) === groupId(group));
    for (const slice of own) left.delete(slice);
    planGroup(frame, group, own, perSlice, plan);
  }
  plan.delete.push(...left);
  return recycle(plan);
}

/** A slice that would go is rewritten into one that would come, so that watchers never see a gap. */
function recycle(plan: { create: EndpointSlice[]; update: EndpointSlice[]; delete: EndpointSlice[] }): SlicePlan {
  const create = plan.create.filter((next) => {
    const at = plan.delete.findIndex((old) => old.addressType === next.addressType);
    if (at < 0) return true;
    const [old] = plan.delete.splice(at, 1);
    const { labels, annotations } = next.metadata;
    plan.update.push({ ...next, metadata: { ...old!.metadata, labels, ...(annotations && { annotations }) } });
    return false;
  });
  return { ...plan, create };
}

interface Draft {
  readonly slice: EndpointSlice | undefined;
  endpoints: EndpointSliceEndpoint[];
}

function planGroup(
  frame: SliceFrame,
  group: EndpointGroup,
  own: readonly EndpointSlice[],
  perSlice: number,
  plan: { create: EndpointSlice[]; update: EndpointSlice[]; delete: EndpointSlice[] },
): void {
  const pending = new Map(group.endpoints.map((endpoint) => [endpointId(endpoint), endpoint]));
  const drafts = own.map((slice): Draft => ({ slice, endpoints: takeKnown(slice, pending) }));
  fill(drafts, [...pending.values()], perSlice);
  if (drafts.every((draft) => draft.endpoints.length === 0) && group.endpoints.length === 0 && drafts.length === 0) {
    drafts.push({ slice: undefined, endpoints: [] });
  }
  let keptEmpty = group.endpoints.length > 0;
  for (const { slice, endpoints } of drafts) {
    if (endpoints.length === 0 && keptEmpty && slice) {
      plan.delete.push(slice);
      continue;
    }
    if (endpoints.length === 0) keptEmpty = true;
    const next = build(frame, group, endpoints, slice);
    if (!slice) plan.create.push(next);
    else if (!sameSlice(slice, next)) plan.update.push(next);
  }
}

/** Endpoints of the slice that are still wanted, in their new form; each is taken once. */
function takeKnown(slice: EndpointSlice, pending: Map<string, EndpointSliceEndpoint>): EndpointSliceEndpoint[] {
  return (slice.endpoints ?? []).flatMap((endpoint) => {
    const next = pending.get(endpointId(endpoint));
    pending.delete(endpointId(endpoint));
    return next ? [next] : [];
  });
}

/** Puts new endpoints where there is room: into the fullest slices first, then into new ones. */
function fill(drafts: Draft[], endpoints: EndpointSliceEndpoint[], perSlice: number): void {
  const byRoom = [...drafts].sort((a, b) => b.endpoints.length - a.endpoints.length);
  let next = 0;
  for (const draft of byRoom) {
    const room = Math.max(0, perSlice - draft.endpoints.length);
    draft.endpoints = [...draft.endpoints, ...endpoints.slice(next, next + room)];
    next += room;
  }
  for (; next < endpoints.length; next += perSlice) {
    drafts.push({ slice: undefined, endpoints: endpoints.slice(next, next + perSlice) });
  }
}

function build(
  frame: SliceFrame,
  group: EndpointGroup,
  endpoints: EndpointSliceEndpoint[],
  slice: EndpointSlice | undefined,
): EndpointSlice {
  const base = slice?.metadata ?? {
    generateName: frame.generateName,
    namespace: frame.namespace,
    ownerReferences: [frame.owner],
  };
  const annotations = frame.annotations ?? slice?.metadata.annotations;
  return {
    apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice",
    metadata: { ...base, labels: { ...frame.labels }, ...(annotations && { annotations: { ...annotations } }) },
    addressType: group.addressType, endpoints, ports: [...group.ports],
  };
}

const sameSlice = (a: EndpointSlice, b: EndpointSlice): boolean =>
  semanticEqual(a.endpoints, b.endpoints) && semanticEqual(a.metadata.labels, b.metadata.labels, "labels") &&
  semanticEqual(a.metadata.annotations, b.metadata.annotations, "annotations");

/** Carries out a plan; `onCreate` is told of each create before it is sent, `onFailed` of each that failed. */
export async function applyPlan(
  client: KubeClient, plan: SlicePlan, creations: { expected(count: number): void; failed(): void },
): Promise<void> {
  creations.expected(plan.create.length);
  const create = async (slice: EndpointSlice) => {
    try {
      await client.create(endpointSlices, slice);
    } catch (error) {
      creations.failed();
      throw error;
    }
  };
  const remove = async ({ metadata }: EndpointSlice) => {
    await client
      .delete(endpointSlices, metadata.name!, { namespace: metadata.namespace, preconditions: { uid: metadata.uid } })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  };
  const results = await Promise.allSettled([
    ...plan.create.map(create),
    ...plan.update.map((slice) => client.update(endpointSlices, slice)),
    ...plan.delete.map(remove),
  ]);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}
