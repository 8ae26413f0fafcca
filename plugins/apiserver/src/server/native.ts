/** Resources that plugins contribute at run time, served by the machinery of custom resources, without a definition in the store. */
import type { Contributions } from "@k3s-p/plugin-api";
import type { NativeResource, PrinterColumn } from "@k3s-p/plugin-api/points";
import type { ColumnProps } from "../crd/columns.ts";
import { type CustomDef, customRow } from "../crd/resource.ts";
import type { SchemaProps } from "../crd/schema.ts";
import { validateSchemas } from "../crd/validate-schema.ts";
import type { Registry } from "./registry.ts";

const free: SchemaProps = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
const ageColumn: ColumnProps = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };
const scalePaths = { specReplicasPath: ".spec.replicas", statusReplicasPath: ".status.replicas", labelSelectorPath: ".status.selector" };

/** Throws an Error that names what is wrong with the schema. */
export function toResourceDef(native: NativeResource): CustomDef {
  const { group, version, kind, plural, singular = kind.toLowerCase(), shortNames, categories, subresources = [], columns } = native;
  const schema = (native.schema ?? free) as SchemaProps;
  const problems = validateSchemas([{ schema, at: "schema", hasStatus: subresources.includes("status") }]);
  if (problems.length > 0) throw new Error(problems.map(({ field, message }) => `${field}: ${message}`).join(", "));
  return customRow({
    spec: { group, scope: native.namespaced ? "Namespaced" : "Cluster", versions: [{ name: version, storage: true }] },
    names: { plural, singular, kind, listKind: `${kind}List`, ...(shortNames && { shortNames }), ...(categories && { categories }) },
    version: {
      name: version, served: true, storage: true,
      subresources: { ...(subresources.includes("status") && { status: {} }), ...(subresources.includes("scale") && { scale: scalePaths }) },
      ...(columns && { additionalPrinterColumns: [...columns.map(toColumn), ageColumn] }),
    },
    readSchema: () => schema,
    schemaId: `native/${JSON.stringify(schema)}`,
    isTerminating: () => false,
  });
}

const toColumn = ({ name, type, path, priority = 0, description = "" }: PrinterColumn): ColumnProps =>
  ({ name, type, priority, description, jsonPath: `.${path.replace(/^\$?\.?/, "")}` });

export interface NativeOptions {
  readonly registry: Registry;
  readonly contributions: Contributions<NativeResource>;
  /** Told of a resource that cannot be served. */
  readonly onError: (plugin: string, resource: string, error: unknown) => void;
}

/** Keeps the registry in step with what plugins contribute; returns the undo. */
export function serveNative({ registry, contributions, onError }: NativeOptions): () => void {
  const served = new Map<NativeResource, () => void>();
  const follow = (): void => {
    const wanted = new Map(contributions.list().map(({ plugin, impl }) => [impl, plugin]));
    for (const [native, undo] of served) {
      if (wanted.has(native)) continue;
      undo();
      served.delete(native);
    }
    for (const [native, plugin] of wanted) {
      if (served.has(native)) continue;
      served.set(native, () => {});
      try {
        served.set(native, registry.add([toResourceDef(native)]));
      } catch (error) {
        onError(plugin, native.group ? `${native.plural}.${native.group}` : native.plural, error);
      }
    }
  };
  follow();
  return contributions.onChange(follow);
}
