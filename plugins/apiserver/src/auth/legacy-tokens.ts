/** Tokens without an end that live in Secrets: when each was last used stands on its Secret, by the day (KEP-2799). */
import { type KubeClient, secrets } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";

const LAST_USED = "kubernetes.io/legacy-token-last-used";
/** Put there by whoever cleans up unused tokens, some time before they are deleted. */
const INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since";

export const isInvalidated = (secret: Obj): boolean => secret.metadata?.labels?.[INVALID_SINCE] !== undefined;

/** The returned function is called with the Secret at every use of its token. */
export function noteLegacyTokens(client: Pick<KubeClient, "patch">, now: () => Date): (secret: Obj) => void {
  const writing = new Set<string>();

  async function note(key: string, { name, namespace }: { name: string; namespace: string }, day: string): Promise<void> {
    try {
      await client.patch(secrets, name, { metadata: { labels: { [LAST_USED]: day } } }, { namespace });
    } catch {
      // The next use tries again.
    } finally {
      writing.delete(key);
    }
  }

  return ({ metadata }) => {
    const { name = "", namespace = "", labels } = metadata ?? {};
    const day = now().toISOString().slice(0, 10);
    const key = `${namespace}/${name}`;
    if (labels?.[LAST_USED] === day || writing.has(key)) return;
    writing.add(key);
    void note(key, { name, namespace }, day);
  };
}
