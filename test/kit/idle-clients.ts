/** A process full of clients that have asked once and keep their connections: forked by tests, told what to do by messages. */
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";

/** What the parent sends. */
export type IdleCommand =
  | { readonly open: number; readonly protocol: "h2" | "http/1.1"; readonly tls: ConnectionOptions }
  | { readonly close: true };

/** What it hears: once all have their answer, or are closed. */
export interface IdleReport {
  readonly open: number;
  readonly error?: string;
}

/** Handshakes at the same time, as many as a server's backlog takes without losing any. */
const AT_ONCE = 64;
/** A client address has some 28,000 ports; so many connections leave it most of them. */
const PER_ADDRESS = 2500;

const sockets = new Set<TLSSocket>();
const report = (message: IdleReport): void => void process.send!(message);

process.on("message", (command: IdleCommand) => {
  const done = "open" in command ? openAll(command) : closeAll();
  done.then(() => report({ open: sockets.size }), (error: unknown) => report({ open: sockets.size, error: String(error) }));
});
process.on("disconnect", () => process.exit());

async function openAll({ open, protocol, tls }: Extract<IdleCommand, { open: number }>): Promise<void> {
  const options = { ...tls, ecdhCurve: "X25519", ALPNProtocols: [protocol] };
  // The others resume the first one's session, as the clients of one program do.
  const session = await new Promise<Buffer>((resolve, reject) => {
    const socket = connect(options).on("session", (ticket: Buffer) => {
      resolve(ticket);
      socket.destroy();
    }).on("error", reject);
  });
  let next = 0;
  const opener = async (): Promise<void> => {
    while (next < open) await ask({ ...options, session, localAddress: `127.0.0.${2 + Math.floor(next++ / PER_ADDRESS)}` } as ConnectionOptions, protocol);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, opener));
}

/** Connects, asks once, and resolves with the first bytes of the answer's end. */
function ask(options: ConnectionOptions, protocol: "h2" | "http/1.1"): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => socket.write(protocol === "h2" ? http2Request : http1Request));
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text = (text + chunk.toString("latin1")).slice(-64);
      // The body of `/livez`, at the end of the answer or in the last frame.
      if (!text.endsWith("ok")) return;
      sockets.add(socket);
      resolve();
    });
    socket.on("error", reject).on("close", () => {
      sockets.delete(socket);
      reject(new Error("the connection was ended"));
    });
  });
}

function closeAll(): Promise<unknown> {
  return Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve).end().destroySoon())));
}

const PATH = "/livez";
const http1Request = `GET ${PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** The preface, empty SETTINGS, and HEADERS that end stream 1, by the static table of HPACK. */
const http2Request = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(4, 0, 0, Buffer.alloc(0)),
  frame(1, 0x5, 1, Buffer.concat([Buffer.from([0x82, 0x87]), literal(4, PATH), literal(1, "localhost")])),
]);

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Of a name in the static table, not to be remembered. */
function literal(index: number, value: string): Buffer {
  return Buffer.concat([Buffer.from([index, value.length]), Buffer.from(value)]);
}
