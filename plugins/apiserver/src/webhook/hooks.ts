/** The webhooks of all configurations, in the order of their names, read again only when a configuration changes. */
import type { Obj } from "../resources/types.ts";
import type { Store } from "../store/store.ts";
import type { ClientConfig } from "./client.ts";
import { type Conditions, createConditions } from "./conditions.ts";
import type { Matching } from "./forms.ts";
import { type ReviewVersion, reviewVersion } from "./review.ts";
import type { Rule, Selectors } from "./rules.ts";

export interface Hook extends Matching, Selectors {
  readonly name: string;
  readonly clientConfig: ClientConfig;
  readonly timeoutSeconds: number;
  readonly isFailClosed: boolean;
  /** Called again when a later webhook changed the object. */
  readonly isReinvoked: boolean;
  readonly hasSideEffects: boolean;
  /** Undefined when the webhook speaks none of ours. */
  readonly version: ReviewVersion | undefined;
  readonly conditions: Conditions | undefined;
}

export interface Hooks {
  list(): readonly Hook[];
}

export function followHooks(store: Pick<Store, "collection" | "list">, plural: string): Hooks {
  const group = "admissionregistration.k8s.io";
  let hooks: readonly Hook[] | undefined;
  store.collection({ group, plural }).subscribe(() => (hooks = undefined));
  return { list: () => (hooks ??= compile(store.list(group, plural))) };
}

const compile = (configurations: readonly Obj[]): readonly Hook[] =>
  [...configurations].sort((a, b) => (a.metadata!.name! < b.metadata!.name! ? -1 : 1))
    .flatMap((configuration) => ((configuration["webhooks"] ?? []) as Obj[]).map(hookOf));

function hookOf(webhook: Obj): Hook {
  const { name, clientConfig, rules = [], matchPolicy, namespaceSelector, objectSelector, timeoutSeconds = 10, matchConditions } = webhook;
  const isFailClosed = webhook["failurePolicy"] !== "Ignore";
  return {
    name, clientConfig, rules: rules as Rule[], matchPolicy, namespaceSelector, objectSelector, timeoutSeconds, isFailClosed,
    isReinvoked: webhook["reinvocationPolicy"] === "IfNeeded",
    hasSideEffects: webhook["sideEffects"] !== "None" && webhook["sideEffects"] !== "NoneOnDryRun",
    version: reviewVersion(webhook["admissionReviewVersions"] ?? []),
    conditions: matchConditions?.length ? createConditions(matchConditions, isFailClosed) : undefined,
  };
}
