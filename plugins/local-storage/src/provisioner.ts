/** Makes a folder and a PersistentVolume for each claim that chose this node, and removes both when it is released. */
import { configMaps, eventRecorder, isAlreadyExists, isNotFound, keyOf, nodes, persistentVolumeClaims, persistentVolumes, splitKey, storageClasses, workQueue } from "@k3s-p/plugin-api/kube";
import type { KubeClient, KubeObject, ObjectReference, PersistentVolume, PersistentVolumeClaim, StorageClass } from "@k3s-p/plugin-api/kube";
import { messageOf, type Logger } from "@k3s-p/plugin-api";
import { join } from "node:path";
import { makeDirectory, RefusedPath, removeDirectory } from "./directory.ts";
import { folderName, parsePathConfig, pathsOf, type PathConfig } from "./path-config.ts";
import { nodeOfVolume, pathOfVolume, provisionedBy, provisioner, selectedNode, volumeFor } from "./volume.ts";

export interface ProvisionerOptions {
  readonly client: KubeClient;
  readonly log: Logger;
  /** Name of this node; claims that chose another one are that node's business. */
  readonly node: string;
  /**
   * Default folder for volumes; its volumes may be removed whatever the ConfigMap says. Undefined on agents: there the
   * ConfigMap alone says where volumes go, and what no node is responsible for is left to the server.
   */
  readonly path: string | undefined;
}

export interface Provisioner {
  readonly synced: Promise<unknown>;
  stop(): Promise<void>;
}

const configName = "local-path-config";
const configNamespace = "kube-system";

export function startProvisioner({ client, log, node, path }: ProvisionerOptions): Provisioner {
  const claims = client.informer(persistentVolumeClaims);
  const volumes = client.informer(persistentVolumes);
  const classes = client.informer(storageClasses);
  const configs = client.informer(configMaps, { namespace: configNamespace, fieldSelector: `metadata.name=${configName}` });
  const recorder = eventRecorder(client, { component: `${provisioner}_${node}`, host: node });
  const isServer = path !== undefined;
  const ownPaths = isServer ? [path] : [];
  const nodeInformer = isServer ? client.informer(nodes) : undefined;
  let config: PathConfig = parsePathConfig(JSON.stringify({ nodePathMap: [{ node, paths: ownPaths }] }));

  const claimQueue = workQueue({
    name: "local-path-claims",
    backoff: [1_000, 60_000],
    onError: (key, error) => log.warn({ err: error, claim: key }, "a volume was not provisioned"),
    reconcile: async (key) => {
      const [namespace, name] = splitKey(key);
      const claim = claims.get(name, namespace);
      if (claim) await provisionIfOurs(claim);
    },
  });
  const volumeQueue = workQueue({
    name: "local-path-volumes",
    backoff: [1_000, 60_000],
    onError: (key, error) => log.warn({ err: error, volume: key }, "a volume was not removed"),
    reconcile: async (key) => {
      const volume = volumes.get(key);
      if (volume) await removeIfReleased(volume);
    },
  });

  async function provisionIfOurs(claim: PersistentVolumeClaim): Promise<void> {
    const { spec, metadata } = claim;
    const storageClass = classes.get(spec?.storageClassName ?? "");
    if (spec?.volumeName || metadata.deletionTimestamp || storageClass?.provisioner !== provisioner) return;
    const chosen = metadata.annotations?.[selectedNode];
    if (chosen ? chosen !== node : !isServer || storageClass.volumeBindingMode === "WaitForFirstConsumer") return;
    const volume = `pvc-${metadata.uid}`;
    if (volumes.get(volume)) return;
    const ref = referenceTo("PersistentVolumeClaim", claim);
    recorder.record(ref, "Normal", "Provisioning", `External provisioner is provisioning volume for claim "${keyOf(claim)}"`);
    try {
      await provision(claim, storageClass, volume);
    } catch (error) {
      const why = messageOf(error);
      recorder.record(ref, "Warning", "ProvisioningFailed", `failed to provision volume with StorageClass "${storageClass.metadata.name}": ${why}`);
      throw error;
    }
    recorder.record(ref, "Normal", "ProvisioningSucceeded", `Successfully provisioned volume ${volume}`);
  }

  async function provision(claim: PersistentVolumeClaim, storageClass: StorageClass, volume: string): Promise<void> {
    assertSupported(claim);
    const root = chooseRoot(storageClass.parameters?.["nodePath"]);
    const { name, namespace } = claim.metadata;
    const folder = folderName({ namespace: namespace!, claim: name!, volume }, storageClass.parameters?.["pathPattern"]);
    const target = join(root, folder);
    await makeDirectory(root, target);
    const hostname = (await client.get(nodes, node)).metadata.labels?.["kubernetes.io/hostname"] ?? node;
    const object = volumeFor({ name: volume, path: target, node, hostname, claim, storageClass });
    await client.create(persistentVolumes, object).catch((error) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }

  function chooseRoot(wanted: string | undefined): string {
    const paths = pathsOf(config, node);
    if (!paths.length) throw new Error(`no local path available on node ${node}`);
    if (wanted && !paths.includes(wanted)) throw new Error(`config doesn't contain path ${wanted} on node ${node}`);
    return wanted ?? paths[0]!;
  }

  async function removeIfReleased(volume: PersistentVolume): Promise<void> {
    const { metadata, spec, status } = volume;
    const isOurs = metadata.annotations?.[provisionedBy] === provisioner && status?.phase === "Released" && spec?.persistentVolumeReclaimPolicy === "Delete";
    if (!isOurs) return;
    const home = nodeOfVolume(volume);
    const mayGo = home === node ? await removeFolder(volume) : isServer && home !== undefined && (await isGone(home));
    if (!mayGo) return;
    await client.delete(persistentVolumes, metadata.name!).catch((error) => {
      if (!isNotFound(error)) throw error;
    });
  }

  /** Its folders went with it. A node that joins just now may not be in the informer yet. */
  async function isGone(name: string): Promise<boolean> {
    if (nodeInformer!.get(name)) return false;
    return client.get(nodes, name).then(() => false, (error) => {
      if (!isNotFound(error)) throw error;
      return true;
    });
  }

  /** False when its path must not be touched. */
  async function removeFolder(volume: PersistentVolume): Promise<boolean> {
    try {
      await removeDirectory([...pathsOf(config, node), ...ownPaths], pathOfVolume(volume) ?? "");
    } catch (error) {
      recorder.record(referenceTo("PersistentVolume", volume), "Warning", "VolumeFailedDelete", messageOf(error));
      if (error instanceof RefusedPath) return false;
      throw error;
    }
    return true;
  }

  function loadConfig(text: string | undefined): void {
    if (text === undefined) return;
    try {
      config = parsePathConfig(text);
    } catch (error) {
      log.warn({ err: error }, `ConfigMap ${configNamespace}/${configName} is not used: config.json is not valid`);
      return;
    }
    for (const claim of claims.list()) claimQueue.add(keyOf(claim));
    for (const volume of volumes.list()) volumeQueue.add(keyOf(volume));
  }

  const addClaim = (claim: PersistentVolumeClaim) => claimQueue.add(keyOf(claim));
  const addVolume = (volume: PersistentVolume) => volumeQueue.add(keyOf(volume));
  const informers = [claims, volumes, classes, configs, ...(nodeInformer ? [nodeInformer] : [])];
  const synced = Promise.all(informers.map((informer) => informer.synced)).then(() => {
    configs.on({
      added: (map) => loadConfig(map.data?.["config.json"]),
      updated: (map) => loadConfig(map.data?.["config.json"]),
    });
    claims.on({ added: addClaim, updated: addClaim });
    volumes.on({ added: addVolume, updated: addVolume });
    classes.on({ added: () => claims.list().forEach(addClaim) });
    nodeInformer?.on({ deleted: ({ metadata }) => volumes.list().filter((volume) => nodeOfVolume(volume) === metadata.name).forEach(addVolume) });
  });

  return {
    synced,
    async stop() {
      for (const informer of informers) informer.stop();
      await Promise.all([claimQueue.stop(), volumeQueue.stop()]);
    },
  };
}

function assertSupported({ spec, metadata }: PersistentVolumeClaim): void {
  if (spec?.selector) throw new Error("claim.Spec.Selector is not supported");
  if (spec?.volumeMode === "Block") throw new Error("block volumes are not supported");
  if (!spec?.accessModes?.every((mode) => mode === "ReadWriteOnce" || mode === "ReadWriteOncePod")) {
    throw new Error("NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes");
  }
  if (!metadata.annotations?.[selectedNode]) throw new Error("configuration error, no node was specified");
}

function referenceTo(kind: string, { metadata }: KubeObject): ObjectReference {
  const { name, namespace, uid, resourceVersion } = metadata ?? {};
  return {
    kind, apiVersion: "v1", ...(name && { name }), ...(namespace && { namespace }), ...(uid && { uid }), ...(resourceVersion && { resourceVersion }),
  };
}
