/**
 * Notices clients from before Kubernetes 1.24. They wait for a token Secret in every ServiceAccount, which servers no
 * longer make by themselves (KEP-2799). The ConfigMap kube-system/legacy-clients tells the token controller to.
 */
import { configMaps, isAlreadyExists, type KubeClient } from "@k3s-p/plugin-api/kube";

/** First minor version whose clients do not wait. */
const NEW_ENOUGH = 24;
const KNOWN_AGENTS = 256;
/** `e2e.test/v1.20.2 (linux/amd64) kubernetes/faecb19` */
const agentPattern = /^[^/\s]+\/v([01])\.(\d+)\.\d+\S* \([^)]+\) kubernetes\//;
/** The conformance suite's program, or the name of a spec that it appends. */
const suitePattern = /^e2e\b| -- \[/;

/** The suite is often built from source without a version (`v0.0.0`); then it may be an old one. */
export const isOldClient = (agent: string): boolean => {
  const [, major, minor] = agentPattern.exec(agent) ?? [];
  if (major === undefined) return false;
  return major === "1" ? Number(minor) < NEW_ENOUGH : suitePattern.test(agent);
};

/** The returned function is called with the user agent of every authenticated request. */
export function noticeOldClients(client: KubeClient): (agent: string | undefined) => void {
  const known = new Set<string>();
  let noted = false;

  async function note(agent: string): Promise<void> {
    try {
      await client.create(configMaps, { metadata: { name: "legacy-clients", namespace: "kube-system" }, data: { first: agent } });
    } catch (error) {
      // Any other failure is tried again with the next old client.
      noted = isAlreadyExists(error);
    }
  }

  return (agent) => {
    if (noted || agent === undefined || known.has(agent)) return;
    if (isOldClient(agent)) {
      noted = true;
      void note(agent);
    } else if (known.size < KNOWN_AGENTS) known.add(agent);
  };
}
