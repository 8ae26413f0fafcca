/** What a server block is made of: handlers that answer a question or pass it on to the next. */
import type { Answer } from "./wire.ts";

export interface Question {
  /** Lower case, without the final dot. */
  readonly name: string;
  readonly type: number;
  readonly dnssecOk: boolean;
  readonly checkingDisabled: boolean;
  /** How many names were followed so far (CNAME). */
  readonly depth: number;
  /** Under another name than the client's: rules are applied once. */
  readonly rewritten?: boolean;
}

/** `cacheable` answers depend on the cluster's objects alone and may be kept until one of them changes. */
export type Reply = Answer & { readonly cacheable?: boolean };
export type MaybePromise<T> = T | Promise<T>;
export type Resolve = (question: Question) => MaybePromise<Reply>;

export interface Handler {
  readonly name: string;
  /** Undefined passes the question on. Answers at once when it can: a promise costs a turn of the event loop. */
  answer(question: Question, resolve: Resolve): MaybePromise<Reply | undefined>;
  close?(): void;
}

/** Asks the handlers in order; the first answer counts. */
export function runChain(handlers: readonly Handler[], question: Question, resolve: Resolve, from = 0): MaybePromise<Reply | undefined> {
  for (let i = from; i < handlers.length; i++) {
    const reply = handlers[i]!.answer(question, resolve);
    if (reply instanceof Promise) return reply.then((r) => r ?? runChain(handlers, question, resolve, i + 1));
    if (reply) return reply;
  }
  return undefined;
}
