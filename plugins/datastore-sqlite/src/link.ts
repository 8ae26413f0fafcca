/** The worker thread as seen from the main thread: questions with one answer each, in order. */
import { Worker } from "node:worker_threads";
import { k3spError, type ErrorCode, type K3spError } from "@k3s-p/plugin-api";
import type { Answer, Failure, Request, WorkerOptions } from "./worker.ts";

export interface LinkOptions extends WorkerOptions {
  /** Called when the worker dies; everything is refused from then on. */
  readonly onCrash?: (error: Error) => void;
}

export type Ask = Request extends infer R ? (R extends Request ? Omit<R, "id"> : never) : never;

export interface Link {
  ask(request: Ask, transfer?: readonly ArrayBuffer[]): Promise<Answer>;
  end(): Promise<void>;
}

export function connect(options: LinkOptions): Link {
  const { file, maxPages } = options;
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: { file, maxPages } });
  const waiting = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  let ids = 0;
  let dead: Error | undefined;
  let ending = false;
  worker.on("message", (answer: Answer) => {
    const call = waiting.get(answer.id)!;
    waiting.delete(answer.id);
    if (answer.error) call.reject(toError(answer.error));
    else call.resolve(answer);
  });
  const crash = (cause: unknown): void => {
    if (ending) return;
    dead ??= k3spError("K3SP_DATASTORE_FAILED", { message: "the database thread has ended", cause });
    for (const call of waiting.values()) call.reject(dead);
    waiting.clear();
    options.onCrash?.(dead);
  };
  worker.on("error", crash);
  worker.on("exit", (code) => crash(new Error(`exit code ${code}`)));
  return {
    ask: (request, transfer = []) => new Promise((resolve, reject) => {
      if (dead) return reject(dead);
      const id = ++ids;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ ...request, id }, transfer as ArrayBuffer[]);
    }),
    async end() {
      ending = true;
      dead ??= k3spError("K3SP_DATASTORE_FAILED", { message: "the database is closed" });
      await worker.terminate();
    },
  };
}

const toError = (failure: Failure): K3spError =>
  k3spError(failure.code as ErrorCode, { message: failure.message, detail: failure.detail, ...(failure.fix && { fix: failure.fix }) });
