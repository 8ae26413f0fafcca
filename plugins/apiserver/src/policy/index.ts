/** What objects of admissionregistration.k8s.io demand: webhooks, and policies that the server itself evaluates. */
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { AdmissionMetrics } from "../admission/metrics.ts";
import type { Authorizer } from "../auth/rbac.ts";
import type { Engine } from "../verbs/engine.ts";
import { createWebhookClient, type WebhookClient } from "../webhook/client.ts";
import { mutatingWebhooks, validatingWebhooks } from "../webhook/index.ts";
import { mutatingPolicies } from "./mutating.ts";
import { validatingPolicies } from "./validating.ts";

export interface ConfiguredAdmission {
  /** For others who ask backends outside. */
  readonly client: WebhookClient;
  /** The plugins in upstream's order, given the mutators that run again over what webhooks changed. */
  plugins(mutators: () => readonly AdmissionPlugin[]): readonly AdmissionPlugin[];
  stop(): void;
}

export interface ConfiguredDeps {
  readonly engine: Engine;
  readonly authorizer: Authorizer;
  readonly metrics: AdmissionMetrics;
}

export function configuredAdmission(deps: ConfiguredDeps): ConfiguredAdmission {
  const client = createWebhookClient(deps.engine.store);
  return {
    client,
    plugins(mutators) {
      const policies = mutatingPolicies(deps);
      return [
        policies, mutatingWebhooks({ ...deps, client, mutators: () => [...mutators(), policies] }),
        validatingPolicies(deps), validatingWebhooks({ ...deps, client }),
      ];
    },
    stop: () => client.close(),
  };
}
