/** Plugins that others contribute, as members of the chain: bounded in time, measured, and named when they fail. */
import type { Contribution } from "@k3s-p/plugin-api";
import { apiError } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { AdmissionMetrics } from "./metrics.ts";

export interface ContributedDeps {
  readonly metrics: Pick<AdmissionMetrics, "plugin">;
  /** Milliseconds that one answer may take. */
  readonly timeout?: number;
}

/** As long as a webhook that says nothing else may take. */
const TIMEOUT = 10_000;

/** A refusal passes as it is; any other failure refuses the request and says whose it is. */
export function contributedPlugin({ plugin, impl }: Contribution<AdmissionPlugin>, { metrics, timeout = TIMEOUT }: ContributedDeps): AdmissionPlugin {
  const { name } = impl;
  const fail = (why: string, cause?: unknown): Error => {
    const message = `admission plugin ${JSON.stringify(name)} of plugin ${JSON.stringify(plugin)} ${why}`;
    return Object.assign(apiError(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] }), { cause });
  };
  const call = async <T>(type: "admit" | "validate", request: AdmissionRequest, answer: () => T | Promise<T>): Promise<T> => {
    const start = performance.now();
    let rejected = true;
    try {
      const result = await within(timeout, answer(), () => fail(`did not answer within ${timeout} ms`));
      rejected = false;
      return result;
    } catch (error) {
      throw error instanceof Error && error.name === "ApiError" ? error : fail(`failed: ${error instanceof Error ? error.message : String(error)}`, error);
    } finally {
      metrics.plugin({ name, operation: request.operation, type, rejected }, (performance.now() - start) / 1000);
    }
  };
  return {
    name,
    ...(impl.mutate && { mutate: (request: AdmissionRequest) => call("admit", request, () => impl.mutate!(request)) }),
    ...(impl.validate && { validate: (request: AdmissionRequest) => call<void>("validate", request, () => impl.validate!(request)) }),
  };
}

/** A function of another process returns a promise that is none of ours. */
function within<T>(milliseconds: number, answer: T | Promise<T>, late: () => Error): T | Promise<T> {
  if (typeof (answer as PromiseLike<T> | undefined)?.then !== "function") return answer;
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), milliseconds);
  });
  return Promise.race([answer, expired]).finally(() => clearTimeout(timer));
}
