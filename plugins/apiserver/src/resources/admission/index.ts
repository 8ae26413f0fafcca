/** The rows of the groups that extend or govern the server: admission, API extensions, aggregation, flow control. */
import { rowsOf } from "../row.ts";
import type { ResourceDef } from "../types.ts";

const admission = rowsOf("admissionregistration.k8s.io", "v1");
const apiextensions = rowsOf("apiextensions.k8s.io", "v1");
const apiregistration = rowsOf("apiregistration.k8s.io", "v1");
const flowcontrol = rowsOf("flowcontrol.apiserver.k8s.io", "v1");
const cluster = { namespaced: false } as const;
const extension = { ...cluster, categories: ["api-extensions"] } as const;

export const admissionResources: readonly ResourceDef[] = [
  admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies", extension),
  admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", extension),
  admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", extension),
  admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies", { ...extension, subresources: ["status"] }),
  admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", extension),
  admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", extension),
  apiextensions("CustomResourceDefinition", "customresourcedefinitions", {
    ...extension, shortNames: ["crd", "crds"], subresources: ["status"],
  }),
  apiregistration("APIService", "apiservices", { ...extension, subresources: ["status"] }),
  flowcontrol("FlowSchema", "flowschemas", { ...cluster, subresources: ["status"] }),
  flowcontrol("PriorityLevelConfiguration", "prioritylevelconfigurations", { ...cluster, subresources: ["status"] }),
];
