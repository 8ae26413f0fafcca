/** The worker thread as seen from the main thread: questions with one answer each, in order. */
import { Worker } from "node:worker_threads";
import { k3spError, type ErrorCode, type K3spError } from "@k3s-p/plugin-api";
import { packRows, type FrameRow } from "./frames.ts";
import { commitRows, createMailbox, ring, roomFor } from "./mailbox.ts";
import type { Answer, Failure, Request, WorkerData, WorkerOptions } from "./worker.ts";

export interface LinkOptions extends WorkerOptions {
  /** Called when the worker dies; everything is refused from then on. */
  readonly onCrash?: (error: Error) => void;
}

export type Ask = Request extends infer R ? (R extends Request ? Omit<R, "id"> : never) : never;

export interface Link {
  ask(request: Ask, transfer?: readonly ArrayBuffer[]): Promise<Answer>;
  /** As `ask`, for an answer in parts: each is handed over with its frame, the last one as well. */
  parts(request: Ask, onPart: (frame: Uint8Array) => void): Promise<Answer>;
  /** One transaction; the next one may begin when this one is over. */
  commit(rows: readonly FrameRow[]): Promise<void>;
  end(): Promise<void>;
}

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly onPart?: ((frame: Uint8Array) => void) | undefined;
}

export function connect(options: LinkOptions): Link {
  const { onCrash, ...rest } = options;
  const box = createMailbox();
  const workerData: WorkerData = { ...rest, box };
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData });
  const waiting = new Map<number, Waiting>();
  let ids = 0;
  let dead: Error | undefined;
  let onDeath: (error: Error) => void = () => {};
  let ending = false;
  worker.on("message", (answer: Answer) => {
    const call = waiting.get(answer.id);
    if (!call) return;
    try {
      if (answer.frame) call.onPart?.(answer.frame);
    } catch (error) {
      // The caller does not want what it was handed: what is still to come of the answer goes nowhere.
      waiting.delete(answer.id);
      return call.reject(error as Error);
    }
    if (answer.more) return;
    waiting.delete(answer.id);
    if (answer.error) call.reject(toError(answer.error));
    else call.resolve(answer);
  });
  const crash = (cause: unknown): void => {
    dead ??= k3spError("K3SP_DATASTORE_FAILED", { message: "the database thread has ended", cause });
    for (const call of waiting.values()) call.reject(dead);
    waiting.clear();
    onDeath(dead);
    if (!ending) onCrash?.(dead);
  };
  worker.on("error", crash);
  worker.on("exit", (code) => crash(new Error(`exit code ${code}`)));
  const send = (request: Ask, transfer: readonly ArrayBuffer[], onPart?: Waiting["onPart"]): Promise<Answer> => new Promise((resolve, reject) => {
    if (dead) return reject(dead);
    // The thread ends after that answer, and its end may be told before anybody has read the answer.
    if (request.op === "close") ending = true;
    const id = ++ids;
    waiting.set(id, { resolve, reject, onPart });
    worker.postMessage({ ...request, id }, transfer as ArrayBuffer[]);
    ring(box);
  });
  return {
    ask: (request, transfer = []) => send(request, transfer),
    parts: (request, onPart) => send(request, [], onPart),
    commit: (rows) => new Promise((resolve, reject) => {
      if (dead) return reject(dead);
      onDeath = reject;
      const { length } = packRows(rows, (bytes) => roomFor(box, bytes));
      void commitRows(box, length, ids).then((failure) => (failure ? reject(toError(JSON.parse(failure) as Failure)) : resolve()));
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
