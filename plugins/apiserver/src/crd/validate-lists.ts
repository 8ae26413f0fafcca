/** The rules for `x-kubernetes-list-type`. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import { forbidden, invalidValue, notSupported, required } from "../resources/validate/field.ts";
import type { SchemaProps } from "./schema.ts";

const LIST = "x-kubernetes-list-type";
const KEYS = "x-kubernetes-list-map-keys";
const MAP = "x-kubernetes-map-type";

export function validateMapList(schema: SchemaProps, at: string, errors: FieldError[]): void {
  const { type, items } = schema;
  const list = schema[LIST];
  const keys = schema[KEYS] ?? [];
  if (keys.length > 0 && list !== "map") {
    const why = "must be map if x-kubernetes-list-map-keys is non-empty";
    errors.push(list === undefined ? required(`${at}.${LIST}`, why) : invalidValue(`${at}.${LIST}`, list, why));
  }
  if (list === undefined) return;
  if (type !== "array") {
    const why = "must be array if x-kubernetes-list-type is specified";
    errors.push(type ? invalidValue(`${at}.type`, type, why) : required(`${at}.type`, why));
  }
  if (!["atomic", "set", "map"].includes(list)) errors.push(notSupported(`${at}.${LIST}`, list, ["atomic", "set", "map"]));
  if ((list === "set" || list === "map") && items?.nullable) errors.push(forbidden(`${at}.items.nullable`, "cannot be nullable when x-kubernetes-list-type is " + list));
  if (list === "set" && items) checkSetItems(items, at, errors);
  if (list === "map") checkMapItems(items, keys, at, errors);
}

function checkSetItems(items: SchemaProps, at: string, errors: FieldError[]): void {
  const why = "must be atomic as item of a list with x-kubernetes-list-type=set";
  if (items.type === "array" && items[LIST] !== undefined && items[LIST] !== "atomic") errors.push(invalidValue(`${at}.items.${LIST}`, items[LIST], why));
  if (items.type === "object" && items[MAP] !== "atomic") errors.push(invalidValue(`${at}.items.${MAP}`, items[MAP], why));
}

function checkMapItems(items: SchemaProps | undefined, keys: readonly string[], at: string, errors: FieldError[]): void {
  if (keys.length === 0) errors.push(required(`${at}.${KEYS}`, "must not be empty if x-kubernetes-list-type is map"));
  if (!items) return void errors.push(required(`${at}.items`, "must have a schema if x-kubernetes-list-type is map"));
  if (items.type !== "object") return void errors.push(invalidValue(`${at}.items.type`, items.type, "must be object if parent array's x-kubernetes-list-type is map"));
  keys.forEach((key, i) => {
    const field = items.properties?.[key];
    if (!field) errors.push(invalidValue(`${at}.${KEYS}`, keys, "entries must all be names of item properties"));
    else if (field.type === "array" || field.type === "object") {
      errors.push(invalidValue(`${at}.items.properties[${key}].type`, field.type, "must be a scalar type if parent array's x-kubernetes-list-type is map"));
    }
    if (keys.indexOf(key) < i) errors.push(invalidValue(`${at}.${KEYS}[${i}]`, key, "must not contain duplicate entries"));
    if (!field) return;
    const place = `${at}.items.properties[${key}]`;
    if (field.nullable) errors.push(forbidden(`${place}.nullable`, "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"));
    if (field.default === undefined && !items.required?.includes(key)) {
      errors.push(required(`${place}.default`, "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"));
    }
  });
}
