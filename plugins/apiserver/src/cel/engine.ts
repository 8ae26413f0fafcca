/** The CEL library itself, loaded when first needed. */
import { createRequire } from "node:module";
import type * as Cel from "@marcbachmann/cel-js";

/** A synchronous import: validation has no place to wait, and whoever has no rules never pays. */
export function celLibrary(): typeof Cel {
  loaded ??= createRequire(import.meta.url)("@marcbachmann/cel-js") as typeof Cel;
  return loaded;
}
let loaded: typeof Cel | undefined;

/** Optional values: of nothing for `undefined`. */
export const optional = (value: unknown): unknown => celLibrary().Optional.of(value);
