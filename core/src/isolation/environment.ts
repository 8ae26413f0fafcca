/** What every program of a plugin finds in its environment: its folders, and a kubeconfig when it declares `kube`. */
import { chownSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isK3spError, replaceFile } from "@k3s-p/plugin-api";
import type { KubeConnection } from "@k3s-p/plugin-api/kube/https";
import type { HostOptions } from "../kernel/hosts/index.ts";
import { uidOf } from "./confine.ts";

export async function programEnv({ manifest, dirs, connect }: Pick<HostOptions, "manifest" | "dirs" | "connect">): Promise<Record<string, string>> {
  const { id, needs, wants } = manifest;
  const data = join(dirs.data, id);
  const run = join(dirs.run, id);
  const env = { HOME: data, K3SP_PLUGIN: id, K3SP_DATA: data, K3SP_RUN: run };
  const connection = "kube" in needs ? await connect("kube") : "kube" in wants ? await unlessAbsent(connect("kube")) : undefined;
  if (!connection) return env;
  const file = kubeconfigFile({ manifest, dirs });
  await replaceFile(file, kubeconfig(connection as KubeConnection));
  const uid = uidOf(manifest);
  if (uid !== undefined) chownSync(file, uid, uid);
  return { ...env, KUBECONFIG: file };
}

const kubeconfigFile = ({ manifest, dirs }: Pick<HostOptions, "manifest" | "dirs">): string => join(dirs.run, manifest.id, "kubeconfig");

/** The token in it outlives the program. */
export const removeCredentials = (options: Pick<HostOptions, "manifest" | "dirs">): void => rmSync(kubeconfigFile(options), { force: true });

/** What a plugin only wants may have no provider. */
const unlessAbsent = <T>(connection: Promise<T>): Promise<T | undefined> => connection.catch((error: unknown) => {
  if (isK3spError(error) && error.code === "K3SP_SLOT_UNAVAILABLE") return undefined;
  throw error;
});

/** JSON, which is YAML too: a program without a YAML library reads it as well. */
function kubeconfig({ url, ca, token, cert = "", key = "" }: KubeConnection): string {
  const base64 = (pem: string): string => Buffer.from(pem).toString("base64");
  const cluster = { server: url, "certificate-authority-data": base64(ca) };
  const user = token ? { token } : { "client-certificate-data": base64(cert), "client-key-data": base64(key) };
  return `${JSON.stringify({
    apiVersion: "v1", kind: "Config", "current-context": "default", contexts: [{ name: "default", context: { cluster: "default", user: "default" } }],
    clusters: [{ name: "default", cluster }], users: [{ name: "default", user }],
  }, null, 2)}\n`;
}
