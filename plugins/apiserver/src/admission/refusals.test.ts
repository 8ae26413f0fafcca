/** Every rule of the built-in chain that refuses, with the message that clients of upstream know. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import { describe, expect, test } from "vitest";
import { testPem, testSigningRequest } from "../auth/testing.ts";
import type { Obj } from "../resources/types.ts";
import { account, namespace, object, pod, refusal, type World, worldWith } from "./testing.ts";

interface Case {
  /** The plugin whose rule it is. */
  readonly by: string;
  readonly rule: string;
  readonly there?: readonly Obj[];
  readonly object: Obj;
  readonly more?: Partial<AdmissionRequest>;
  /** Default 403. */
  readonly code?: number;
  readonly message: string;
}

const range = (item: object): Obj => object("v1", "LimitRange", "lr", { spec: { limits: [item] } }, "ns");
const sized = (requests: object, limits: object): Obj => pod({ containers: [{ name: "c", image: "i", resources: { requests, limits } }] });
const claim = (storage: string, spec: object = {}, status: object = {}): Obj =>
  object("v1", "PersistentVolumeClaim", "d", { spec: { resources: { requests: { storage } }, ...spec }, status }, "ns");
const strictAccount = { ...account("strict"), metadata: { name: "strict", namespace: "ns", annotations: { "kubernetes.io/enforce-mountable-secrets": "true" } } };
const strict = (spec: object): Obj => pod({ serviceAccountName: "strict", ...spec });
const mirror = (spec: object): Obj => ({ ...pod(spec), metadata: { name: "p", namespace: "ns", annotations: { "kubernetes.io/config.mirror": "x" } } });
const high = object("scheduling.k8s.io/v1", "PriorityClass", "high", { value: 1000, preemptionPolicy: "Never", globalDefault: true });
const kata = object("node.k8s.io/v1", "RuntimeClass", "kata", { handler: "kata", overhead: { podFixed: { cpu: "250m" } }, scheduling: { nodeSelector: { vm: "yes" } } });
const plain = object("node.k8s.io/v1", "RuntimeClass", "plain", { handler: "plain" });
const quota = (hard: object, used: object = {}, spec: object = {}): Obj =>
  object("v1", "ResourceQuota", "q", { spec: { hard, ...spec }, status: { hard, used } }, "ns");
const fixed = object("storage.k8s.io/v1", "StorageClass", "fixed");
const csr = (signerName: string, organization = "", status: object = {}, request = testSigningRequest({ names: ["r"], organizations: [organization] })): Obj =>
  object("certificates.k8s.io/v1", "CertificateSigningRequest", "r", { spec: { signerName, request }, status });
const nobody = { name: "joe", groups: [] } as const;
const restricted = namespace("ns", { "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": "v1.30" });

const pods = (why: string): string => `pods "p" is forbidden: ${why}`;
const claims = (why: string): string => `persistentvolumeclaims "d" is forbidden: ${why}`;

const cases: readonly Case[] = [
  { by: "NamespaceLifecycle", rule: "missing", object: object("v1", "ConfigMap", "m", {}, "nope"), code: 404, message: 'namespaces "nope" not found' },
  { by: "NamespaceLifecycle", rule: "ending", there: [namespace("old", {}, { status: { phase: "Terminating" } })], object: object("v1", "ConfigMap", "m", {}, "old"), message: 'configmaps "m" is forbidden: unable to create new content in namespace old because it is being terminated' },
  { by: "NamespaceLifecycle", rule: "immortal", object: namespace("kube-system"), more: { operation: "DELETE" }, message: 'namespaces "kube-system" is forbidden: this namespace may not be deleted' },

  { by: "LimitRanger", rule: "below the minimum", there: [range({ type: "Container", min: { cpu: "200m" } })], object: sized({ cpu: "100m" }, {}), message: pods("minimum cpu usage per Container is 200m, but request is 100m") },
  { by: "LimitRanger", rule: "resized beyond the maximum", there: [range({ type: "Container", max: { cpu: "500m" } })], object: sized({ cpu: "1" }, { cpu: "1" }), more: { operation: "UPDATE", subresource: "resize", oldObject: sized({ cpu: "100m" }, { cpu: "100m" }) }, message: pods("maximum cpu usage per Container is 500m, but limit is 1") },
  { by: "ResourceQuota", rule: "resized beyond the quota", there: [quota({ "requests.cpu": "1" }, { "requests.cpu": "900m" })], object: sized({ cpu: "300m" }, {}), more: { operation: "UPDATE", subresource: "resize", oldObject: sized({ cpu: "100m" }, {}) }, message: pods("exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=900m, limited: requests.cpu=1") },
  { by: "LimitRanger", rule: "limit below the minimum", there: [range({ type: "Container", min: { cpu: "200m" } })], object: sized({ cpu: "200m" }, { cpu: "150m" }), message: pods("minimum cpu usage per Container is 200m, but limit is 150m") },
  { by: "LimitRanger", rule: "no request", there: [range({ type: "Container", min: { cpu: "200m" } })], object: pod(), message: pods("minimum cpu usage per Container is 200m.  No request is specified") },
  { by: "LimitRanger", rule: "above the maximum", there: [range({ type: "Pod", max: { memory: "1Gi" } })], object: sized({}, { memory: "2Gi" }), message: pods("maximum memory usage per Pod is 1Gi, but limit is 2Gi") },
  { by: "LimitRanger", rule: "no limit", there: [range({ type: "Container", max: { memory: "1Gi" } })], object: pod(), message: pods("maximum memory usage per Container is 1Gi.  No limit is specified") },
  { by: "LimitRanger", rule: "ratio", there: [range({ type: "Container", maxLimitRequestRatio: { cpu: "2" } })], object: sized({ cpu: "1" }, { cpu: "3" }), message: pods("cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000") },
  { by: "LimitRanger", rule: "several at once", there: [range({ type: "Container", min: { cpu: "200m", memory: "1Mi" } })], object: sized({ cpu: "100m" }, {}), message: pods("[minimum cpu usage per Container is 200m, but request is 100m, minimum memory usage per Container is 1Mi.  No request is specified]") },
  { by: "LimitRanger", rule: "a claim too large", there: [range({ type: "PersistentVolumeClaim", max: { storage: "1Gi" } })], object: claim("2Gi"), message: claims("maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi") },
  { by: "LimitRanger", rule: "a claim too small", there: [range({ type: "PersistentVolumeClaim", min: { storage: "1Gi" } })], object: claim("1Mi"), message: claims("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi") },

  { by: "ServiceAccount", rule: "missing", object: pod({ serviceAccountName: "no" }), message: pods('error looking up service account ns/no: serviceaccount "no" not found') },
  { by: "ServiceAccount", rule: "mirror pod", object: mirror({ serviceAccountName: "default" }), message: pods("a mirror pod may not reference service accounts") },
  { by: "ServiceAccount", rule: "mirror pod with a secret", object: mirror({ volumes: [{ name: "v", secret: { secretName: "s" } }] }), message: pods("a mirror pod may not reference secrets") },
  { by: "ServiceAccount", rule: "mirror pod with a token", object: mirror({ volumes: [{ name: "v", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } }] }), message: pods("a mirror pod may not use ServiceAccountToken volume projections") },
  { by: "ServiceAccount", rule: "foreign secret as a volume", there: [strictAccount], object: strict({ volumes: [{ name: "v", secret: { secretName: "s" } }] }), message: pods('volume with secret.secretName="s" is not allowed because service account strict does not reference that secret') },
  { by: "ServiceAccount", rule: "foreign secret as a variable", there: [strictAccount], object: strict({ containers: [{ name: "c", env: [{ name: "V", valueFrom: { secretKeyRef: { name: "s", key: "k" } } }] }] }), message: pods('container c with envVar V referencing secret.secretName="s" is not allowed because service account strict does not reference that secret') },
  { by: "ServiceAccount", rule: "foreign secret of variables", there: [strictAccount], object: strict({ initContainers: [{ name: "c", envFrom: [{ secretRef: { name: "s" } }] }] }), message: pods('init container c with envFrom referencing secret.secretName="s" is not allowed because service account strict does not reference that secret') },
  { by: "ServiceAccount", rule: "foreign pull secret", there: [strictAccount], object: strict({ imagePullSecrets: [{ name: "s" }] }), message: pods('imagePullSecrets[0].name="s" is not allowed because service account strict does not reference that imagePullSecret') },

  { by: "PodSecurity", rule: "a pod against the standard", there: [restricted], object: pod({ hostNetwork: true }), message: pods('violates PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)') },
  { by: "PodSecurity", rule: "unknown level", object: namespace("x", { "pod-security.kubernetes.io/warn": "loose" }), code: 422, message: 'Namespace "x" is invalid: metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "loose": must be one of privileged, baseline, restricted' },
  { by: "PodSecurity", rule: "unknown version", object: namespace("x", { "pod-security.kubernetes.io/enforce-version": "1.30" }), code: 422, message: 'Namespace "x" is invalid: metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "1.30": must be "latest" or "v1.x"' },

  { by: "Priority", rule: "unknown class", object: pod({ priorityClassName: "x" }), message: pods("no PriorityClass with name x was found") },
  { by: "Priority", rule: "a number of one's own", there: [high], object: pod({ priority: 7 }), message: pods("the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name") },
  { by: "Priority", rule: "a preemption policy of one's own", there: [high], object: pod({ preemptionPolicy: "PreemptLowerPriority" }), message: pods("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name") },
  { by: "Priority", rule: "a second default", there: [high], object: object("scheduling.k8s.io/v1", "PriorityClass", "low", { value: 1, globalDefault: true }), more: { resource: "priorityclasses" }, message: 'priorityclasses.scheduling.k8s.io "low" is forbidden: PriorityClass high is already marked as default. Only one default can exist' },

  { by: "PersistentVolumeClaimResize", rule: "not bound", there: [fixed], object: claim("2Gi", { storageClassName: "fixed" }), more: { operation: "UPDATE", oldObject: claim("1Gi", { storageClassName: "fixed" }, { phase: "Pending" }) }, message: claims("Only bound persistent volume claims can be expanded") },
  { by: "PersistentVolumeClaimResize", rule: "class that cannot", there: [fixed], object: claim("2Gi", { storageClassName: "fixed" }), more: { operation: "UPDATE", oldObject: claim("1Gi", { storageClassName: "fixed" }, { phase: "Bound" }) }, message: claims("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize") },

  { by: "RuntimeClass", rule: "missing", object: pod({ runtimeClassName: "no" }), message: pods('pod rejected: RuntimeClass "no" not found') },
  { by: "RuntimeClass", rule: "overhead without a class", there: [plain], object: pod({ runtimeClassName: "plain", overhead: { cpu: "1" } }), message: pods("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead") },
  { by: "RuntimeClass", rule: "other overhead", there: [kata], object: pod({ runtimeClassName: "kata", overhead: { cpu: "1" } }), message: pods("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead") },
  { by: "RuntimeClass", rule: "other nodes", there: [kata], object: pod({ runtimeClassName: "kata", nodeSelector: { vm: "no" } }), message: pods("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no") },

  { by: "CertificateApproval", rule: "no right", object: csr("example.com/s"), more: { operation: "UPDATE", subresource: "approval", oldObject: csr("example.com/s"), user: nobody }, message: 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with signerName "example.com/s"' },
  { by: "CertificateSigning", rule: "no right", object: csr("example.com/s", "", { certificate: "x" }), more: { operation: "UPDATE", subresource: "status", oldObject: csr("example.com/s"), user: nobody }, message: 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to sign requests with signerName "example.com/s"' },
  { by: "CertificateSubjectRestriction", rule: "system:masters", object: csr("kubernetes.io/kube-apiserver-client", "system:masters"), message: 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed' },
  { by: "CertificateSubjectRestriction", rule: "system:masters in letters of two bytes", object: csr("kubernetes.io/kube-apiserver-client", [..."system:masters"].join("\0")), message: 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed' },
  { by: "CertificateSubjectRestriction", rule: "no certificate request", object: csr("kubernetes.io/kube-apiserver-client", "", {}, testPem(Buffer.of(0x30, 9, 1))), message: 'certificatesigningrequests.certificates.k8s.io "r" is forbidden: unable to parse csr: asn1: structure error: it is no certificate request' },

  { by: "DenyServiceExternalIPs", rule: "a new address", object: object("v1", "Service", "s", { spec: { externalIPs: ["192.0.2.9"] } }, "ns"), message: 'services "s" is forbidden: Use of external IPs is denied by admission control' },

  { by: "ResourceQuota", rule: "too many", there: [quota({ pods: "1" }, { pods: "1" })], object: pod(), message: pods("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1") },
  { by: "ResourceQuota", rule: "too much", there: [quota({ "requests.cpu": "1", "limits.memory": "1Gi" }, { "requests.cpu": "500m", "limits.memory": "1Gi" })], object: sized({ cpu: "600m" }, { memory: "1Mi" }), message: pods("exceeded quota: q, requested: limits.memory=1Mi,requests.cpu=600m, used: limits.memory=1Gi,requests.cpu=500m, limited: limits.memory=1Gi,requests.cpu=1") },
  { by: "ResourceQuota", rule: "unstated", there: [quota({ "limits.cpu": "1", memory: "1Gi" }, { "limits.cpu": "0", memory: "0" })], object: pod(), message: pods("failed quota: q: must specify limits.cpu for: c; memory for: c") },
  { by: "ResourceQuota", rule: "status unknown", there: [quota({ configmaps: "2" })], object: object("v1", "ConfigMap", "m", {}, "ns"), message: 'configmaps "m" is forbidden: status unknown for quota: q, resources: configmaps' },
];

const enabled = new Set(["AlwaysPullImages", "DenyServiceExternalIPs"]);

function worldOf(there: readonly Obj[], disabled: readonly string[] = []): World {
  const made = worldWith({ settings: { enabled, disabled: new Set(disabled) } });
  for (const one of there) {
    const before = one.kind === "Namespace" && made.view.get("", "namespaces", one.metadata!.name!);
    if (before) made.view.remove(before);
    made.view.add(one);
  }
  return made;
}

describe("the chain refuses", () => {
  test.each(cases)("$by: $rule", async ({ there = [], object: given, more, code = 403, message }) => {
    expect(await refusal(worldOf(there).run(given, more))).toMatchObject({ code, message });
  });

  test.each(cases.filter(({ by }) => by !== "NamespaceLifecycle").map((one) => [one.by, one] as const))("nothing when %s is switched off", async (_, { by, there = [], object: given, more }) => {
    expect(await refusal(worldOf(there, [by]).run(given, more))).toEqual({ code: 0, message: "" });
  });
});
