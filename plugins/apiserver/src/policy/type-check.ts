/**
 * `status.typeChecking` of ValidatingAdmissionPolicies: their expressions against the schemas of the kinds that their
 * rules name. A finding is a warning and no more: a rule may match other kinds, too.
 */
import { defineResource, isConflict, isNotFound, type KubeClient } from "@k3s-p/plugin-api/kube";
import { compile } from "../cel/environment.ts";
import { type SchemaTypes, schemaTypes, type TypedSchema } from "../cel/schema-types.ts";
import { isCustom } from "../crd/resource.ts";
import { readDefinitions } from "../openapi/generated.ts";
import { kindDefinition } from "../openapi/names.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Registry } from "../server/registry.ts";
import type { Engine } from "../verbs/engine.ts";
import { requestEnvironment } from "../webhook/evaluation.ts";

interface Warning {
  readonly fieldRef: string;
  readonly warning: string;
}

/** As upstream: of more kinds the first ones count. */
const MAX_KINDS = 10;
const GROUP = "admissionregistration.k8s.io";
const PLURAL = "validatingadmissionpolicies";
const resource = defineResource(GROUP, "v1", PLURAL, "ValidatingAdmissionPolicy", "cluster");

/** Checks policies that are written or changed from now on, and those that are there; returns the stop function. */
export function followTypeChecks({ engine, client }: { readonly engine: Engine; readonly client: KubeClient }): () => void {
  const { store, registry, onError } = engine;
  const check = async (policy: Obj): Promise<void> => {
    const { generation } = policy.metadata!;
    if (policy["status"]?.observedGeneration === generation) return;
    const warnings = typeWarnings(policy, registry);
    const status = { ...policy["status"], observedGeneration: generation, typeChecking: warnings.length > 0 ? { expressionWarnings: warnings } : {} };
    await client.update(resource, { ...policy, status } as never, { subresource: "status", fieldManager: "kube-apiserver" });
  };
  const follow = (policy: Obj): void => void check(policy).catch((error: unknown) => {
    // What won the race comes as a change of its own.
    if (!isConflict(error) && !isNotFound(error)) onError(error);
  });
  for (const policy of store.list(GROUP, PLURAL)) follow(policy);
  return store.collection({ group: GROUP, plural: PLURAL }).subscribe(({ type, entry }) => {
    if (type !== "DELETED") setImmediate(() => follow(entry.object));
  });
}

export function typeWarnings({ spec }: Obj, registry: Registry): Warning[] {
  const kinds = kindsOf(spec.matchConstraints?.resourceRules ?? [], registry);
  if (kinds.length === 0) return [];
  const definitions = readDefinitions() as Definitions;
  const params = spec.paramKind && paramDef(spec.paramKind, registry);
  const found = new Map<string, string[]>();
  for (const def of kinds) {
    for (const [fieldRef, problem] of problemsOf(spec, def, params, definitions)) {
      found.set(fieldRef, [...(found.get(fieldRef) ?? []), `${nameOf(def)}: ${problem}`]);
    }
  }
  return [...found].map(([fieldRef, lines]) => ({ fieldRef, warning: lines.join("\n") }));
}

const nameOf = ({ group, version, kind }: ResourceDef): string => `${group ? `${group}/` : ""}${version}, Kind=${kind}`;

/** Wildcards match too much to say anything. */
function kindsOf(rules: readonly Obj[], registry: Registry): ResourceDef[] {
  const found = rules.flatMap(({ apiGroups = [], apiVersions = [], resources = [] }) => {
    if ([...apiGroups, ...apiVersions, ...resources].some((text: string) => text.includes("*"))) return [];
    return (apiGroups as string[]).flatMap((group) => (apiVersions as string[]).flatMap((version) =>
      (resources as string[]).map((plural) => registry.get(group, version, plural))));
  });
  return [...new Set(found)].filter((def) => def !== undefined).sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)).slice(0, MAX_KINDS);
}

function paramDef({ apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }, registry: Registry): ResourceDef | undefined {
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["", apiVersion];
  return registry.byKind(group!, version!, kind);
}

type Definitions = Readonly<Record<string, TypedSchema>>;

/** Variables are checked before what names them, and what they are is known from then on. */
function problemsOf(spec: Obj, def: ResourceDef, params: ResourceDef | undefined, definitions: Definitions): (readonly [string, string])[] {
  const environment = requestEnvironment({ namespaceObject: "dyn" }, ["object", "oldObject"]);
  const types = schemaTypes({ environment, definitions });
  const object = typeOfKind(def, types, definitions);
  environment.registerVariable("object", object).registerVariable("oldObject", object);
  environment.registerVariable("params", params ? typeOfKind(params, types, definitions) : "dyn").registerVariable("variables", "dyn");
  const list = (name: string): readonly Obj[] => spec[name] ?? [];
  const expressions: (readonly [string, string | undefined])[] = [
    ...list("variables").map(({ expression }, i) => [`spec.variables[${i}].expression`, expression] as const),
    ...list("validations").flatMap(({ expression, messageExpression }, i) => [
      [`spec.validations[${i}].expression`, expression] as const, [`spec.validations[${i}].messageExpression`, messageExpression] as const,
    ]),
    ...list("matchConditions").map(({ expression }, i) => [`spec.matchConditions[${i}].expression`, expression] as const),
    ...list("auditAnnotations").map(({ valueExpression }, i) => [`spec.auditAnnotations[${i}].valueExpression`, valueExpression] as const),
  ];
  return expressions.flatMap(([place, text]) => {
    if (!text) return [];
    try {
      compile(environment, text);
      return [];
    } catch (error) {
      return [[place, (error as Error).message] as const];
    }
  });
}

/** Custom kinds have the standard fields beside those of their schema. */
function typeOfKind(def: ResourceDef, types: SchemaTypes, definitions: Definitions): string {
  if (!isCustom(def)) return types.named(kindDefinition(def.group, def.version, def.kind));
  const { apiVersion, kind, metadata } = definitions[kindDefinition("", "v1", "ConfigMap")]?.properties ?? {};
  const standard = { ...(apiVersion && { apiVersion }), ...(kind && { kind }), ...(metadata && { metadata }) };
  return types.typeOf({ ...def.schema, properties: { ...def.schema.properties, ...standard } } as TypedSchema);
}
