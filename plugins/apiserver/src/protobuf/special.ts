/** Messages whose JSON is not an object of their fields: times, quantities, raw JSON, unions. */

/** `set` turns JSON into the message's fields, `get` the fields into JSON (undefined = leave out). */
export interface Special {
  readonly set: (json: unknown) => Record<string, unknown>;
  readonly get: (fields: Record<string, any>) => unknown;
}

const rawJson: Special = {
  set: (json) => ({ raw: Buffer.from(JSON.stringify(json)).toString("base64") }),
  get: ({ raw, Raw }) => {
    const text = Buffer.from(String(raw ?? Raw ?? ""), "base64").toString();
    return text === "" ? undefined : (JSON.parse(text) as unknown);
  },
};

function timeToFields(json: unknown): Record<string, unknown> {
  const text = String(json);
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new SyntaxError(`"${text}" is not a time`);
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? "";
  return { seconds: Math.floor(ms / 1000), nanos: Number(fraction.padEnd(9, "0").slice(0, 9)) };
}

const isoSeconds = (seconds: number): string => new Date(seconds * 1000).toISOString().slice(0, 19);
/** Go's zero time is sent as an empty message, and stands for no time at all. */
const isZeroTime = ({ seconds = 0, nanos = 0 }): boolean => (seconds === 0 && nanos === 0) || seconds === -62_135_596_800;

const time: Special = { set: timeToFields, get: (f) => (isZeroTime(f) ? undefined : `${isoSeconds(f.seconds ?? 0)}Z`) };
const microTime: Special = {
  set: timeToFields,
  get: (f) => (isZeroTime(f) ? undefined : `${isoSeconds(f.seconds ?? 0)}.${String(Math.floor((f.nanos ?? 0) / 1000)).padStart(6, "0")}Z`),
};

const items: Special = { set: (json) => ({ items: json }), get: (f) => f.items ?? [] };

export const specials: Readonly<Record<string, Special>> = {
  "meta.v1.Time": time,
  "meta.v1.MicroTime": microTime,
  "api.resource.Quantity": { set: (json) => ({ string: String(json) }), get: (f) => f.string ?? "0" },
  "util.intstr.IntOrString": {
    set: (json) => (typeof json === "number" ? { type: 0, intVal: json } : { type: 1, strVal: json }),
    get: (f) => (f.type === 1 ? (f.strVal ?? "") : (f.intVal ?? 0)),
  },
  "runtime.RawExtension": rawJson,
  "apiextensions.v1.JSON": rawJson,
  "meta.v1.FieldsV1": { ...rawJson, set: (json) => ({ Raw: rawJson.set(json).raw }) },
  "authentication.v1.ExtraValue": items,
  "authorization.v1.ExtraValue": items,
  "certificates.v1.ExtraValue": items,
  "apiextensions.v1.JSONSchemaPropsOrArray": {
    set: (json) => (Array.isArray(json) ? { jSONSchemas: json } : { schema: json }),
    get: (f) => f.jSONSchemas ?? f.schema,
  },
  "apiextensions.v1.JSONSchemaPropsOrBool": {
    set: (json) => (typeof json === "boolean" ? { allows: json } : { allows: true, schema: json }),
    get: (f) => f.schema ?? f.allows ?? false,
  },
  "apiextensions.v1.JSONSchemaPropsOrStringArray": {
    set: (json) => (Array.isArray(json) ? { property: json } : { schema: json }),
    get: (f) => f.property ?? f.schema,
  },
};
