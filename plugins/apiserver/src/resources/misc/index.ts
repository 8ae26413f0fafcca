/** The rows of the small groups: coordination, events, node, scheduling, dynamic resource allocation. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import { eventsEvent } from "../core/event.ts";
import { deviceClass, lease, priorityClass, resourceClaim, resourceClaimTemplate, resourceSlice, runtimeClass } from "./kinds.ts";

const coordination = rowsOf("coordination.k8s.io", "v1");
const events = rowsOf("events.k8s.io", "v1");
const node = rowsOf("node.k8s.io", "v1");
const scheduling = rowsOf("scheduling.k8s.io", "v1");
const resource = rowsOf("resource.k8s.io", "v1");
const cluster = { namespaced: false } as const;
const returnsDeleted = { returnsDeleted: true } as const;

export const miscResources: readonly ResourceDef[] = [
  coordination("Lease", "leases", { tier: "lazy", createOnUpdate: true, needsVersion: true }, lease),
  events("Event", "events", {
    shortNames: ["ev"], tier: "lazy", ttlSeconds: 3600, createOnUpdate: true,
    storedAs: { group: "", version: "v1", plural: "events" },
  }, eventsEvent),
  node("RuntimeClass", "runtimeclasses", { ...cluster, createOnUpdate: true, needsVersion: true }, runtimeClass),
  scheduling("PriorityClass", "priorityclasses", { ...cluster, shortNames: ["pc"] }, priorityClass),
  resource("DeviceClass", "deviceclasses", { ...cluster, ...returnsDeleted }, deviceClass),
  resource("ResourceClaim", "resourceclaims", { subresources: ["status"], ...returnsDeleted }, resourceClaim),
  resource("ResourceClaimTemplate", "resourceclaimtemplates", returnsDeleted, resourceClaimTemplate),
  resource("ResourceSlice", "resourceslices", { ...cluster, ...returnsDeleted }, resourceSlice),
];
