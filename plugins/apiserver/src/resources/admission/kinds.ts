/** Admission configuration, CustomResourceDefinitions, APIServices and flow control. */
import type { Behaviour } from "../row.ts";
import { always, specGeneration, withGeneration, withStatus } from "../strategy.ts";
import {
  apiServiceColumns, crdColumns, flowSchemaColumns, mutatingPolicyColumns, policyBindingColumns, priorityLevelColumns,
  validatingPolicyColumns, webhookColumns,
} from "./columns.ts";
import {
  defaultApiService, defaultCrd, defaultFlowSchema, defaultMutatingWebhooks, defaultPolicy, defaultPolicyBinding, defaultPriorityLevel,
  defaultValidatingWebhooks,
} from "./defaults.ts";
import { validateFlowSchema, validateFlowStatus, validatePriorityLevel } from "./validate-flow.ts";
import { validateMutatingBinding, validateMutatingPolicy, validateValidatingBinding, validateValidatingPolicy, validateValidatingPolicyStatus } from "./validate-policy.ts";
import { validateWebhooks, validateWebhooksUpdate } from "./validate-webhook.ts";
import { definitionBehaviour } from "../../crd/definition.ts";
import { validateApiService, validateApiServiceStatus } from "./validate-extension.ts";

/** Groups that the server itself answers are there as long as it is. */
const local = { type: "Available", status: "True", reason: "Local", message: "Local APIServices are always available" };

const webhooks: Behaviour = { generationOf: (object) => object.webhooks, columns: webhookColumns, validate: validateWebhooks, validateUpdate: validateWebhooksUpdate };

export const mutatingWebhookConfiguration: Behaviour = { ...webhooks, defaults: defaultMutatingWebhooks };
export const validatingWebhookConfiguration: Behaviour = { ...webhooks, defaults: defaultValidatingWebhooks };
export const validatingAdmissionPolicy: Behaviour = {
  ...withGeneration(),
  columns: validatingPolicyColumns,
  defaults: defaultPolicy,
  validate: (policy) => validateValidatingPolicy(policy),
  validateUpdate: validateValidatingPolicy,
  validateStatusUpdate: validateValidatingPolicyStatus,
};
export const mutatingAdmissionPolicy: Behaviour = {
  ...specGeneration,
  columns: mutatingPolicyColumns,
  defaults: defaultPolicy,
  validate: (policy) => validateMutatingPolicy(policy),
  validateUpdate: validateMutatingPolicy,
};
const policyBinding: Behaviour = { ...specGeneration, columns: policyBindingColumns, defaults: defaultPolicyBinding };
export const validatingAdmissionPolicyBinding: Behaviour = { ...policyBinding, ...always(validateValidatingBinding) };
export const mutatingAdmissionPolicyBinding: Behaviour = { ...policyBinding, ...always(validateMutatingBinding) };
export const customResourceDefinition: Behaviour = { ...definitionBehaviour, columns: crdColumns, defaults: defaultCrd };
export const apiService: Behaviour = {
  ...withStatus(),
  prepareCreate: (object, { now }) => {
    object.status = object.spec.service ? {} : { conditions: [{ ...local, lastTransitionTime: now }] };
  },
  columns: apiServiceColumns,
  defaults: defaultApiService,
  ...always(validateApiService),
  validateStatusUpdate: validateApiServiceStatus,
};
export const flowSchema: Behaviour = { ...withGeneration(), columns: flowSchemaColumns, defaults: defaultFlowSchema, ...always(validateFlowSchema), validateStatusUpdate: validateFlowStatus };
export const priorityLevelConfiguration: Behaviour = { ...withGeneration(), columns: priorityLevelColumns, defaults: defaultPriorityLevel, ...always(validatePriorityLevel), validateStatusUpdate: validateFlowStatus };
