/** What objects of admissionregistration.k8s.io demand: webhooks, and policies that the server itself evaluates. */
import type { AdmissionPlugin } from "@k3s-p/plugin-api/points";
import type { Authorizer } from "../auth/rbac.ts";
import type { Engine } from "../verbs/engine.ts";
import { createWebhookClient } from "../webhook/client.ts";
import { mutatingWebhooks, validatingWebhooks } from "../webhook/index.ts";
import { mutatingPolicies } from "./mutating.ts";
import { validatingPolicies } from "./validating.ts";

export interface ConfiguredAdmission {
  /** The plugins in upstream's order, given the server's own. */
  plugins(builtin: readonly AdmissionPlugin[]): readonly AdmissionPlugin[];
  stop(): void;
}

export function configuredAdmission(deps: { readonly engine: Engine; readonly authorizer: Authorizer }): ConfiguredAdmission {
  const client = createWebhookClient(deps.engine.store);
  return {
    plugins(builtin) {
      const policies = mutatingPolicies(deps);
      const mutators = [...builtin.filter((plugin) => plugin.mutate), policies];
      return [policies, mutatingWebhooks({ ...deps, client, mutators }), validatingPolicies(deps), validatingWebhooks({ ...deps, client })];
    },
    stop: () => client.close(),
  };
}
