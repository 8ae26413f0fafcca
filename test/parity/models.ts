/** What `@kubernetes/client-node` knows of upstream's API, read from its generated code: types by class, and operations. */
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = join(dirname(fileURLToPath(import.meta.resolve("@kubernetes/client-node"))), "gen");

export interface Attribute {
  /** Name on the wire. */
  readonly baseName: string;
  readonly type: string;
  readonly format: string;
}

/** Every model: its class name, and its attributes. */
export function models(): ReadonlyMap<string, readonly Attribute[]> {
  const found = new Map<string, readonly Attribute[]>();
  for (const file of globSync("models/*.js", { cwd: folder })) {
    const code = readFileSync(join(folder, file), "utf8");
    const start = code.indexOf("attributeTypeMap = [");
    if (start < 0) continue;
    found.set(file.slice("models/".length, -".js".length), JSON.parse(code.slice(code.indexOf("[", start), code.indexOf("];", start) + 1)) as Attribute[]);
  }
  return found;
}

export interface ClientOperation {
  /** Such as `get`. */
  readonly method: string;
  readonly path: string;
  readonly query: readonly string[];
}

/** Every request that the client can make. */
export function operations(): readonly ClientOperation[] {
  const found: ClientOperation[] = [];
  for (const file of globSync("apis/*Api.js", { cwd: folder })) {
    // A part begins with the path of one request and ends before that of the next.
    for (const part of readFileSync(join(folder, file), "utf8").split("const localVarPath = ").slice(1)) {
      const path = /^['"]([^'"]+)['"]/.exec(part)![1]!;
      const method = /HttpMethod\.([A-Z]+)/.exec(part)![1]!.toLowerCase();
      found.push({ method, path, query: [...part.matchAll(/setQueryParam\("([^"]+)"/g)].map(([, name]) => name!) });
    }
  }
  return found;
}
