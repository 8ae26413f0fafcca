/** `--kube-apiserver-arg`: options of upstream's server, KEY=VALUE, of which some have an effect here. */
import { type K3spError, k3spError } from "@k3s-p/plugin-api";

/** By name, without dashes; what is given more than once is joined by commas, as upstream takes lists. */
export type ServerArgs = ReadonlyMap<string, string>;

export function readArgs(args: readonly string[]): ServerArgs {
  const found = new Map<string, string>();
  for (const arg of args) {
    const at = arg.indexOf("=");
    const name = (at < 0 ? arg : arg.slice(0, at)).replace(/^--/, "");
    const value = at < 0 ? "true" : arg.slice(at + 1);
    const before = found.get(name);
    found.set(name, before === undefined ? value : `${before},${value}`);
  }
  return found;
}

export const argError = (name: string, why: string, fix: string, cause?: unknown): K3spError =>
  k3spError("K3SP_FLAG_INVALID", { message: `kube-apiserver-arg ${name}: ${why}`, fix, ...(cause !== undefined && { cause }) });

export function numberArg(args: ServerArgs, name: string): number | undefined {
  const text = args.get(name);
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw argError(name, `${JSON.stringify(text)} is no number`, "give a whole number");
}
