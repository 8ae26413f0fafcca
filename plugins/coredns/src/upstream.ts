/** One question to one upstream server: UDP from a fresh port with a random id, TCP when the answer was truncated. */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Question } from "./handler.ts";
import { encodeQuery, type Message, parseMessage } from "./wire.ts";

export interface Upstream {
  readonly address: string;
  readonly port: number;
  /** DNS over TLS, with the name that the certificate must have. */
  readonly tls?: { readonly servername?: string };
}

export const formatUpstream = ({ address, port }: Upstream): string => (isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`);

/** `1.2.3.4`, `1.2.3.4:5353`, `[::1]:53`, `dns://1.2.3.4`, `tls://9.9.9.9`; undefined when it is none of these. */
export function parseUpstream(text: string, servername?: string): Upstream | undefined {
  const match = /^(?:(dns|tls):\/\/)?(?:\[([^\]]+)\]|([^:[\]]+)|([0-9a-fA-F:.]+?))(?::(\d+))?$/.exec(text);
  const address = text.match(/:/g)?.length && isIP(text) === 6 ? text : (match?.[2] ?? match?.[3] ?? match?.[4] ?? "");
  if (!isIP(address)) return undefined;
  const tls = match?.[1] === "tls";
  const port = isIP(text) ? 53 : Number(match?.[5] ?? (tls ? 853 : 53));
  return { address, port, ...(tls && { tls: { ...(servername && { servername }) } }) };
}

/** Rejects when no valid answer came within `timeout` milliseconds. */
export async function exchange(upstream: Upstream, question: Question, timeout: number, forceTcp = false): Promise<Message> {
  const id = randomInt(65_536);
  const packet = encodeQuery(id, question.name, question.type, question.dnssecOk, question.checkingDisabled);
  if (upstream.tls || forceTcp) return overStream(upstream, packet, id, timeout);
  const message = await overUdp(upstream, packet, id, timeout);
  return message.truncated ? overStream(upstream, packet, id, timeout).catch(() => message) : message;
}

/** Whether the reply is to this very question, and not a forged or late one. */
const isReplyTo = (packet: Buffer, query: Buffer, id: number): boolean => {
  const question = query.subarray(12, query.length - 11);
  return packet.length >= 12 && packet.readUInt16BE(0) === id && (packet.readUInt8(2) & 0x80) !== 0 &&
    packet.subarray(12, 12 + question.length).toString("latin1").toLowerCase() === question.toString("latin1").toLowerCase();
};

function overUdp(upstream: Upstream, packet: Buffer, id: number, timeout: number): Promise<Message> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(upstream.address) === 6 ? "udp6" : "udp4");
    const finish = (error?: Error, message?: Message) => {
      clearTimeout(timer);
      socket.close();
      if (message) resolve(message);
      else reject(error!);
    };
    const timer = setTimeout(() => finish(new Error(`${formatUpstream(upstream)} did not answer within ${timeout} ms`)), timeout);
    socket.once("error", finish);
    socket.on("message", (reply) => {
      if (!isReplyTo(reply, packet, id)) return;
      try {
        finish(undefined, parseMessage(reply));
      } catch (error) {
        finish(error as Error);
      }
    });
    // A connected socket takes packets from the upstream only, and learns at once that nobody listens there.
    socket.connect(upstream.port, upstream.address, () => socket.send(packet));
  });
}

function overStream(upstream: Upstream, packet: Buffer, id: number, timeout: number): Promise<Message> {
  return new Promise((resolve, reject) => {
    const target = { host: upstream.address, port: upstream.port };
    const socket = upstream.tls ? connectTls({ ...target, ...upstream.tls }) : connect(target);
    const finish = (error: Error | undefined, message?: Message) => {
      clearTimeout(timer);
      socket.destroy();
      if (message) resolve(message);
      else reject(error ?? new Error(`${formatUpstream(upstream)} closed the connection`));
    };
    const timer = setTimeout(() => finish(new Error(`${formatUpstream(upstream)} did not answer within ${timeout} ms`)), timeout);
    let received = Buffer.alloc(0);
    socket.once("error", finish).once("close", () => finish(undefined));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const reply = received.subarray(2, 2 + received.readUInt16BE(0));
      try {
        finish(isReplyTo(reply, packet, id) ? undefined : new Error("not an answer to the question"), isReplyTo(reply, packet, id) ? parseMessage(reply) : undefined);
      } catch (error) {
        finish(error as Error);
      }
    });
    const length = Buffer.allocUnsafe(2);
    length.writeUInt16BE(packet.length);
    socket.write(Buffer.concat([length, packet]));
  });
}
