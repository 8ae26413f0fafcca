/** Waits until claims are bound, by watching them. */
import type { Informer, PersistentVolumeClaim } from "@k3s-p/plugin-api/kube";

const selectedNode = "volume.kubernetes.io/selected-node";
const bindCompleted = "pv.kubernetes.io/bind-completed";

/**
 * Resolves when every claim is bound. Rejects when a claim is deleted, when its provisioner gives the chosen node
 * back (removes the annotation), on abort and after `timeout` milliseconds.
 */
export function untilBound(
  informer: Informer<PersistentVolumeClaim>,
  claims: readonly PersistentVolumeClaim[],
  node: string,
  timeout: number,
  signal: AbortSignal,
): Promise<void> {
  const missing = new Map(claims.map((claim) => [claim.metadata.uid, claim.metadata.annotations?.[selectedNode] === node]));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (why: string) => reject(new Error(`binding volumes: ${why}`));
  const seen = (claim: PersistentVolumeClaim) => {
    const { uid, name } = claim.metadata;
    if (!missing.has(uid)) return;
    const selected = claim.metadata.annotations?.[selectedNode];
    if (isBound(claim)) missing.delete(uid);
    else if (selected === node) missing.set(uid, true);
    else if (missing.get(uid)) fail(`provisioning failed for PVC "${name}"`);
    if (missing.size === 0) resolve();
  };
  const timer = setTimeout(() => fail("context deadline exceeded"), timeout);
  const onAbort = () => fail("context canceled");
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const unsubscribe = informer.on({
    added: seen,
    updated: seen,
    deleted: (claim) => missing.has(claim.metadata.uid) && fail(`persistentvolumeclaim "${claim.metadata.name}" not found`),
  });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    unsubscribe();
  });
}

function isBound({ metadata, spec, status }: PersistentVolumeClaim): boolean {
  return Boolean(spec?.volumeName) && (status?.phase === "Bound" || metadata.annotations?.[bindCompleted] !== undefined);
}
