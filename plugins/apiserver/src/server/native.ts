/** Resources that plugins contribute at run time, as rows of the registry. */
import type { NativeResource, PrinterColumn } from "@k3s-p/plugin-api/points";
import { ageColumn } from "../resources/columns.ts";
import { age } from "../resources/human.ts";
import { allVerbs } from "../resources/row.ts";
import type { Column, Obj, ResourceDef } from "../resources/types.ts";

/** A row that also carries the schema, for OpenAPI. */
export interface NativeDef extends ResourceDef {
  readonly schema?: object;
}

export function toResourceDef(native: NativeResource): NativeDef {
  const { group, version, kind, plural, namespaced, shortNames, categories, subresources = [], columns, schema } = native;
  return {
    group, version, kind, plural, namespaced, singular: native.singular ?? kind.toLowerCase(), verbs: allVerbs,
    ...(shortNames && { shortNames }), ...(categories && { categories }), subresources,
    ...(subresources.includes("scale") && {
      scale: { specReplicas: "spec.replicas", statusReplicas: "status.replicas", selector: "status.selector" },
    }),
    ...(columns && { columns: [...columns.map(toColumn), ageColumn] }),
    ...(schema && { schema }),
    generationOf: ({ apiVersion: _, kind: __, metadata: ___, status, ...rest }: Obj) => (subresources.includes("status") ? rest : { ...rest, status }),
    ...(subresources.includes("status") && {
      prepareCreate: (object: Obj) => { delete object["status"]; },
      prepareUpdate: (object: Obj, old: Obj) => {
        if (old["status"] === undefined) delete object["status"];
        else object["status"] = old["status"];
      },
    }),
  };
}

function toColumn({ name, type, path, priority = 0, description = "" }: PrinterColumn): Column {
  const steps = path.replace(/^\$?\.?/, "").split(".");
  const read = (object: Obj): any => steps.reduce<any>((at, key) => at?.[key], object);
  return {
    name, description, priority, type: type === "date" ? "string" : type,
    value: (object, now) => {
      const value = read(object);
      if (value === undefined || value === null) return type === "date" ? "<unknown>" : null;
      if (type === "date") return age(String(value), now);
      return typeof value === "object" ? JSON.stringify(value) : value;
    },
  };
}
