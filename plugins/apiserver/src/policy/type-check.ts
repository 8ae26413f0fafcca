/**
 * `status.typeChecking` of ValidatingAdmissionPolicies: their expressions against the schemas of the kinds that their
 * rules name. A finding is a warning and no more: a rule may match other kinds, too.
 */
import { defineResource, isConflict, isNotFound, type KubeClient } from "@k3s-p/plugin-api/kube";
import { compile, type Environment } from "../cel/environment.ts";
import { isCustom } from "../crd/resource.ts";
import { type Schema, readDefinitions } from "../openapi/generated.ts";
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
  const definitions = readDefinitions();
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

type Definitions = Readonly<Record<string, Schema>>;

/** Variables are checked before what names them, and what they are is known from then on. */
function problemsOf(spec: Obj, def: ResourceDef, params: ResourceDef | undefined, definitions: Definitions): (readonly [string, string])[] {
  const environment = requestEnvironment({ namespaceObject: "dyn" }, ["object", "oldObject"]);
  const types = typeMaker(environment, definitions);
  const object = types.ofKind(def);
  environment.registerVariable("object", object).registerVariable("oldObject", object);
  environment.registerVariable("params", params ? types.ofKind(params) : "dyn").registerVariable("variables", "dyn");
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

/** CEL types of schemas, registered when they are first needed. */
function typeMaker(environment: Environment, definitions: Definitions) {
  const named = new Map<string, string>();
  let count = 0;

  const fieldsOf = (properties: Readonly<Record<string, Schema>>): Record<string, string> =>
    Object.fromEntries(Object.entries(properties).filter(([name]) => /^[A-Za-z_]\w*$/.test(name)).map(([name, schema]) => [name, typeOf(schema)]));

  const message = (properties: Readonly<Record<string, Schema>>): string => {
    const fields = fieldsOf(properties);
    const name = `Schema${count++}`;
    environment.registerType({ name, schema: fields } as never);
    environment.registerOperator(`${name} == null`, () => false);
    return name;
  };

  function typeOf(schema: Schema): string {
    const { $ref, type, properties, items, additionalProperties, format } = schema as { readonly $ref?: string; readonly type?: string; readonly properties?: Record<string, Schema>; readonly items?: Schema; readonly additionalProperties?: Schema | boolean; readonly format?: string };
    if ($ref) return referenced($ref.split("/").at(-1)!);
    if (schema["x-kubernetes-preserve-unknown-fields"] || schema["x-kubernetes-int-or-string"] || schema["x-kubernetes-embedded-resource"]) return "dyn";
    if (type === "string") return format ? "dyn" : "string";
    if (type === "array") return items ? `list<${typeOf(items)}>` : "list<dyn>";
    if (type === "object" && properties) return message(properties);
    if (type === "object" && typeof additionalProperties === "object") return `map<string, ${typeOf(additionalProperties)}>`;
    return ({ boolean: "bool", integer: "int", number: "double" } as Readonly<Record<string, string>>)[type ?? ""] ?? "dyn";
  }

  /** A type inside of itself is any type. */
  function referenced(name: string): string {
    const known = named.get(name);
    if (known) return known;
    named.set(name, "dyn");
    const definition = definitions[name];
    const made = definition ? typeOf(definition) : "dyn";
    named.set(name, made);
    return made;
  }

  return {
    ofKind(def: ResourceDef): string {
      if (!isCustom(def)) return referenced(kindDefinition(def.group, def.version, def.kind));
      const { properties = {}, ...rest } = def.schema as unknown as Schema & { readonly properties?: Record<string, Schema> };
      const standard = definitions[kindDefinition("", "v1", "ConfigMap")]?.["properties"] as Record<string, Schema> | undefined;
      return typeOf({ ...rest, properties: { ...properties, ...(standard && { apiVersion: standard["apiVersion"]!, kind: standard["kind"]!, metadata: standard["metadata"]! }) } });
    },
  };
}
