/** The worker thread: owns the SQLite file, commits the rows in the mailbox and answers messages, all one by one and in order. */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { type Database, openDatabase } from "./database.ts";
import { translate } from "./failure.ts";
import type { OpenOptions } from "./file.ts";
import { decodeRows, encodeRows, type FrameRow } from "./frames.ts";
import { listen, type Mailbox, takeRows, tellOutcome, type WaitingRows } from "./mailbox.ts";

/** Requests; each is answered by one `Answer` with the same id, a range or history by parts with `more` before it. */
export type Request =
  | { readonly id: number; readonly op: "open" }
  | { readonly id: number; readonly op: "range"; readonly prefix: string; readonly at?: number | undefined }
  | { readonly id: number; readonly op: "get"; readonly key: string }
  | { readonly id: number; readonly op: "since"; readonly after: number }
  | { readonly id: number; readonly op: "history"; readonly limit: number }
  | { readonly id: number; readonly op: "compact"; readonly revision: number }
  | { readonly id: number; readonly op: "shrink" }
  | { readonly id: number; readonly op: "check" }
  | { readonly id: number; readonly op: "restoreBegin" }
  | { readonly id: number; readonly op: "restoreAdd"; readonly frame: Uint8Array<ArrayBuffer> }
  | { readonly id: number; readonly op: "restoreEnd"; readonly revision: number }
  | { readonly id: number; readonly op: "restoreAbort" }
  | { readonly id: number; readonly op: "keys" }
  | { readonly id: number; readonly op: "size" }
  | { readonly id: number; readonly op: "close" };

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly detail: readonly string[];
  readonly fix?: string | undefined;
}

export interface Answer {
  readonly id: number;
  readonly error?: Failure;
  /** A part of the rows; others follow. */
  readonly more?: true;
  readonly frame?: Uint8Array<ArrayBuffer>;
  /** Revision of the store after the request. */
  readonly revision?: number;
  readonly compacted?: number;
  readonly bytes?: number;
  readonly rows?: number;
  readonly findings?: readonly string[];
  /** Revision that the history follows. */
  readonly after?: number;
}

export interface WorkerOptions extends OpenOptions {
  readonly file: string;
}

export interface WorkerData extends WorkerOptions {
  readonly box: Mailbox;
}

const { box, ...options } = workerData as WorkerData;
let db: Database | undefined;
/** Id of the last message. */
let answered = 0;
let isOpen = true;

/** What was asked before some rows came is answered before they are there, what was asked after them when they are. */
function run(): void {
  let heard = 0;
  let waiting: WaitingRows | undefined;
  while (isOpen) {
    const next = receiveMessageOnPort(parentPort!)?.message as Request | undefined;
    waiting ??= takeRows(box);
    if (waiting && waiting.after < (next?.id ?? answered + 1)) {
      commit(waiting.rows);
      waiting = undefined;
    }
    if (next) answer(next);
    else if (!waiting) heard = listen(box, heard);
  }
}

function answer(request: Request): void {
  answered = request.id;
  post(handle(request));
  if (request.op !== "close") return;
  isOpen = false;
  parentPort!.close();
}

function commit(rows: Uint8Array): void {
  let failure: string | undefined;
  try {
    db!.commit(decodeRows(rows));
  } catch (error) {
    failure = JSON.stringify(toFailure(error));
  }
  tellOutcome(box, failure);
}

const post = (answer: Answer): void => parentPort!.postMessage(answer, answer.frame ? [answer.frame.buffer] : []);

function handle(request: Request): Answer {
  try {
    if (request.op === "open") db = openDatabase(options.file, options);
    const result = perform(db!, request);
    return { id: request.id, revision: db!.revision, compacted: db!.compacted, ...result };
  } catch (error) {
    return { id: request.id, error: toFailure(error) };
  }
}

function perform(store: Database, request: Request): Partial<Answer> {
  switch (request.op) {
    case "open":
    case "keys": return rows(store.keys());
    case "range": return rows(lastPart(request.id, store.range(request.prefix, request.at)));
    case "get": return rows([store.get(request.key)].filter((row) => row !== undefined));
    case "since": return rows(store.since(request.after));
    case "history": return history(store, request);
    case "compact": store.compact(request.revision); return {};
    case "shrink": store.shrink(); return {};
    case "check": return { findings: store.check() };
    case "restoreBegin": store.restore.begin(); return {};
    case "restoreAdd": store.restore.add(decodeRows(request.frame)); return {};
    case "restoreEnd": store.restore.end(request.revision); return {};
    case "restoreAbort": store.restore.abort(); return {};
    case "size": return store.size();
    case "close": store.close(); return {};
  }
}

function history(store: Database, { id, limit }: { readonly id: number; readonly limit: number }): Partial<Answer> {
  const after = store.historyStart(limit);
  return { ...rows(lastPart(id, store.history(after))), after };
}

const PART = 1000;

/** Sends all full parts on; the main thread takes them in while this one reads. */
function lastPart(id: number, all: Iterable<FrameRow>): FrameRow[] {
  let part: FrameRow[] = [];
  for (const row of all) {
    if (part.length === PART) {
      post({ id, more: true, frame: encodeRows(part) });
      part = [];
    }
    part.push(row);
  }
  return part;
}

const rows = (list: readonly FrameRow[]): Partial<Answer> => ({ frame: encodeRows(list) });

function toFailure(error: unknown): Failure {
  const { code, message, detail, fix } = translate(options.file, error, "cannot use");
  return { code, message, detail, fix };
}

run();
