/** The way to the API server of commands that ask it: the administrator's kubeconfig, and what they say when nothing answers there. */
import { readFileSync } from "node:fs";
import { isK3spError, k3spError } from "@k3s-p/plugin-api";
import type { KubeConnection } from "@k3s-p/plugin-api/kube/https";
import { parse } from "yaml";

interface KubeConfig {
  readonly "current-context"?: string;
  readonly contexts?: readonly { readonly name: string; readonly context: { readonly cluster: string; readonly user: string } }[];
  readonly clusters?: readonly { readonly name: string; readonly cluster: Readonly<Record<string, string>> }[];
  readonly users?: readonly { readonly name: string; readonly user: Readonly<Record<string, string>> }[];
}

export function readKubeconfig(path: string): KubeConnection {
  const config = parseFile(path);
  const context = config.contexts?.find(({ name }) => name === config["current-context"])?.context;
  const cluster = config.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config.users?.find(({ name }) => name === context?.user)?.user ?? {};
  if (!cluster?.server) throw k3spError("K3SP_CONFIG_INVALID", { message: `${path} has no cluster for its current context`, fix: "name another file with --kubeconfig" });
  const [cert, key] = [valueOf(user, "client-certificate"), valueOf(user, "client-key")];
  return { url: cluster.server, ca: valueOf(cluster, "certificate-authority") ?? "", ...(cert && { cert }), ...(key && { key }), ...(user.token && { token: user.token }) };
}

export async function answered<T>(request: Promise<T> | T): Promise<T> {
  try {
    return await request;
  } catch (cause) {
    // Errors of sockets and of TLS have names for codes; those of the API server have numbers.
    if (isK3spError(cause) || typeof (cause as NodeJS.ErrnoException).code !== "string") throw cause;
    throw k3spError("K3SP_SERVER_NOT_RUNNING", { message: `no server answers: ${(cause as Error).message}`, cause });
  }
}

function parseFile(path: string): KubeConfig {
  try {
    return parse(readFileSync(path, "utf8")) as KubeConfig;
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw k3spError(missing ? "K3SP_SERVER_NOT_RUNNING" : "K3SP_CONFIG_SYNTAX", {
      message: `the kubeconfig ${path} cannot be read`, cause,
      fix: missing ? "start k3s-p server, or name the file with --kubeconfig" : "correct the file, or name another with --kubeconfig",
    });
  }
}

/** Base64 in `NAME-data`, or the path of a file in `NAME`. */
function valueOf(holder: Readonly<Record<string, string>>, name: string): string | undefined {
  const data = holder[`${name}-data`];
  if (data) return Buffer.from(data, "base64").toString();
  return holder[name] ? readFileSync(holder[name], "utf8") : undefined;
}
