/** Where volumes go: `config.json` of the ConfigMap local-path-config, in the local path provisioner's format. */
export interface PathConfig {
  readonly nodePathMap: readonly { readonly node: string; readonly paths: readonly string[] }[];
}

const anyNode = "DEFAULT_PATH_FOR_NON_LISTED_NODES";

/** Throws an Error that says what is wrong. */
export function parsePathConfig(text: string): PathConfig {
  const config = JSON.parse(text) as PathConfig;
  if (!Array.isArray(config?.nodePathMap)) throw new Error("nodePathMap is missing");
  for (const { node, paths } of config.nodePathMap) {
    if (typeof node !== "string" || !Array.isArray(paths)) throw new Error("an entry of nodePathMap needs node and paths");
    const bad = paths.find((path) => typeof path !== "string" || !path.startsWith("/") || path === "/");
    if (bad !== undefined) throw new Error(`path ${JSON.stringify(bad)} of node ${node} is not an absolute path below /`);
  }
  return config;
}

/** The node's own paths, else those for all nodes that are not listed. An empty list keeps volumes off the node. */
export function pathsOf(config: PathConfig, node: string): readonly string[] {
  const entry = config.nodePathMap.find((e) => e.node === node) ?? config.nodePathMap.find((e) => e.node === anyNode);
  return entry?.paths ?? [];
}

export interface VolumeName {
  readonly namespace: string;
  readonly claim: string;
  readonly volume: string;
}

/** The folder's name: `pvc-UID_NAMESPACE_NAME`, or the class's `pathPattern` filled in. */
export function folderName({ namespace, claim, volume }: VolumeName, pattern: string | undefined): string {
  if (!pattern) return `${volume}_${namespace}_${claim}`;
  const values: Readonly<Record<string, string>> = { ".PVC.Namespace": namespace, ".PVC.Name": claim, ".PVName": volume };
  return pattern.replace(/\{\{\s*([^}]*?)\s*\}\}/g, (_match, field: string) => {
    const value = values[field];
    if (value === undefined) throw new Error(`pathPattern "${pattern}" uses ${field}; known: ${Object.keys(values).join(", ")}`);
    return value;
  });
}
