/** What an agent takes over from its server, as the answer to `/v1-k3s/config`. */
import type { KubeClient } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import manifest from "../package.json" with { type: "json" };

export interface AgentConfig extends Pick<ClusterSettings, "shared" | "nodeSlots" | "agentPlugins"> {
  /** Of k3s-p. */
  readonly version: string;
  /** Of Kubernetes, as `/version` says it. */
  readonly kubernetes: string;
}

export async function agentConfig(client: KubeClient, { shared, nodeSlots, agentPlugins }: ClusterSettings): Promise<AgentConfig> {
  const { body } = await client.request("GET", "/version");
  return { version: manifest.version, kubernetes: (body as { readonly gitVersion: string }).gitVersion, shared, nodeSlots, agentPlugins };
}
