/** Warnings of volumes whose files would lie on top of, or inside, one another. */
import { items } from "../fields.ts";
import type { Obj } from "../types.ts";

/** A file of a volume, and which part of the volume it is from; "" when the volume has only one. */
interface File {
  readonly path: string;
  readonly source: string;
}

export const warnOfOverlaps = (volumes: readonly Obj[]): string[] => volumes.flatMap(({ name, configMap, secret, downwardAPI, projected }) => {
  const volume = `volume ${JSON.stringify(name)}`;
  const warn = (what: string, files: readonly File[]): string[] => overlaps(files).map((overlap) => `${volume} (${what}): overlapping paths: ${overlap}`);
  const sources = items(projected, "sources");
  return [
    ...warn(`ConfigMap ${JSON.stringify(configMap?.name ?? "")}`, filesOf(configMap)),
    ...warn(`Secret ${JSON.stringify(secret?.secretName ?? "")}`, filesOf(secret)),
    ...warn("DownwardAPI", filesOf(downwardAPI)),
    ...sources.filter((source) => Object.keys(source).length === 0).map(() => `${volume} (Projected) has no sources provided`),
    ...warn("Projected", sources.flatMap(projectedFiles)),
  ];
});

const filesOf = (volume: Obj | undefined, source = ""): File[] => items(volume, "items").map(({ path = "" }) => ({ path, source }));

function projectedFiles({ configMap, secret, downwardAPI, serviceAccountToken, clusterTrustBundle, podCertificate }: Obj): File[] {
  if (configMap?.items) return filesOf(configMap, `ConfigMap ${JSON.stringify(configMap.name ?? "")}`);
  if (secret?.items) return filesOf(secret, `Secret ${JSON.stringify(secret.name ?? "")}`);
  if (downwardAPI?.items) return filesOf(downwardAPI, "DownwardAPI");
  if (serviceAccountToken) return [{ path: serviceAccountToken.path ?? "", source: "ServiceAccountToken" }];
  if (clusterTrustBundle) {
    const { path = "", name, signerName = "" } = clusterTrustBundle;
    return [{ path, source: `ClusterTrustBundle ${JSON.stringify(name ?? signerName)}` }];
  }
  const { certificateChainPath = "", keyPath = "", credentialBundlePath = "" } = podCertificate ?? {};
  return [
    { path: certificateChainPath, source: "PodCertificate chain" }, { path: keyPath, source: "PodCertificate key" },
    { path: credentialBundlePath, source: "PodCertificate credential bundle" },
  ];
}

/** Each file with each before it that is the same or one of whose paths is a directory of the other's. */
function overlaps(files: readonly File[]): string[] {
  const named = files.filter(({ path }) => path !== "").map(({ path, source }) => ({ path: path.replace(/\/+$/, ""), source }));
  const isWithin = (path: string, directory: string): boolean => `${path}/`.startsWith(`${directory}/`);
  return named.flatMap((file, i) => named.slice(0, i)
    .filter(({ path }) => isWithin(path, file.path) || isWithin(file.path, path))
    .map((other) => `${textOf(file)} with ${textOf(other)}`));
}

const textOf = ({ path, source }: File): string => JSON.stringify(path) + (source && ` (${source})`);
