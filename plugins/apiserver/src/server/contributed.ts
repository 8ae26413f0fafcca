/** Calls into what plugins contribute: bounded in time, measured, and named when they fail. */
import { apiError } from "@k3s-p/plugin-api/kube";

export interface ContributedCall {
  /** Whose it is. */
  readonly plugin: string;
  /** What it is, as in `admission plugin "x"`. */
  readonly what: string;
  /** Milliseconds that one answer may take; default 10 s. */
  readonly timeout?: number | undefined;
  readonly measure?: (seconds: number, failed: boolean) => void;
}

/** As long as a webhook that says nothing else may take. */
const TIMEOUT = 10_000;

/** An error of the API passes as it is; any other failure becomes one that says whose it is. */
export async function callContributed<T>({ plugin, what, timeout = TIMEOUT, measure }: ContributedCall, run: () => T | Promise<T>): Promise<T> {
  const fail = (why: string, cause?: unknown): Error => {
    const message = `${what} of plugin ${JSON.stringify(plugin)} ${why}`;
    return Object.assign(apiError(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] }), { cause });
  };
  const start = performance.now();
  let failed = true;
  try {
    const result = await within(timeout, run(), () => fail(`did not answer within ${timeout} ms`));
    failed = false;
    return result;
  } catch (error) {
    throw error instanceof Error && error.name === "ApiError" ? error : fail(`failed: ${error instanceof Error ? error.message : String(error)}`, error);
  } finally {
    measure?.((performance.now() - start) / 1000, failed);
  }
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
