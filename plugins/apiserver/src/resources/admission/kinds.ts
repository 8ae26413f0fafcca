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
import {
  validateFlowSchema, validateMutatingPolicy, validatePolicyBinding, validatePriorityLevel, validateValidatingBinding,
  validateValidatingPolicy, validateWebhooks,
} from "./validate.ts";
import { definitionBehaviour } from "../../crd/definition.ts";
import { validateApiService } from "./validate-extension.ts";

/** Groups that the server itself answers are there as long as it is. */
const local = { type: "Available", status: "True", reason: "Local", message: "Local APIServices are always available" };

const webhookGeneration: Behaviour = { generationOf: (object) => object.webhooks };

export const mutatingWebhookConfiguration: Behaviour = { ...webhookGeneration, columns: webhookColumns, defaults: defaultMutatingWebhooks, ...always(validateWebhooks) };
export const validatingWebhookConfiguration: Behaviour = { ...webhookGeneration, columns: webhookColumns, defaults: defaultValidatingWebhooks, ...always(validateWebhooks) };
export const validatingAdmissionPolicy: Behaviour = { ...withGeneration(), columns: validatingPolicyColumns, defaults: defaultPolicy, ...always(validateValidatingPolicy) };
export const mutatingAdmissionPolicy: Behaviour = { ...specGeneration, columns: mutatingPolicyColumns, defaults: defaultPolicy, ...always(validateMutatingPolicy) };
const policyBinding: Behaviour = { ...specGeneration, columns: policyBindingColumns, defaults: defaultPolicyBinding };
export const validatingAdmissionPolicyBinding: Behaviour = { ...policyBinding, ...always(validateValidatingBinding) };
export const mutatingAdmissionPolicyBinding: Behaviour = { ...policyBinding, ...always(validatePolicyBinding) };
export const customResourceDefinition: Behaviour = { ...definitionBehaviour, columns: crdColumns, defaults: defaultCrd };
export const apiService: Behaviour = {
  ...withStatus(),
  prepareCreate: (object, { now }) => {
    object.status = object.spec.service ? {} : { conditions: [{ ...local, lastTransitionTime: now }] };
  },
  columns: apiServiceColumns,
  defaults: defaultApiService,
  ...always(validateApiService),
};
export const flowSchema: Behaviour = { ...withGeneration(), columns: flowSchemaColumns, defaults: defaultFlowSchema, ...always(validateFlowSchema) };
export const priorityLevelConfiguration: Behaviour = { ...withGeneration(), columns: priorityLevelColumns, defaults: defaultPriorityLevel, ...always(validatePriorityLevel) };
