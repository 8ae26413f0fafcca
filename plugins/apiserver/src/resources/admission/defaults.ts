/** Defaults of admission, API extensions, aggregation and flow control. */
import { ensure, fill, fillEmpty, isObject, items } from "../fields.ts";
import type { Obj } from "../types.ts";

const HTTPS = 443;

function defaultWebhook(webhook: Obj): void {
  fill(webhook, { failurePolicy: "Fail", matchPolicy: "Equivalent", namespaceSelector: {}, objectSelector: {}, timeoutSeconds: 10 });
  defaultClient(webhook.clientConfig);
  for (const rule of items(webhook, "rules")) fill(rule, { scope: "*" });
}

function defaultClient(config: unknown): void {
  if (isObject(config) && isObject(config.service)) fill(config.service, { port: HTTPS });
}

export function defaultValidatingWebhooks(configuration: Obj): void {
  items(configuration, "webhooks").forEach(defaultWebhook);
}

export function defaultMutatingWebhooks(configuration: Obj): void {
  for (const webhook of items(configuration, "webhooks")) {
    defaultWebhook(webhook);
    fill(webhook, { reinvocationPolicy: "Never" });
  }
}

function defaultMatch(match: unknown): void {
  if (!isObject(match)) return;
  fill(match, { matchPolicy: "Equivalent", namespaceSelector: {}, objectSelector: {} });
  for (const rule of [...items(match, "resourceRules"), ...items(match, "excludeResourceRules")]) fill(rule, { scope: "*" });
}

export function defaultPolicy(policy: Obj): void {
  const spec = ensure(policy, "spec");
  fill(spec, { failurePolicy: "Fail" });
  defaultMatch(spec.matchConstraints);
}

export function defaultPolicyBinding(binding: Obj): void {
  defaultMatch(ensure(binding, "spec").matchResources);
}

export function defaultCrd(crd: Obj): void {
  const spec = ensure(crd, "spec");
  const names = ensure(spec, "names");
  if (names.kind) fillEmpty(names, { singular: String(names.kind).toLowerCase(), listKind: `${names.kind}List` });
  fillEmpty(ensure(spec, "conversion"), { strategy: "None" });
  defaultClient(spec.conversion.webhook?.clientConfig);
}

export function defaultApiService(apiService: Obj): void {
  const service = ensure(apiService, "spec").service;
  if (isObject(service)) fill(service, { port: HTTPS });
  ensure(apiService, "status");
}

export function defaultFlowSchema(schema: Obj): void {
  const spec = ensure(schema, "spec");
  if (!spec.matchingPrecedence) spec.matchingPrecedence = 1000;
  ensure(schema, "status");
}

export function defaultPriorityLevel(level: Obj): void {
  const { limited, exempt } = ensure(level, "spec");
  if (isObject(limited)) {
    fill(limited, { nominalConcurrencyShares: 30, lendablePercent: 0 });
    const queuing = limited.limitResponse?.queuing;
    if (isObject(queuing)) fill(queuing, { queues: 64, handSize: 8, queueLengthLimit: 50 });
  }
  if (isObject(exempt)) fill(exempt, { nominalConcurrencyShares: 0, lendablePercent: 0 });
  ensure(level, "status");
}
