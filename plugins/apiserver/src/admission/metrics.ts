/** What admission tells `/metrics`: durations, refusals and failures that were passed over, under upstream's names. */
import { counter, histogram } from "../server/metric-families.ts";

export interface AdmissionMetrics {
  /** A plugin of somebody else has answered. */
  plugin(labels: { readonly name: string; readonly operation: string; readonly type: "admit" | "validate"; readonly rejected: boolean }, seconds: number): void;
  webhook(labels: { readonly name: string; readonly operation: string; readonly type: WebhookType; readonly rejected: boolean }, seconds: number): void;
  /** `code` is 0 when the webhook gave none. */
  refusal(labels: { readonly name: string; readonly operation: string; readonly type: WebhookType; readonly error: WebhookError; readonly code: number }): void;
  failedOpen(labels: { readonly name: string; readonly type: WebhookType }): void;
  policy(labels: { readonly policy: string; readonly binding: string; readonly action: "allow" | "deny" | "audit" | "warn"; readonly failed: boolean }): void;
  render(): string;
}

export type WebhookType = "admit" | "validating";
export type WebhookError = "calling_webhook_error" | "apiserver_internal_error" | "no_error";

const PLUGIN_BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 2.5];
const WEBHOOK_BUCKETS = [...PLUGIN_BUCKETS, 10, 25];

export function createAdmissionMetrics(): AdmissionMetrics {
  const plugins = histogram("apiserver_admission_controller_admission_duration_seconds", "Admission controller latency of contributed plugins.", PLUGIN_BUCKETS);
  const webhooks = histogram("apiserver_admission_webhook_admission_duration_seconds", "Admission webhook latency.", WEBHOOK_BUCKETS);
  const refusals = counter("apiserver_admission_webhook_rejection_count", "Requests that admission webhooks refused, or whose webhook failed.");
  const open = counter("apiserver_admission_webhook_fail_open_count", "Failures of webhooks that were passed over.");
  const policies = counter("apiserver_validating_admission_policy_check_total", "Checks of validating admission policies.");
  return {
    plugin: ({ name, operation, type, rejected }, seconds) => plugins.observe({ name, operation, rejected: String(rejected), type }, seconds),
    webhook: ({ name, operation, type, rejected }, seconds) => webhooks.observe({ name, operation, rejected: String(rejected), type }, seconds),
    refusal: ({ name, operation, type, error, code }) => refusals.add({ error_type: error, name, operation, rejection_code: String(code), type }),
    failedOpen: ({ name, type }) => open.add({ name, type }),
    policy: ({ policy, binding, action, failed }) =>
      policies.add({ enforcement_action: action, error_type: failed ? "invalid_error" : "no_error", policy, policy_binding: binding }),
    render: () => [plugins, webhooks, refusals, open, policies].map((family) => family.render()).join(""),
  };
}
