/** The rows of the groups that extend or govern the server: admission, API extensions, aggregation, flow control. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";
import {
  apiService, customResourceDefinition, flowSchema, mutatingAdmissionPolicy, mutatingAdmissionPolicyBinding, mutatingWebhookConfiguration,
  priorityLevelConfiguration, validatingAdmissionPolicy, validatingAdmissionPolicyBinding, validatingWebhookConfiguration,
} from "./kinds.ts";

const admission = rowsOf("admissionregistration.k8s.io", "v1");
const apiextensions = rowsOf("apiextensions.k8s.io", "v1");
const apiregistration = rowsOf("apiregistration.k8s.io", "v1");
const flowcontrol = rowsOf("flowcontrol.apiserver.k8s.io", "v1");
const cluster = { namespaced: false } as const;
const extension = { ...cluster, categories: ["api-extensions"], needsVersion: true } as const;

export const admissionResources: readonly ResourceDef[] = [
  admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies", extension, mutatingAdmissionPolicy),
  admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", extension, mutatingAdmissionPolicyBinding),
  admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", extension, mutatingWebhookConfiguration),
  admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies", { ...extension, subresources: ["status"] }, validatingAdmissionPolicy),
  admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", extension, validatingAdmissionPolicyBinding),
  admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", extension, validatingWebhookConfiguration),
  apiextensions("CustomResourceDefinition", "customresourcedefinitions", {
    ...extension, shortNames: ["crd", "crds"], subresources: ["status"],
  }, customResourceDefinition),
  apiregistration("APIService", "apiservices", { ...extension, nameRule: "path", subresources: ["status"] }, apiService),
  flowcontrol("FlowSchema", "flowschemas", { ...cluster, subresources: ["status"] }, flowSchema),
  flowcontrol("PriorityLevelConfiguration", "prioritylevelconfigurations", { ...cluster, subresources: ["status"] }, priorityLevelConfiguration),
];
