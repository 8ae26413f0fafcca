/** Table columns of coordination, node, scheduling and dynamic resource allocation. */
import { ageColumn, integer, nameColumn, text } from "../columns.ts";
import type { Column, Obj } from "../types.ts";

export const leaseColumns: readonly Column[] = [
  nameColumn,
  text("Holder", "Who holds the lease.", (o) => o.spec?.holderIdentity ?? ""),
  ageColumn,
];

export const runtimeClassColumns: readonly Column[] = [
  nameColumn,
  text("Handler", "Handler of the container runtime.", (o) => o.handler ?? ""),
  ageColumn,
];

export const priorityClassColumns: readonly Column[] = [
  nameColumn,
  integer("Value", "Higher values go first.", (o) => o.value ?? 0),
  { name: "Global-Default", type: "boolean", priority: 0, description: "Whether pods without a class get this one.", value: (o) => o.globalDefault ?? false },
  ageColumn,
  text("PreemptionPolicy", "Whether pods of the class may evict others.", (o) => o.preemptionPolicy ?? ""),
];

export const namedColumns: readonly Column[] = [nameColumn, ageColumn];

export const resourceClaimColumns: readonly Column[] = [
  nameColumn,
  text("State", "A summary of the current state (allocated, pending, reserved, etc.).", claimState),
  ageColumn,
];

function claimState({ metadata, status }: Obj): string {
  const states: string[] = [];
  if (metadata?.deletionTimestamp) states.push("deleted");
  if (!status?.allocation) states.push("pending");
  else states.push("allocated", ...(status.reservedFor?.length ? ["reserved"] : []));
  return states.join(",");
}

export const resourceSliceColumns: readonly Column[] = [
  nameColumn,
  text("Node", "Node that the resources are on.", (o) => o.spec?.nodeName ?? "<unset>"),
  text("Driver", "Driver that manages the resources.", (o) => o.spec?.driver ?? ""),
  text("Pool", "Pool that the resources belong to.", (o) => o.spec?.pool?.name ?? ""),
  ageColumn,
];
