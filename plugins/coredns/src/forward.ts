/** The `forward` and `cache` directives: other names are asked of the upstream servers and remembered. */
import { randomBytes } from "node:crypto";
import type { AnswerCache } from "./cache.ts";
import type { Handler, Question, Reply } from "./handler.ts";
import { failure, inZone } from "./records.ts";
import { exchange, formatUpstream, type Upstream } from "./upstream.ts";
import { type Answer, type Message, Rcode, Type } from "./wire.ts";

export type Policy = "random" | "round_robin" | "sequential";

export interface ForwardOptions {
  readonly zone: string;
  readonly except: readonly string[];
  /** Asked for each time, so that a changed resolv.conf counts at once. */
  readonly upstreams: () => readonly Upstream[];
  readonly policy: Policy;
  readonly forceTcp: boolean;
  readonly maxConcurrent: number;
  readonly cache: AnswerCache | undefined;
  readonly fallthrough?: boolean;
  readonly onLoop: (upstreams: readonly string[]) => void;
  /** Milliseconds to wait for one upstream. */
  readonly timeout?: number;
  readonly now?: () => number;
}

/** Failures in a row after which an upstream is left alone for a while, unless all have failed. */
const MAX_FAILS = 2;
const DOWN_FOR = 5000;
const ATTEMPTS = 3;

export interface ForwardHandler extends Handler {
  readonly inFlight: number;
}

export function forwardHandler(options: ForwardOptions): ForwardHandler {
  const { zone, except, cache, maxConcurrent, timeout = 2000, now = Date.now } = options;
  const pending = new Map<string, Promise<Answer>>();
  const fails = new Map<string, { count: number; until: number }>();
  const loop = loopDetector(options);
  let turn = 0;

  function ordered(): readonly Upstream[] {
    const all = options.upstreams();
    const start = options.policy === "sequential" ? 0 : options.policy === "round_robin" ? turn++ % Math.max(1, all.length) : Math.floor(Math.random() * all.length);
    const turned = [...all.slice(start), ...all.slice(0, start)];
    const up = turned.filter((upstream) => (fails.get(formatUpstream(upstream))?.until ?? 0) <= now());
    return up.length ? up : turned;
  }

  async function ask(question: Question): Promise<Answer> {
    for (const upstream of ordered().slice(0, ATTEMPTS)) {
      const id = formatUpstream(upstream);
      try {
        const message = await exchange(upstream, question, timeout, options.forceTcp);
        fails.delete(id);
        return toAnswer(message);
      } catch {
        const count = (fails.get(id)?.count ?? 0) + 1;
        fails.set(id, { count, until: count >= MAX_FAILS ? now() + DOWN_FOR : 0 });
      }
    }
    return failure(Rcode.ServFail);
  }

  return {
    name: "forward",
    get inFlight() {
      return pending.size;
    },
    answer(question): Reply | Promise<Reply> | undefined {
      const { name, type } = question;
      if (!inZone(name, zone) || except.some((z) => inZone(name, z))) return undefined;
      if (loop.sawItself(name, type)) return failure(Rcode.ServFail);
      const key = `${name} ${type} ${question.dnssecOk ? 1 : 0}${question.checkingDisabled ? 1 : 0}`;
      const known = cache?.get(key);
      if (known) return known;
      const running = pending.get(key);
      if (running) return running;
      if (pending.size >= maxConcurrent || !options.upstreams().length) return failure(Rcode.ServFail);
      loop.probeOnce();
      const asked = ask(question).then((answer) => {
        cache?.set(key, answer);
        return answer;
      }).finally(() => pending.delete(key));
      pending.set(key, asked);
      return asked;
    },
  };
}

function toAnswer({ rcode, authoritative, answers, authority, additional }: Message): Answer {
  return { rcode, authoritative, answers, authority, additional };
}

/**
 * An upstream that leads back here would multiply every question. Before the first one is forwarded, a random name goes
 * out; when it comes in again, this server only answers SERVFAIL until its upstreams change.
 */
function loopDetector(options: ForwardOptions) {
  const name = `${randomBytes(8).toString("hex")}.${randomBytes(8).toString("hex")}`;
  let probed = "";
  let looping = "";
  const signature = () => options.upstreams().map(formatUpstream).join(" ");
  return {
    probeOnce(): void {
      const now = signature();
      if (probed === now) return;
      probed = now;
      const probe: Question = { name, type: Type.HINFO, dnssecOk: false, checkingDisabled: false, depth: 0 };
      for (const upstream of options.upstreams()) void exchange(upstream, probe, 2000).catch(() => undefined);
    },
    sawItself(asked: string, type: number): boolean {
      if (asked === name && type === Type.HINFO && looping !== signature()) {
        looping = signature();
        options.onLoop(looping.split(" "));
      }
      return looping !== "" && looping === signature();
    },
  };
}
