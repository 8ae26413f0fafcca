/** The persistent volume binder: brings claims and volumes together, and asks provisioners for what is missing. */
import {
  isNotFound, keyOf, persistentVolumeClaims, persistentVolumes, pods, splitKey, storageClasses,
  type PersistentVolume, type PersistentVolumeClaim,
} from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";
import { referenceTo } from "../lib/pod-control.ts";
import { bind, pend, setVolumePhase, unreserve } from "./binding.ts";
import {
  annotation, bestMatch, classOfClaim, defaultClass, has, mismatch, namesNoClass, refersTo,
} from "./volumes.ts";

const NO_PROVISIONER = "kubernetes.io/no-provisioner";

export function start(deps: ControllerDeps): void {
  const { client } = deps;
  // One worker: two claims must never be given the same volume.
  const c = createController(deps, "persistentvolume-binder", { workers: 1, component: "persistentvolume-controller" });
  const claims = c.follow(persistentVolumeClaims, (claim, { deleted }) => {
    const bound = claim.spec?.volumeName && volumes.get(claim.spec.volumeName);
    const named = volumes.byIndex("claim", keyOf(claim)).map(volumeKey);
    return [...(deleted ? [] : [claimKey(claim)]), ...(bound ? [volumeKey(bound)] : []), ...named];
  });
  const volumes = c.follow(persistentVolumes, (volume, { previous, deleted }) => {
    const ref = volume.spec?.claimRef ?? previous?.spec?.claimRef;
    const keys = deleted ? [] : [volumeKey(volume)];
    if (ref) keys.push(`claim|${ref.namespace}/${ref.name}`);
    // A free volume may be what some claim waits for.
    else if (!deleted && volume.status?.phase === "Available") keys.push(...unbound());
    return keys;
  });
  const classes = c.follow(storageClasses, () => unbound());
  const podInformer = c.read(pods);
  c.run((key) => (key.startsWith("claim|") ? reconcileClaim(key.slice(6)) : reconcileVolume(key.slice(7))));

  function claimKey(claim: PersistentVolumeClaim): string {
    return `claim|${keyOf(claim)}`;
  }
  function volumeKey(volume: PersistentVolume): string {
    return `volume|${volume.metadata.name}`;
  }
  function unbound(): string[] {
    return claims.list().filter((claim) => claim.status?.phase !== "Bound").map(claimKey);
  }

  const claimEvent = (claim: PersistentVolumeClaim, type: "Normal" | "Warning", reason: string, message: string) =>
    c.events.record(referenceTo(persistentVolumeClaims, claim), type, reason, message);

  async function reconcileClaim(key: string): Promise<void> {
    const [namespace, name] = splitKey(key);
    const claim = claims.get(name, namespace);
    if (!claim) return;
    if (has(claim, annotation.bindCompleted)) return checkBound(claim);
    if (claim.metadata.deletionTimestamp) return;
    return claim.spec?.volumeName ? bindRequested(claim, claim.spec.volumeName) : bindAny(claim);
  }

  /** A claim that was bound once is bound still, or has lost its data. */
  async function checkBound(claim: PersistentVolumeClaim): Promise<void> {
    const name = claim.spec?.volumeName;
    if (!name) return lose(claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    const volume = volumes.get(name);
    if (!volume) return lose(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    const ref = volume.spec?.claimRef;
    if (!ref || ref.uid === claim.metadata.uid) return bind(client, volume, claim);
    return lose(claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly");
  }

  async function lose(claim: PersistentVolumeClaim, reason: string, message: string): Promise<void> {
    if (claim.status?.phase === "Lost") return;
    const { capacity: _, accessModes: __, ...status } = claim.status ?? {};
    await client.update(
      persistentVolumeClaims,
      { ...claim, status: { ...status, phase: "Lost" } },
      { subresource: "status" },
    );
    claimEvent(claim, "Warning", reason, message);
  }

  async function bindRequested(claim: PersistentVolumeClaim, name: string): Promise<void> {
    const volume = volumes.get(name);
    if (!volume) return pend(client, claim);
    if (volume.spec?.claimRef && !refersTo(volume, claim)) {
      claimEvent(claim, "Warning", "FailedBinding", `volume "${name}" already bound to a different claim.`);
      return pend(client, claim);
    }
    const why = volume.spec?.claimRef?.uid ? undefined : mismatch(volume, claim);
    if (why) {
      claimEvent(claim, "Warning", "VolumeMismatch", `Cannot bind to requested volume "${name}": ${why}`);
      return pend(client, claim);
    }
    return bind(client, volume, claim);
  }

  async function bindAny(claim: PersistentVolumeClaim): Promise<void> {
    const fallback = namesNoClass(claim) ? defaultClass(classes.list()) : undefined;
    if (fallback) {
      await client.update(persistentVolumeClaims, {
        ...claim,
        spec: { ...claim.spec!, storageClassName: fallback.metadata.name },
      });
      return;
    }
    const waits = waitsForConsumer(claim);
    const volume = bestMatch(volumes.list(), claim, waits);
    if (volume) return bind(client, volume, claim);
    if (waits) tellWaiting(claim);
    else if (classOfClaim(claim)) return provision(claim);
    else claimEvent(claim, "Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
    return pend(client, claim);
  }

  /** Such claims are bound when the scheduler has chosen a node for their first pod. */
  function waitsForConsumer(claim: PersistentVolumeClaim): boolean {
    const sc = classes.get(classOfClaim(claim));
    return sc?.volumeBindingMode === "WaitForFirstConsumer" && !has(claim, annotation.selectedNode);
  }

  function tellWaiting(claim: PersistentVolumeClaim): void {
    const waiting = podInformer
      .byIndex("claim", keyOf(claim))
      .filter((pod) => !pod.spec?.nodeName)
      .map((pod) => pod.metadata.name)
      .sort();
    if (waiting.length === 0) {
      return claimEvent(claim, "Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding");
    }
    const subject = waiting.length > 1 ? `pods ${waiting.join(",")}` : `pod ${waiting[0]}`;
    return claimEvent(claim, "Normal", "WaitForPodScheduled", `waiting for ${subject} to be scheduled`);
  }

  /** Names the provisioner that is to make the volume; the provisioner itself watches for that. */
  async function provision(claim: PersistentVolumeClaim): Promise<void> {
    const sc = classes.get(classOfClaim(claim));
    if (!sc) {
      claimEvent(claim, "Warning", "ProvisioningFailed", `storageclass.storage.k8s.io "${classOfClaim(claim)}" not found`);
      return pend(client, claim);
    }
    if (sc.provisioner === NO_PROVISIONER) return pend(client, claim);
    const wanted = { [annotation.provisioner]: sc.provisioner, [annotation.betaProvisioner]: sc.provisioner };
    const missing = Object.entries(wanted).some(([key, value]) => claim.metadata.annotations?.[key] !== value);
    const named = missing
      ? await client.update(persistentVolumeClaims, {
          ...claim,
          metadata: { ...claim.metadata, annotations: { ...claim.metadata.annotations, ...wanted } },
        })
      : claim;
    claimEvent(named, "Normal", "ExternalProvisioning",
      `Waiting for a volume to be created either by the external provisioner '${sc.provisioner}' or manually by the system administrator. ` +
      "If volume creation is delayed, please verify that the provisioner is running and correctly registered.");
    return pend(client, named);
  }

  async function reconcileVolume(name: string): Promise<void> {
    const volume = volumes.get(name);
    if (!volume) return;
    const ref = volume.spec?.claimRef;
    if (!ref?.uid) return void (await setVolumePhase(client, volume, "Available"));
    const claim = await claimOf(volume);
    if (!claim) return release(volume);
    if (!claim.spec?.volumeName) return c.enqueue(claimKey(claim));
    if (claim.spec.volumeName === name) return void (await setVolumePhase(client, volume, "Bound"));
    return isProvisioned(volume) && volume.spec?.persistentVolumeReclaimPolicy === "Delete"
      ? release(volume)
      : unreserve(client, volume);
  }

  /** The claim that a volume is bound to; the server is asked before it is taken for gone. */
  async function claimOf(volume: PersistentVolume): Promise<PersistentVolumeClaim | undefined> {
    const { name, namespace, uid } = volume.spec!.claimRef!;
    const listed = claims.get(name!, namespace);
    if (listed?.metadata.uid === uid) return listed;
    const live = await client.get(persistentVolumeClaims, name!, namespace).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
    return live?.metadata.uid === uid ? live : undefined;
  }

  const isProvisioned = (volume: PersistentVolume): boolean => has(volume, annotation.provisionedBy);

  /** The claim is gone. Whoever provisioned the volume deletes it; one that nobody can delete fails. */
  async function release(volume: PersistentVolume): Promise<void> {
    const failed = volume.status?.phase === "Failed";
    const released = failed ? volume : await setVolumePhase(client, volume, "Released");
    if (volume.spec?.persistentVolumeReclaimPolicy !== "Delete" || isProvisioned(volume) || volume.spec.csi || failed)
      return;
    const message = "no deletable volume plugin matched";
    await setVolumePhase(client, released, "Failed", message);
    c.events.record(referenceTo(persistentVolumes, volume), "Warning", "VolumeFailedDelete", message);
  }
}
