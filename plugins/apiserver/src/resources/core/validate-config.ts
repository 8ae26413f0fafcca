/** Validation of ConfigMaps and Secrets. */
import { same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, forbidden, IMMUTABLE, invalidAll, invalidValue, required, tooLong } from "../validate/field.ts";
import { configKey } from "../validate/names.ts";

const MAX_SIZE = 1024 * 1024;
const FROZEN = "field is immutable when `immutable` is set";
const REDACTED = "<secret contents redacted>";

const entries = (value: unknown): [string, string][] => Object.entries((value ?? {}) as Record<string, string>);
const bytes = (text: unknown, encoding: "utf8" | "base64"): number => Buffer.byteLength(String(text ?? ""), encoding);

export function validateConfigMap(object: Obj): FieldError[] {
  const errors: FieldError[] = [];
  let total = 0;
  for (const [key, value] of entries(object.data)) {
    errors.push(...invalidAll(`data[${key}]`, key, configKey(key)));
    if (object.binaryData && Object.hasOwn(object.binaryData, key)) errors.push(invalidValue(`data[${key}]`, key, "duplicate of key present in binaryData"));
    total += bytes(value, "utf8");
  }
  for (const [key, value] of entries(object.binaryData)) {
    errors.push(...invalidAll(`binaryData[${key}]`, key, configKey(key)));
    total += bytes(value, "base64");
  }
  return total > MAX_SIZE ? [...errors, tooLong("", MAX_SIZE)] : errors;
}

export const validateConfigMapUpdate = (object: Obj, old: Obj): FieldError[] =>
  [...validateFrozen(object, old, ["data", "binaryData"]), ...validateConfigMap(object)];

function validateFrozen(object: Obj, old: Obj, fields: readonly string[]): FieldError[] {
  if (old.immutable !== true) return [];
  const thawed = object.immutable === true ? [] : [forbidden("immutable", FROZEN)];
  return [...thawed, ...fields.filter((field) => !same(object[field], old[field])).map((field) => forbidden(field, FROZEN))];
}

/** Keys that a type's data must have. */
const requiredKeys: Readonly<Record<string, readonly string[]>> = {
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
};
const dockerKeys: Readonly<Record<string, string>> = {
  "kubernetes.io/dockercfg": ".dockercfg",
  "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
};

export function validateSecret(object: Obj): FieldError[] {
  const errors = entries(object.data).flatMap(([key]) => invalidAll(`data[${key}]`, key, configKey(key)));
  const total = entries(object.data).reduce((sum, [, value]) => sum + bytes(value, "base64"), 0);
  if (total > MAX_SIZE) errors.push(tooLong("data", MAX_SIZE));
  return [...errors, ...validateByType(object)];
}

function validateByType({ type, data = {}, metadata }: Obj): FieldError[] {
  if (type === "kubernetes.io/service-account-token") {
    const name = "kubernetes.io/service-account.name";
    return metadata?.annotations?.[name] ? [] : [required(`metadata.annotations[${name}]`)];
  }
  if (type === "kubernetes.io/basic-auth") {
    const has = (key: string) => Object.hasOwn(data ?? {}, key);
    return has("username") || has("password") ? [] : [required("data[username]"), required("data[password]")];
  }
  if (type === "kubernetes.io/ssh-auth") return data?.["ssh-privatekey"] ? [] : [required("data[ssh-privatekey]")];
  const docker = dockerKeys[type];
  if (docker) {
    if (!Object.hasOwn(data ?? {}, docker)) return [required(`data[${docker}]`)];
    const why = jsonProblem(Buffer.from(data[docker] ?? "", "base64").toString());
    return why ? [invalidValue(`data[${docker}]`, REDACTED, why)] : [];
  }
  return (requiredKeys[type] ?? []).filter((key) => !Object.hasOwn(data ?? {}, key)).map((key) => required(`data[${key}]`));
}

/** Why a text is no object, in the words of upstream's decoder as far as they tell nothing of a secret's inside. */
function jsonProblem(text: string): string | undefined {
  const first = text.trimStart()[0];
  if (first === undefined) return "unexpected end of JSON input";
  try {
    const value: unknown = JSON.parse(text);
    const isMap = value === null || (typeof value === "object" && !Array.isArray(value));
    return isMap ? undefined : `json: cannot unmarshal ${goTypeOf(value)} into Go value of type map[string]interface {}`;
  } catch {
    return /[[{"\-\dtfn]/.test(first) ? "invalid character in JSON text" : `invalid character ${first === "'" ? "'\\''" : `'${first}'`} looking for beginning of value`;
  }
}

const goTypeOf = (value: unknown): string => (Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value);

export function validateSecretUpdate(object: Obj, old: Obj): FieldError[] {
  const type = object.type === old.type ? [] : [invalidValue("type", object.type, IMMUTABLE)];
  return [...type, ...validateFrozen(object, old, ["data"]), ...validateSecret(object)];
}
