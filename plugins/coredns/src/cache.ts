/** Bounded cache of upstream answers, positive and negative; the oldest entry makes room. */
import { negativeTtl } from "./records.ts";
import { type Answer, Rcode, type Rr } from "./wire.ts";

export interface CacheOptions {
  readonly capacity: number;
  /** Longest time to keep an answer, and the absence of one, seconds. */
  readonly positiveTtl: number;
  readonly negativeTtl: number;
  readonly now?: () => number;
}

export interface AnswerCache {
  /** The answer with what is left of its TTLs. */
  get(key: string): Answer | undefined;
  set(key: string, answer: Answer): void;
  readonly size: number;
}

/** A failing upstream is asked again so soon, and not by every retry of every client. */
const FAILURE_TTL = 1;

export function createCache({ capacity, positiveTtl, negativeTtl: longestNegative, now = Date.now }: CacheOptions): AnswerCache {
  const entries = new Map<string, { readonly answer: Answer; readonly stored: number; readonly expires: number }>();

  function lifetime(answer: Answer): number {
    if (answer.rcode === Rcode.ServFail) return FAILURE_TTL;
    if (answer.rcode === Rcode.NoError && answer.answers.length) return Math.min(positiveTtl, ...answer.answers.map((rr) => rr.ttl));
    if (answer.rcode !== Rcode.NoError && answer.rcode !== Rcode.NxDomain) return 0;
    return Math.min(longestNegative, negativeTtl(answer.authority) ?? 0);
  }

  return {
    get size() {
      return entries.size;
    },
    get(key) {
      const entry = entries.get(key);
      if (!entry) return undefined;
      const at = now();
      if (at >= entry.expires) return void entries.delete(key);
      const age = Math.floor((at - entry.stored) / 1000);
      const left = Math.ceil((entry.expires - at) / 1000);
      const aged = (records: readonly Rr[]) => records.map((rr) => ({ ...rr, ttl: Math.min(left, Math.max(0, rr.ttl - age)) }));
      const { answer } = entry;
      return { ...answer, answers: aged(answer.answers), authority: aged(answer.authority), additional: aged(answer.additional) };
    },
    set(key, answer) {
      const seconds = lifetime(answer);
      if (seconds <= 0 || capacity <= 0) return;
      entries.delete(key);
      if (entries.size >= capacity) entries.delete(entries.keys().next().value!);
      entries.set(key, { answer, stored: now(), expires: now() + seconds * 1000 });
    },
  };
}
