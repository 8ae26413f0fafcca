/** What every kind of informer says of an index that it was not made with: an empty answer would hide a misspelt name for ever. */
import type { InformerOptions } from "./client.ts";
import type { Resource } from "./resources.ts";

export function unknownIndex({ plural }: Pick<Resource, "plural">, { indexes = {} }: Pick<InformerOptions<never>, "indexes">, name: string): TypeError {
  const known = Object.keys(indexes).sort().join(", ") || "none";
  return new TypeError(`the informer of ${plural} has no index ${JSON.stringify(name)}; it was made with ${known}`);
}
