/** exec, attach and port-forward: the upgrade is passed to the runtime's streaming server as raw bytes. */
import type { IncomingMessage } from "node:http";
import net from "node:net";
import type { Duplex } from "node:stream";

/** SPDY/3.1 and WebSocket alike: neither side's frames are looked at. */
export function passUpgrade(req: IncomingMessage, client: Duplex, head: Buffer, target: string): void {
  const url = new URL(target);
  const upstream = net.connect({ host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 80) });
  const close = (): void => {
    upstream.destroy();
    client.destroy();
  };
  upstream.on("connect", () => {
    upstream.write(`${req.method} ${url.pathname}${url.search} HTTP/1.1\r\n${headersFor(req, url)}\r\n`);
    if (head.length) upstream.write(head);
    upstream.pipe(client);
    client.pipe(upstream);
  });
  upstream.on("error", (error) => refuse(client, 502, `runtime streaming server: ${error.message}`));
  client.on("error", close);
  client.on("close", () => upstream.destroy());
  upstream.on("close", () => client.end());
}

/** All headers in their order, but for the credentials, which are not the runtime's business. */
function headersFor(req: IncomingMessage, url: URL): string {
  let text = `Host: ${url.host}\r\n`;
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i]!;
    if (!/^(host|authorization)$/i.test(name)) text += `${name}: ${req.rawHeaders[i + 1]}\r\n`;
  }
  return text;
}

const reasons: Readonly<Record<number, string>> = {
  400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error", 502: "Bad Gateway",
};

/** Answers an upgrade request that cannot be served. */
export function refuse(client: Duplex, status: number, message: string): void {
  if (client.destroyed) return;
  client.end(
    `HTTP/1.1 ${status} ${reasons[status] ?? "Error"}\r\nContent-Type: text/plain; charset=utf-8\r\n`
    + `Content-Length: ${Buffer.byteLength(message)}\r\nConnection: close\r\n\r\n${message}`,
  );
}
