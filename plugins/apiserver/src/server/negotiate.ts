/** Content negotiation: in which form and encoding a client wants its answer. */
import { apiError } from "@k3s-p/plugin-api/kube";

export interface Format {
  readonly as: "object" | "table" | "partial";
  readonly encoding: "json" | "yaml" | "protobuf";
  /** Version of meta.k8s.io for tables and partial objects. */
  readonly version: string;
}

const plain: Format = { as: "object", encoding: "json", version: "v1" };
const encodings: Readonly<Record<string, Format["encoding"]>> = {
  "application/json": "json", "*/*": "json", "application/*": "json", "application/yaml": "yaml",
};
const transforms: Readonly<Record<string, Format["as"]>> = {
  Table: "table", PartialObjectMetadata: "partial", PartialObjectMetadataList: "partial",
};
const PROTOBUF = "application/vnd.kubernetes.protobuf";
const known = new Map<string, Format | undefined>();
const MAX_KNOWN = 256;

/** The first acceptable clause of an Accept header, by quality; 406 when there is none. */
export function negotiate(accept: string | undefined, transformable = true): Format {
  if (!accept || accept === "application/json" || accept === "*/*") return plain;
  const key = `${transformable} ${accept}`;
  if (!known.has(key)) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, choose(accept, transformable));
  }
  const format = known.get(key);
  if (format) return format;
  throw notAcceptable();
}

export const notAcceptable = (): Error => apiError(406, "NotAcceptable",
  "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf");

function choose(accept: string, transformable: boolean): Format | undefined {
  const clauses = accept.split(",").map((text, order) => {
    const [type = "", ...params] = text.split(";").map((part) => part.trim());
    const map = new Map(params.map((param) => param.split("=", 2) as [string, string]));
    return { type: type.toLowerCase(), map, order, quality: Number(map.get("q") ?? 1) };
  });
  clauses.sort((a, b) => b.quality - a.quality || a.order - b.order);
  for (const { type, map } of clauses) {
    const encoding = encodings[type];
    const as = map.get("as");
    if (!encoding) continue;
    if (!as) return { ...plain, encoding };
    const transform = transforms[as];
    const version = map.get("v") ?? "v1";
    const served = map.get("g") === "meta.k8s.io" && (version === "v1" || version === "v1beta1");
    if (transform && served && transformable) return { as: transform, encoding, version };
  }
  // Objects are kept as JSON: protobuf is for those who cannot read that.
  return clauses.some(({ type, map }) => type === PROTOBUF && !map.has("as")) ? { ...plain, encoding: "protobuf" } : undefined;
}
