/** The `Addon` resource of K3s: one object for each manifest file, in kube-system. */
import { defineResource, type ObjectMeta } from "@k3s-p/plugin-api/kube";
import type { NativeResource } from "@k3s-p/plugin-api/points";
import type { Owner } from "./objectset.ts";

export interface AddonObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
  spec: { source?: string; checksum?: string };
}

export const ADDON_NAMESPACE = "kube-system";
/** Remembers the kinds applied before, so that objects of a kind that left the file are found and pruned. */
export const GVKS_ANNOTATION = "addon.k3s.cattle.io/gvks";

export const addons = defineResource<AddonObject>("k3s.cattle.io", "v1", "addons", "Addon");

export const addonOwner = (name: string): Owner => ({ gvk: "k3s.cattle.io/v1, Kind=Addon", name, namespace: ADDON_NAMESPACE });

export const addonResource: NativeResource = {
  group: "k3s.cattle.io",
  version: "v1",
  kind: "Addon",
  plural: "addons",
  singular: "addon",
  namespaced: true,
  columns: [
    { name: "Source", type: "string", path: ".spec.source" },
    { name: "Checksum", type: "string", path: ".spec.checksum" },
  ],
  schema: {
    type: "object",
    description: "Addon is used to track application of a manifest file on disk.",
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec: {
        type: "object",
        properties: {
          source: { type: "string", description: "The path of the file on disk." },
          checksum: { type: "string", description: "The SHA-256 of the content applied last." },
        },
      },
    },
  },
};
