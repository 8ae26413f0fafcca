/** Definitions for tests. */
import type { Obj } from "../resources/types.ts";
import type { SchemaProps } from "./schema.ts";

export const cronTabSchema: SchemaProps = {
  type: "object", description: "CronTab is a job.",
  properties: {
    spec: {
      type: "object", required: ["cronSpec"],
      properties: {
        cronSpec: { type: "string", pattern: "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$", description: "When to run." },
        image: { type: "string", default: "busybox" },
        replicas: { type: "integer", minimum: 1, maximum: 10, default: 1 },
        port: { "x-kubernetes-int-or-string": true },
        policy: { type: "string", enum: ["Allow", "Forbid"] },
        note: { type: "string", nullable: true },
        tags: { type: "array", items: { type: "string" }, maxItems: 3, "x-kubernetes-list-type": "set" },
        env: {
          type: "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
          items: { type: "object", required: ["name"], properties: { name: { type: "string" }, value: { type: "string", default: "" } } },
        },
        labels: { type: "object", additionalProperties: { type: "string" } },
        free: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    },
    status: { type: "object", properties: { replicas: { type: "integer" }, labelSelector: { type: "string" }, ready: { type: "boolean" } } },
  },
};

export const columns = [
  { name: "Spec", type: "string", jsonPath: ".spec.cronSpec", description: "The schedule." },
  { name: "Replicas", type: "integer", jsonPath: ".spec.replicas", priority: 1 },
  { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" },
] as const;

/** `change` may alter the version and the spec before use. */
export function cronTabs(change: (version: Obj, spec: Obj) => void = () => {}): Obj {
  const version: Obj = {
    name: "v1", served: true, storage: true, schema: { openAPIV3Schema: structuredClone(cronTabSchema) },
    subresources: { status: {}, scale: { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas", labelSelectorPath: ".status.labelSelector" } },
    additionalPrinterColumns: structuredClone(columns) as unknown as Obj[],
    selectableFields: [{ jsonPath: ".spec.image" }],
  };
  const spec: Obj = {
    group: "stable.example.com", scope: "Namespaced", versions: [version],
    names: { plural: "crontabs", singular: "crontab", kind: "CronTab", shortNames: ["ct"], categories: ["all"] },
  };
  change(version, spec);
  return {
    apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition",
    metadata: { name: `${spec.names.plural}.${spec.group}` }, spec,
  } as Obj;
}

export const cronTab = (name: string, spec: object = {}, more: object = {}): Obj =>
  ({ apiVersion: "stable.example.com/v1", kind: "CronTab", metadata: { name }, spec: { cronSpec: "* * * * */5", ...spec }, ...more }) as Obj;
