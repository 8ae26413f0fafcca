/** A change as one line of the journal. */
import type { Change } from "@k3s-p/plugin-api/slots";

export const encode = (change: Change): string => `${JSON.stringify({ ...change, value: change.value && Buffer.from(change.value).toString("base64") })}\n`;

export function decode(line: string): Change {
  const { value, ...change } = JSON.parse(line) as Omit<Change, "value"> & { readonly value: string | null };
  return { ...change, value: value === null ? null : Buffer.from(value, "base64") };
}
