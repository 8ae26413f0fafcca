/** What upstream calls the plugins behind volumes. */

const pluginNames: Readonly<Record<string, string>> = {
  emptyDir: "empty-dir", hostPath: "host-path", downwardAPI: "downward-api", persistentVolumeClaim: "persistent-claim", ephemeral: "persistent-claim",
};

/** `kubernetes.io/empty-dir`: as upstream names the plugin behind a volume. */
export function pluginName(volume: object): string {
  const kind = Object.keys(volume).find((key) => key !== "name") ?? "emptyDir";
  return `kubernetes.io/${pluginNames[kind] ?? kind.toLowerCase()}`;
}
