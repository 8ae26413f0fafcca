/** Request bodies: read with a limit, decoded from JSON, YAML or protobuf. */
import type { Readable } from "node:stream";
import { apiError, badRequest } from "@k3s-p/plugin-api/kube";

export const MAX_BODY = 3 * 1024 * 1024;

export function readBody(stream: Readable): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY) return void chunks.push(chunk);
      chunks.length = 0;
      reject(apiError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${MAX_BODY}`));
    });
    stream.on("end", () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    stream.on("error", reject);
    stream.on("close", () => stream.readableEnded || reject(badRequest("unexpected EOF")));
  });
}

export const mediaType = (contentType: string | undefined): string =>
  (contentType ?? "").split(";", 1)[0]!.trim().toLowerCase();

/** A decoded body. Unknown media types are 415, what does not parse is 400. */
export async function decodeBody(bytes: Buffer, contentType: string | undefined): Promise<unknown> {
  const type = mediaType(contentType);
  if (type === "" || type === "application/json" || type.endsWith("+json") || type === "application/x-www-form-urlencoded") {
    return parseJson(bytes);
  }
  if (type === "application/yaml" || type.endsWith("+yaml") || type === "text/yaml") return parseYaml(bytes);
  if (type === "application/vnd.kubernetes.protobuf") return (await import("../protobuf/index.ts")).decodeProtobuf(bytes);
  throw apiError(415, "UnsupportedMediaType",
    "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw badRequest(`couldn't get version/kind; json parse error: ${(error as Error).message}`);
  }
}

async function parseYaml(bytes: Buffer): Promise<unknown> {
  const { parse } = await import("yaml");
  try {
    return parse(bytes.toString("utf8"));
  } catch (error) {
    throw badRequest(`error converting YAML to JSON: yaml: ${(error as Error).message}`);
  }
}
