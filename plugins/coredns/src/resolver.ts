/** From a packet to a packet: the block of the question's zone answers, and answers made of objects are kept as bytes. */
import { type MaybePromise, type Question, type Reply, runChain } from "./handler.ts";
import type { Compiled, CompiledBlock } from "./compile.ts";
import type { Observation } from "./metrics.ts";
import { failure, inZone } from "./records.ts";
import { type Answer, CLASS_IN, encodeAnswer, encodeFormErr, parseQuery, type Query, Rcode, type Rr, Type, udpLimit } from "./wire.ts";

export interface Resolver {
  /** The answer's bytes; undefined for packets that get none. `limit` bounds UDP, and 65,535 is TCP's. */
  handle(packet: Buffer, transport: "udp" | "tcp"): MaybePromise<Buffer | undefined>;
  use(compiled: Compiled): void;
  /** Forgets the answers kept as bytes; called when an object changes. */
  invalidate(): void;
  readonly queries: number;
}

const KEPT = 4096;

interface Kept {
  readonly bytes: Buffer;
  readonly zone: string;
  readonly type: number;
}

export function createResolver(onError: (error: unknown, name: string) => void, observe: (observation: Observation) => void = () => {}): Resolver {
  let blocks: readonly CompiledBlock[] = [];
  let queries = 0;
  const kept = new Map<string, Kept>();

  function resolve(question: Question): MaybePromise<Reply> {
    const block = blocks.find((b) => inZone(question.name, b.zone));
    if (!block) return failure(Rcode.Refused);
    const reply = runChain(block.handlers, question, resolve);
    return reply instanceof Promise ? reply.then((r) => finish(r, block)) : finish(reply, block);
  }

  function finish(reply: Reply | undefined, block: CompiledBlock): Reply {
    if (!reply) return failure(Rcode.ServFail);
    return block.shuffle && reply.answers.length > 1 ? { ...reply, answers: shuffled(reply.answers) } : reply;
  }

  function answer(query: Query): MaybePromise<Reply> {
    if (query.opcode !== 0) return failure(Rcode.NotImp);
    if (query.edns && query.edns.version !== 0) return failure(Rcode.BadVers);
    if (query.class !== CLASS_IN) return failure(Rcode.Refused);
    return resolve({
      name: query.name, type: query.type, dnssecOk: query.edns?.dnssecOk ?? false, checkingDisabled: query.checkingDisabled, depth: 0,
    });
  }

  /** The bytes of a question and everything else that shapes its answer. */
  const keyOf = (packet: Buffer, transport: string) => `${transport}${packet.toString("latin1", 2)}`;

  return {
    get queries() {
      return queries;
    },
    use(compiled) {
      for (const block of blocks) for (const handler of block.handlers) handler.close?.();
      blocks = compiled.blocks;
      kept.clear();
    },
    invalidate: () => kept.clear(),
    handle(packet, transport) {
      if (packet.length < 12 || packet.readUInt8(2) & 0x80) return undefined;
      queries++;
      const started = performance.now();
      const done = (bytes: Buffer, zone: string, type: number): Buffer => {
        observe({ transport, zone, type, rcode: bytes.readUInt8(3) & 15, seconds: (performance.now() - started) / 1000 });
        return bytes;
      };
      const key = keyOf(packet, transport);
      const known = kept.get(key);
      if (known) return done(withId(known.bytes, packet), known.zone, known.type);
      let query: Query;
      try {
        query = parseQuery(packet);
      } catch {
        const refusal = encodeFormErr(packet);
        return refusal && done(refusal, "", 0);
      }
      const zone = `${blocks.find((b) => inZone(query.name, b.zone))?.zone ?? ""}.`;
      const limit = transport === "udp" ? udpLimit(query) : undefined;
      const fail = (error: unknown): Buffer => {
        onError(error, query.name);
        return done(encodeAnswer(query, failure(Rcode.ServFail), limit), zone, query.type);
      };
      try {
        const reply = answer(query);
        if (reply instanceof Promise) return reply.then((r) => done(encodeAnswer(query, r, limit), zone, query.type)).catch(fail);
        const encoded = encodeAnswer(query, reply, limit);
        if (reply.cacheable) keep(key, { bytes: encoded, zone, type: query.type });
        return done(encoded, zone, query.type);
      } catch (error) {
        return fail(error);
      }
    },
  };

  function keep(key: string, answer: Kept): void {
    if (kept.size >= KEPT) kept.clear();
    kept.set(key, answer);
  }
}

function withId(bytes: Buffer, packet: Buffer): Buffer {
  const copy = Buffer.allocUnsafe(bytes.length);
  bytes.copy(copy);
  packet.copy(copy, 0, 0, 2);
  return copy;
}

/** Aliases keep their place in front; addresses change theirs, so that clients spread over them. */
function shuffled(records: Answer["answers"]): readonly Rr[] {
  const isAddress = (rr: Rr) => rr.type === Type.A || rr.type === Type.AAAA;
  const addresses = records.filter(isAddress);
  for (let i = addresses.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [addresses[i], addresses[j]] = [addresses[j]!, addresses[i]!];
  }
  return [...records.filter((rr) => !isAddress(rr)), ...addresses];
}
