/** Admission configuration, CustomResourceDefinitions, APIServices and flow control. */
import type { Behaviour } from "../row.ts";
import { specGeneration, withGeneration, withStatus } from "../strategy.ts";
import {
  apiServiceColumns, crdColumns, flowSchemaColumns, mutatingPolicyColumns, policyBindingColumns, priorityLevelColumns,
  validatingPolicyColumns, webhookColumns,
} from "./columns.ts";
import {
  defaultApiService, defaultCrd, defaultFlowSchema, defaultMutatingWebhooks, defaultPolicy, defaultPolicyBinding, defaultPriorityLevel,
  defaultValidatingWebhooks,
} from "./defaults.ts";

const webhookGeneration: Behaviour = { generationOf: (object) => object.webhooks };

export const mutatingWebhookConfiguration: Behaviour = { ...webhookGeneration, columns: webhookColumns, defaults: defaultMutatingWebhooks };
export const validatingWebhookConfiguration: Behaviour = { ...webhookGeneration, columns: webhookColumns, defaults: defaultValidatingWebhooks };
export const validatingAdmissionPolicy: Behaviour = { ...withGeneration(), columns: validatingPolicyColumns, defaults: defaultPolicy };
export const mutatingAdmissionPolicy: Behaviour = { ...specGeneration, columns: mutatingPolicyColumns, defaults: defaultPolicy };
export const admissionPolicyBinding: Behaviour = { ...specGeneration, columns: policyBindingColumns, defaults: defaultPolicyBinding };
export const customResourceDefinition: Behaviour = { ...withGeneration(), columns: crdColumns, defaults: defaultCrd };
export const apiService: Behaviour = { ...withStatus(), columns: apiServiceColumns, defaults: defaultApiService };
export const flowSchema: Behaviour = { ...withGeneration(), columns: flowSchemaColumns, defaults: defaultFlowSchema };
export const priorityLevelConfiguration: Behaviour = { ...withGeneration(), columns: priorityLevelColumns, defaults: defaultPriorityLevel };
