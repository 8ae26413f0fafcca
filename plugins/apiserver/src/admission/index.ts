/** The admission plugins in upstream's order: the built-in ones, what plugins contribute, what objects demand, and the quota. */
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import { checkEscalation } from "../auth/escalation.ts";
import { nodeRestriction } from "../auth/node-restriction.ts";
import type { Obj } from "../resources/types.ts";
import type { WebhookClient } from "../webhook/client.ts";
import { certificateRights, certificateSubjectRestriction } from "./certificates.ts";
import { type AdmissionDeps, toPlugin } from "./common.ts";
import { imagePolicyWebhook } from "./image-policy.ts";
import { limitRanger } from "./limit-ranger.ts";
import { namespaceLifecycle } from "./namespace.ts";
import { alwaysPullImages, denyServiceExternalIps, eventRateLimit } from "./opt-in.ts";
import { podSecurity } from "./pod-security.ts";
import { defaultTolerationSeconds, priority, runtimeClass, taintNodesByCondition } from "./pods.ts";
import { resourceQuota } from "./quota.ts";
import { serviceAccount } from "./service-account.ts";
import type { AdmissionSettings } from "./settings.ts";
import {
  defaultIngressClass, defaultStorageClass, persistentVolumeClaimResize, storageObjectInUseProtection,
} from "./storage.ts";
import { podTopologyLabels } from "./topology.ts";

export type { AdmissionDeps } from "./common.ts";

export interface ChainDeps extends AdmissionDeps {
  readonly settings?: AdmissionSettings;
  /** Asks the backend of ImagePolicyWebhook. */
  readonly webhooks?: WebhookClient;
  /** What objects of admissionregistration.k8s.io demand, given the mutators that run again over their changes. */
  readonly configured?: (mutators: () => readonly AdmissionPlugin[]) => readonly AdmissionPlugin[];
}

/** The whole chain with what plugins contribute; the quota is last, since nothing after it may refuse what it counted. */
export function createChain(deps: ChainDeps): (contributed: readonly AdmissionPlugin[]) => readonly AdmissionPlugin[] {
  const { settings = { enabled: new Set(), disabled: new Set() } } = deps;
  const isOn = ({ name }: AdmissionPlugin): boolean => !settings.disabled.has(name) && (!optIn.has(name) || settings.enabled.has(name));
  const builtin = Object.entries(builtinPlugins).filter(([name]) => isOn({ name })).flatMap(([, make]) => make(deps, settings));
  let own: readonly AdmissionPlugin[] = builtin;
  const configured = (deps.configured?.(() => own.filter((plugin) => plugin.mutate)) ?? []).filter(isOn);
  const last = [resourceQuota(deps)].filter(isOn);
  return (contributed) => {
    own = [...builtin, ...contributed];
    return [...own, ...configured, ...last];
  };
}

type Make = (deps: ChainDeps, settings: AdmissionSettings) => AdmissionPlugin | readonly AdmissionPlugin[];

const builtinPlugins: Readonly<Record<string, Make>> = {
  NamespaceLifecycle: namespaceLifecycle,
  RoleEscalation: (deps) => roleEscalation(deps),
  LimitRanger: limitRanger,
  ServiceAccount: serviceAccount,
  NodeRestriction: nodeRestriction,
  TaintNodesByCondition: taintNodesByCondition,
  AlwaysPullImages: alwaysPullImages,
  ImagePolicyWebhook: (deps, { imagePolicy }) => imagePolicyWebhook(deps, imagePolicy!, deps.webhooks!),
  PodSecurity: (deps, settings) => podSecurity(deps, settings.podSecurity),
  Priority: priority,
  DefaultTolerationSeconds: defaultTolerationSeconds,
  EventRateLimit: (deps, { eventLimits }) => eventRateLimit(deps, eventLimits!),
  DefaultStorageClass: defaultStorageClass,
  StorageObjectInUseProtection: storageObjectInUseProtection,
  PersistentVolumeClaimResize: persistentVolumeClaimResize,
  RuntimeClass: runtimeClass,
  CertificateApproval: (deps) => certificateRights(deps).approval,
  CertificateSigning: (deps) => certificateRights(deps).signing,
  CertificateSubjectRestriction: certificateSubjectRestriction,
  DefaultIngressClass: defaultIngressClass,
  DenyServiceExternalIPs: denyServiceExternalIps,
  PodTopologyLabels: podTopologyLabels,
};

const optIn = new Set(["AlwaysPullImages", "ImagePolicyWebhook", "EventRateLimit", "DenyServiceExternalIPs"]);

/** What the flags may name. Escalation is no plugin of upstream's: nobody may switch it off. */
export const pluginNames: readonly string[] = [
  ...Object.keys(builtinPlugins).filter((name) => name !== "RoleEscalation"), "MutatingAdmissionPolicy",
  "MutatingAdmissionWebhook", "ValidatingAdmissionPolicy", "ValidatingAdmissionWebhook", "ResourceQuota",
].sort();

const RBAC = "rbac.authorization.k8s.io";

const roleEscalation = ({ authorizer }: Pick<AdmissionDeps, "authorizer">): AdmissionPlugin => toPlugin({
  name: "RoleEscalation",
  resources: ["roles", "clusterroles", "rolebindings", "clusterrolebindings"].map((plural) => `${plural}.${RBAC}`),
  operations: ["CREATE", "UPDATE"],
  validate: (object, { user, resource, oldObject }) =>
    checkEscalation(authorizer, user, resource, object, oldObject as Obj | undefined),
});
