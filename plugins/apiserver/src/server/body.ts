/** Request bodies: read with a limit, decoded from JSON, YAML or protobuf. */
import type { Readable } from "node:stream";
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";
import { countKeys, type Duplicates, jsonDuplicates, measureJson, yamlDuplicates } from "./duplicates.ts";

export const MAX_BODY = 3 * 1024 * 1024;

/** Rejects with 413 beyond the limit. */
export function readBody(stream: Readable, limit = MAX_BODY): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) return void chunks.push(chunk);
      chunks.length = 0;
      reject(apiError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${limit}`));
    });
    stream.on("end", () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    stream.on("error", reject);
    stream.on("close", () => stream.readableEnded || reject(badRequest("unexpected EOF")));
  });
}

export const mediaType = (contentType: string | undefined): string =>
  (contentType ?? "").split(";", 1)[0]!.trim().toLowerCase();

export interface Decoded {
  readonly value: unknown;
  /** Keys that the text has twice, of which the value has the last. */
  readonly duplicates?: Duplicates | undefined;
}

/** A decoded body. Unknown media types are 415, what does not parse is 400. */
export async function decodeBody(bytes: Buffer, contentType: string | undefined): Promise<unknown> {
  return (await decode(bytes, contentType, false)).value;
}

/** The same, with a look for keys that are there twice. */
export const decodeChecked = (bytes: Buffer, contentType: string | undefined): Promise<Decoded> => decode(bytes, contentType, true);

async function decode(bytes: Buffer, contentType: string | undefined, check: boolean): Promise<Decoded> {
  const type = mediaType(contentType);
  if (type === "" || type === "application/json" || type.endsWith("+json") || type === "application/x-www-form-urlencoded") {
    return parseJson(bytes, check);
  }
  if (type === "application/yaml" || type.endsWith("+yaml") || type === "text/yaml") return jsonOf(bytes, check) ?? parseYaml(bytes, check);
  if (type === "application/vnd.kubernetes.protobuf") return { value: (await import("../protobuf/index.ts")).decodeProtobuf(bytes) };
  throw apiError(415, "UnsupportedMediaType",
    "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

/** Of lists and objects in one another; whoever walks an object may go so deep. */
const MAX_DEPTH = 1000;

function parseJson(bytes: Buffer, check: boolean): Decoded {
  // Looked at first: a parser may take a second for what is too deep.
  const { keys, depth } = check || bytes.length > 2 * MAX_DEPTH ? measureJson(bytes) : { keys: 0, depth: 0 };
  if (depth > MAX_DEPTH) throw badRequest("couldn't get version/kind; json parse error: exceeded max depth");
  const text = bytes.toString("utf8");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${(error as Error).message}`);
  }
  return { value, duplicates: check && keys > countKeys(value) ? jsonDuplicates(text) : undefined };
}

/** JSON is YAML, too, and most of what is applied is JSON. Undefined when the YAML parser has something to tell, or it is none. */
function jsonOf(bytes: Buffer, check: boolean): Decoded | undefined {
  if (bytes[0] !== OPENING_BRACE) return undefined;
  try {
    const decoded = parseJson(bytes, check);
    return decoded.duplicates ? undefined : decoded;
  } catch {
    return undefined;
  }
}

const OPENING_BRACE = 0x7b;

async function parseYaml(bytes: Buffer, check: boolean): Promise<Decoded> {
  const { LineCounter, parseDocument } = await import("yaml");
  const lines = new LineCounter();
  try {
    const document = parseDocument(bytes.toString("utf8"), { uniqueKeys: false, lineCounter: lines, logLevel: "error" });
    if (document.errors.length > 0) throw document.errors[0]!;
    const value: unknown = document.toJS();
    if (measureDepth(value) > MAX_DEPTH) throw new Error("exceeded max depth");
    return { value, duplicates: check ? await yamlDuplicates(document, (offset) => lines.linePos(offset).line) : undefined };
  } catch (error) {
    throw badRequest(`error converting YAML to JSON: yaml: ${(error as Error).message}`);
  }
}

/** At most one more than the limit. */
function measureDepth(value: unknown, level = 0): number {
  if (typeof value !== "object" || value === null || level > MAX_DEPTH) return level;
  return Object.values(value).reduce((deepest: number, item) => Math.max(deepest, measureDepth(item, level + 1)), level + 1);
}
