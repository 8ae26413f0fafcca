/** ServiceAccount: every pod runs as an account of its namespace, and finds its token where clients look for it. */
import { setTimeout as delay } from "node:timers/promises";
import { randomSuffix } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, isMirrorPod, refuse, toPlugin } from "./common.ts";

const MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX = "kube-api-access-";
/** An hour, and seven seconds by which such tokens are told from those that somebody asked for. */
const TOKEN_SECONDS = 3607;
const DEFAULT_ACCOUNT = "default";

/** Pods of an account with this annotation may use the secrets that it lists and no others. */
const ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets";

/** In a new namespace the default account comes a moment later than the first pod may; upstream waits as long. */
const WAIT = { tries: 10, milliseconds: 100 } as const;

export function serviceAccount({ view, random, sleep = delay }: Pick<AdmissionDeps, "view" | "random" | "sleep">): AdmissionPlugin {
  const defaultAccount = async (pod: Obj, request: AdmissionRequest): Promise<void> => {
    for (let i = 1; i < WAIT.tries; i++) {
      await sleep(WAIT.milliseconds);
      const account = view.get("", "serviceaccounts", DEFAULT_ACCOUNT, request.namespace);
      if (account) return useAccount(pod, account, random, request);
    }
    throw missing(request, DEFAULT_ACCOUNT);
  };
  return toPlugin({
    name: "ServiceAccount",
    resources: ["pods"],
    operations: ["CREATE"],
    mutate(pod, request) {
      const { spec } = pod;
      if (isMirrorPod(pod)) return checkMirror(pod, request);
      spec.serviceAccountName ||= spec.serviceAccount || DEFAULT_ACCOUNT;
      spec.serviceAccount = spec.serviceAccountName;
      const account = view.get("", "serviceaccounts", spec.serviceAccountName, request.namespace);
      if (account) return useAccount(pod, account, random, request);
      if (spec.serviceAccountName === DEFAULT_ACCOUNT) return defaultAccount(pod, request);
      throw missing(request, spec.serviceAccountName);
    },
  });
}

const missing = (request: AdmissionRequest, name: string) =>
  refuse(request, `error looking up service account ${request.namespace}/${name}: serviceaccount "${name}" not found`);

function useAccount({ spec }: Obj, account: Obj, random: (() => number) | undefined, request: AdmissionRequest): void {
  if (account.metadata?.annotations?.[ENFORCE_SECRETS] === "true") checkSecrets(spec, account, request);
  if (spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true) mountToken(spec, random);
  if (!spec.imagePullSecrets?.length && account.imagePullSecrets?.length) {
    spec.imagePullSecrets = account.imagePullSecrets.map((ref: Obj) => ({ ...ref }));
  }
}

function checkSecrets(spec: Obj, account: Obj, request: AdmissionRequest): void {
  const names = (list: string): Set<string> => new Set((account[list] ?? []).map((ref: Obj) => ref.name));
  const [mountable, pullable] = [names("secrets"), names("imagePullSecrets")];
  const because = `is not allowed because service account ${account.metadata!.name} does not reference that`;
  for (const { secret } of spec.volumes ?? []) {
    if (secret && !mountable.has(secret.secretName)) throw refuse(request, `volume with secret.secretName="${secret.secretName}" ${because} secret`);
  }
  for (const [list, what] of [["initContainers", "init container"], ["containers", "container"]] as const) {
    for (const { name, env = [], envFrom = [] } of spec[list] ?? []) {
      for (const one of env) {
        const secret = one.valueFrom?.secretKeyRef?.name;
        if (secret && !mountable.has(secret)) throw refuse(request, `${what} ${name} with envVar ${one.name} referencing secret.secretName="${secret}" ${because} secret`);
      }
      for (const { secretRef } of envFrom) {
        if (secretRef && !mountable.has(secretRef.name)) throw refuse(request, `${what} ${name} with envFrom referencing secret.secretName="${secretRef.name}" ${because} secret`);
      }
    }
  }
  (spec.imagePullSecrets ?? []).forEach(({ name }: Obj, i: number) => {
    if (!pullable.has(name as unknown as string)) throw refuse(request, `imagePullSecrets[${i}].name="${name}" ${because} imagePullSecret`);
  });
}

function checkMirror(pod: Obj, request: AdmissionRequest): void {
  if (pod.spec.serviceAccountName) throw refuse(request, "a mirror pod may not reference service accounts");
  for (const volume of pod.spec.volumes ?? []) {
    if (volume.secret) throw refuse(request, "a mirror pod may not reference secrets");
    if (volume.persistentVolumeClaim) throw refuse(request, "a mirror pod may not reference persistentvolumeclaims");
    if (volume.projected?.sources?.some((source: Obj) => source.serviceAccountToken)) {
      throw refuse(request, "a mirror pod may not use ServiceAccountToken volume projections");
    }
  }
}

function mountToken(spec: Obj, random: (() => number) | undefined): void {
  const volumes: Obj[] = spec.volumes ?? [];
  const known = volumes.find((volume: Obj) => volume.name.startsWith(VOLUME_PREFIX));
  const name = known ? known.name : VOLUME_PREFIX + randomSuffix(5, random);
  let needed = false;
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) {
    const mounts: Obj[] = container.volumeMounts ?? [];
    if (mounts.some((mount) => mount.mountPath === MOUNT_PATH)) continue;
    container.volumeMounts = [...mounts, { name, readOnly: true, mountPath: MOUNT_PATH }];
    needed = true;
  }
  if (needed && !known) spec.volumes = [...volumes, tokenVolume(name)];
}

const tokenVolume = (name: string): object => ({
  name,
  projected: {
    defaultMode: 0o644,
    sources: [
      { serviceAccountToken: { expirationSeconds: TOKEN_SECONDS, path: "token" } },
      { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
      { downwardAPI: { items: [{ path: "namespace", fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } }] } },
    ],
  },
});
