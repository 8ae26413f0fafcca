/** Plain JSON values as google.protobuf.Struct, the one message of the `rpc` wire, and back. */

export interface Struct {
  readonly fields: Readonly<Record<string, StructValue>>;
}

export type StructValue =
  | { readonly nullValue: 0 }
  | { readonly numberValue: number }
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly structValue: Struct }
  | { readonly listValue: { readonly values: readonly StructValue[] } };

/** What JSON cannot say is left out: functions and undefined; a big integer becomes a string. */
export function toStruct(object: object): Struct {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined && typeof value !== "function");
  return { fields: Object.fromEntries(entries.map(([key, value]) => [key, toValue(value)])) };
}

function toValue(value: unknown): StructValue {
  if (value === null || value === undefined) return { nullValue: 0 };
  if (typeof value === "number") return { numberValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  if (typeof value === "object") return { structValue: toStruct(value) };
  return { stringValue: String(value) };
}

export const fromStruct = ({ fields = {} }: Partial<Struct>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, fromValue(value)]));

function fromValue(value: StructValue): unknown {
  if ("stringValue" in value) return value.stringValue;
  if ("numberValue" in value) return value.numberValue;
  if ("boolValue" in value) return value.boolValue;
  if ("structValue" in value) return fromStruct(value.structValue);
  if ("listValue" in value) return (value.listValue.values ?? []).map(fromValue);
  return null;
}
