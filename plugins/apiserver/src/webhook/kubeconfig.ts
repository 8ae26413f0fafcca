/** Backends that a kubeconfig file names, as options of upstream's server do: the current context's cluster and user. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import type { ClientConfig } from "./client.ts";

/** Throws an Error that says what is missing. Paths in the file are relative to it. Adds all files that it reads to `files`. */
export async function readBackend(file: string, files: Set<string> = new Set()): Promise<ClientConfig> {
  const read = (path: string): Promise<Buffer> => {
    const absolute = resolve(dirname(file), path);
    files.add(absolute);
    return readFile(absolute);
  };
  const config = parse(String(await read(resolve(file)))) as Record<string, any>;
  const named = (list: string, name: string | undefined): Record<string, any> =>
    ((config[list] ?? []) as { name: string }[]).find((entry) => entry.name === name) ?? (config[list]?.length === 1 ? config[list][0] : {});
  const context = named("contexts", config["current-context"])["context"] ?? {};
  const cluster = named("clusters", context.cluster)["cluster"] ?? {};
  const user = named("users", context.user)["user"] ?? {};
  if (!String(cluster.server ?? "").startsWith("https://")) throw new Error(`${file}: the server of the cluster must be an https URL`);
  const data = async (from: Record<string, any>, key: string): Promise<string | undefined> => {
    if (from[`${key}-data`]) return from[`${key}-data`] as string;
    return from[key] ? (await read(from[key])).toString("base64") : undefined;
  };
  const [caBundle, cert, key] = await Promise.all([data(cluster, "certificate-authority"), data(user, "client-certificate"), data(user, "client-key")]);
  const token: string | undefined = user.token ?? (user.tokenFile && String(await read(user.tokenFile)).trim());
  return { url: cluster.server, ...(caBundle && { caBundle }), ...(cert && { cert }), ...(key && { key }), ...(token && { token }) };
}
