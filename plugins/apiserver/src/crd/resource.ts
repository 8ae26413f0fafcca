/** One served version of a CustomResourceDefinition as a row of the registry. */
import { apiError, type FieldError } from "@k3s-p/plugin-api/kube";
import type { Shape } from "../patch/shape.ts";
import { allVerbs } from "../resources/row.ts";
import { keepStatus } from "../resources/strategy.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { FieldValidation } from "../verbs/engine.ts";
import { strictError } from "../verbs/undecodable.ts";
import { type ColumnProps, customColumns } from "./columns.ts";
import { type ConversionProps, type Convert, convertedSteps } from "./convert.ts";
import { parseJsonPath } from "./jsonpath.ts";
import { validateEmbedded, validateLists } from "./lists.ts";
import type { Names } from "./names.ts";
import { fillDefaults, isComplete, prune } from "./prune.ts";
import { type Node, readSchema, type SchemaProps } from "./schema.ts";
import { validateRules } from "./rules.ts";
import { shapeOfNode } from "./shape.ts";
import { validateValues } from "./values.ts";

export interface VersionProps {
  readonly name: string;
  readonly served: boolean;
  readonly storage: boolean;
  readonly deprecated?: boolean;
  readonly deprecationWarning?: string;
  readonly schema?: { readonly openAPIV3Schema?: SchemaProps };
  readonly subresources?: { readonly status?: object; readonly scale?: ScaleProps };
  readonly additionalPrinterColumns?: readonly ColumnProps[];
  readonly selectableFields?: readonly { readonly jsonPath: string }[];
}

interface ScaleProps {
  readonly specReplicasPath: string;
  readonly statusReplicasPath: string;
  readonly labelSelectorPath?: string;
}

export interface CrdSpec {
  readonly group: string;
  readonly names: Names;
  readonly scope: "Namespaced" | "Cluster";
  readonly versions: readonly VersionProps[];
  readonly conversion?: ConversionProps;
}

export interface CustomRowInput {
  readonly spec: Pick<CrdSpec, "group" | "scope"> & { readonly versions: readonly Pick<VersionProps, "name" | "storage">[] };
  readonly names: Names;
  readonly version: VersionProps;
  /** Reads the schema again from where it is kept, so that an idle definition costs nothing. */
  readonly readSchema: () => SchemaProps;
  /** Says which schema it is: changes with every change of the definition. */
  readonly schemaId: string;
  readonly isTerminating: () => boolean;
  /** A webhook that converts; without it versions differ by name, fields and defaults. */
  readonly convert?: Convert | undefined;
}

/** A row that also carries what OpenAPI, field checks and server-side apply want to know. */
export interface CustomDef extends ResourceDef {
  readonly custom: true;
  readonly schema: SchemaProps;
  /** How server-side apply treats lists and maps. */
  readonly shape: Shape;
  readonly schemaId: string;
  readonly deprecationWarning?: string;
  checkFields(body: Obj, mode: FieldValidation): readonly string[];
}

export const isCustom = (def: ResourceDef): def is CustomDef => def.custom === true;

export function customRow(input: CustomRowInput): CustomDef {
  const { spec, names, version } = input;
  const { group, scope } = spec;
  const { plural, kind, singular, shortNames, categories } = names;
  const { scale, status } = version.subresources ?? {};
  let compiled: Node | undefined;
  const node = (): Node => (compiled ??= readSchema(input.readSchema()));
  const form = { group, version: version.name, kind };
  const row: Omit<CustomDef, "schema" | "shape"> = {
    ...form, plural, singular, namespaced: scope === "Namespaced", verbs: allVerbs, custom: true,
    ...(shortNames?.length && { shortNames }), ...(categories?.length && { categories }),
    subresources: [...(status ? ["status"] : []), ...(scale ? ["scale"] : [])],
    ...(scale && { scale: scalePaths(scale) }),
    columns: customColumns(version.additionalPrinterColumns),
    ...(version.selectableFields && { selectableFields: selectable(version.selectableFields) }),
    ...(version.deprecated && { deprecationWarning: version.deprecationWarning ?? `${group}/${version.name} ${kind} is deprecated` }),
    ...strategy(Boolean(status), input.isTerminating),
    ...storage(input, node),
    defaults: (object) => {
      prune(node(), object);
      fillDefaults(node(), object);
    },
    validate: (object) => findings(node(), version, object),
    validateUpdate: (object, old) => findings(node(), version, object, old),
    validateStatusUpdate: (object, old) => findings(node(), version, object, old),
    schemaId: input.schemaId,
    checkFields(body, mode) {
      const warnings = prune(node(), body).map((field) => `unknown field ${JSON.stringify(field)}`);
      if (warnings.length > 0 && mode === "Strict") throw strictError(form, warnings);
      return mode === "Ignore" ? [] : warnings;
    },
  };
  // A copy of the row does not have to read them.
  return Object.defineProperties(row, {
    schema: { get: () => input.readSchema() }, shape: { get: () => shapeOfNode(node()) },
  }) as CustomDef;
}

type Strategy = Pick<ResourceDef, "prepareCreate" | "prepareUpdate" | "prepareStatusUpdate" | "generationOf">;

function strategy(hasStatus: boolean, isTerminating: () => boolean): Strategy {
  return {
    prepareCreate: (object) => {
      if (isTerminating()) throw apiError(405, "MethodNotAllowed", "create not allowed while custom resource definition is terminating");
      if (hasStatus) delete object.status;
    },
    ...(hasStatus && { prepareUpdate: keepStatus }),
    prepareStatusUpdate: (object, old) => {
      const { managedFields } = object.metadata ?? {};
      object.metadata = { ...old.metadata, ...(managedFields && { managedFields }) };
    },
    generationOf: ({ apiVersion: _, kind: __, metadata: ___, status, ...rest }) => (hasStatus ? rest : { ...rest, status }),
  };
}

type Storage = Pick<ResourceDef, "storedAs" | "toStored" | "fromStored" | "isCurrent" | "prepareRead" | "prepareWrite">;

/** Objects are kept in the storage version; another version differs by its name, its pruning and its defaults. */
function storage({ spec, names, version, convert }: CustomRowInput, node: () => Node): Storage {
  const stored = spec.versions.find((candidate) => candidate.storage)!;
  const own = `${spec.group}/${version.name}`;
  const kept = `${spec.group}/${stored.name}`;
  const renamed = {
    toStored: (object: Obj) => ({ ...object, apiVersion: kept }),
    fromStored: (object: Obj) => ({ ...object, apiVersion: own }),
  };
  const steps = convert ? convertedSteps(convert, own, kept) : renamed;
  return {
    ...steps,
    storedAs: { group: spec.group, version: stored.name, plural: names.plural },
    isCurrent: (object) => object.apiVersion === own && isComplete(node(), object),
    fromStored: (object) => {
      const shown = steps.fromStored(object);
      prune(node(), shown);
      fillDefaults(node(), shown);
      return shown;
    },
  };
}

const withoutDot = (path: string | undefined): string => (path ?? "").replace(/^\./, "");

const scalePaths = ({ specReplicasPath, statusReplicasPath, labelSelectorPath }: ScaleProps): NonNullable<ResourceDef["scale"]> => ({
  specReplicas: withoutDot(specReplicasPath), statusReplicas: withoutDot(statusReplicasPath), selector: withoutDot(labelSelectorPath),
});

function selectable(fields: readonly { readonly jsonPath: string }[]): NonNullable<ResourceDef["selectableFields"]> {
  return Object.fromEntries(fields.map(({ jsonPath }) => {
    const read = parseJsonPath(jsonPath);
    return [withoutDot(jsonPath), (object: Obj) => String(read(object)[0] ?? "")];
  }));
}

function findings(node: Node, version: VersionProps, object: Obj, old?: Obj): FieldError[] {
  const values = validateValues(node, object, old);
  const errors = [...values, ...validateEmbedded(node, object), ...validateLists(node, object), ...scaleProblems(version, object)];
  if (!node.hasRules) return errors;
  if (errors.some(({ type }) => blocking.has(type))) return [...errors, unchecked];
  return [...errors, ...validateRules(node, object, old)];
}

/** Findings after which rules cannot rely on the object's form; other values may be wrong and rules hold all the same. */
const blocking: ReadonlySet<string> = new Set([
  "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
]);
const unchecked: FieldError = {
  type: "FieldValueInvalid", field: "<nil>",
  message: "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
};

const MAX_REPLICAS = 2_147_483_647;

function scaleProblems({ subresources }: VersionProps, object: Obj): FieldError[] {
  const { scale } = subresources ?? {};
  if (!scale) return [];
  return [scale.specReplicasPath, scale.statusReplicasPath].flatMap((path): FieldError[] => {
    const value = parseJsonPath(path)(object)[0];
    if (typeof value !== "number") return [];
    const problem = value < 0 ? "should be a non-negative integer"
      : value > MAX_REPLICAS ? `should be less than or equal to ${MAX_REPLICAS}` : undefined;
    return problem ? [{ type: "FieldValueInvalid", field: withoutDot(path), message: `Invalid value: ${value}: ${problem}` }] : [];
  });
}
