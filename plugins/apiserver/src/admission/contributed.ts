/** Plugins that others contribute, as members of the chain. */
import type { Contribution } from "@k3s-p/plugin-api";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import { callContributed } from "../server/contributed.ts";
import { type Concern, resourceOf, type SelectivePlugin } from "./common.ts";
import type { AdmissionMetrics } from "./metrics.ts";

export interface ContributedDeps {
  readonly metrics: Pick<AdmissionMetrics, "plugin">;
  readonly timeout?: number;
}

/** What fails otherwise than by a refusal refuses the request, too. */
export function contributedPlugin({ plugin, impl }: Contribution<AdmissionPlugin>, { metrics, timeout }: ContributedDeps): SelectivePlugin {
  const { name, resources } = impl;
  const call = <T>(type: "admit" | "validate", { operation }: AdmissionRequest, run: () => T | Promise<T>): Promise<T> => callContributed({
    plugin, what: `admission plugin ${JSON.stringify(name)}`, timeout,
    measure: (seconds, rejected) => metrics.plugin({ name, operation, type, rejected }, seconds),
  }, run);
  return {
    name,
    ...(resources && { concerns: (request: Concern) => resources.includes(resourceOf(request)) }),
    ...(impl.mutate && { mutate: (request: AdmissionRequest) => call("admit", request, () => impl.mutate!(request)) }),
    ...(impl.validate && { validate: (request: AdmissionRequest) => call<void>("validate", request, () => impl.validate!(request)) }),
  };
}
