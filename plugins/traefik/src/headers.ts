/** Header rules of a proxy: what belongs to one connection stays there, and who asked is told to the backend. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import { cidrContains, parseCidr } from "@k3s-p/plugin-api/net";

/** RFC 9110, 7.6.1, and the older names that clients still send. */
const hopByHop = new Set([
  "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer",
  "transfer-encoding", "upgrade", "http2-settings",
]);
const forwarded = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-server", "x-real-ip", "forwarded"];

export interface Client {
  readonly ip: string;
  /** The listener speaks TLS. */
  readonly secure: boolean;
  readonly host: string;
  /** Other proxies whose word about the client counts. */
  readonly trusted: readonly string[];
  readonly hostname: string;
}

export function isTrusted(ip: string, trusted: readonly string[]): boolean {
  return trusted.some((range) => {
    const cidr = parseCidr(range.includes("/") ? range : `${range}/${range.includes(":") ? 128 : 32}`);
    return cidr !== undefined && cidrContains(cidr, ip);
  });
}

const connectionNames = (headers: IncomingHttpHeaders): readonly string[] =>
  String(headers.connection ?? "").toLowerCase().split(",").map((name) => name.trim()).filter(Boolean);

export function requestHeaders(headers: IncomingHttpHeaders, client: Client, upgrade?: string): OutgoingHttpHeaders {
  const dropped = new Set(connectionNames(headers));
  const result: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || hopByHop.has(name) || dropped.has(name) || name === "expect") continue;
    result[name] = value;
  }
  const believed = isTrusted(client.ip, client.trusted);
  const before = believed ? Object.fromEntries(forwarded.map((name) => [name, headers[name]])) : {};
  for (const name of forwarded) delete result[name];
  const proto = client.secure ? "https" : "http";
  // Without trust a client could name itself: what it sent is dropped.
  result["x-forwarded-for"] = [before["x-forwarded-for"], client.ip].filter(Boolean).join(", ");
  result["x-real-ip"] = before["x-real-ip"] ?? client.ip;
  result["x-forwarded-proto"] = before["x-forwarded-proto"] ?? (upgrade === "websocket" ? (client.secure ? "wss" : "ws") : proto);
  result["x-forwarded-host"] = before["x-forwarded-host"] ?? client.host;
  result["x-forwarded-port"] = before["x-forwarded-port"] ?? (/:(\d+)$/.exec(client.host)?.[1] ?? (client.secure ? "443" : "80"));
  result["x-forwarded-server"] = client.hostname;
  result["host"] = client.host;
  if (/\btrailers\b/i.test(String(headers.te ?? ""))) result["te"] = "trailers";
  if (headers["transfer-encoding"]) result["transfer-encoding"] = "chunked";
  if (upgrade) Object.assign(result, { connection: "Upgrade", upgrade });
  return result;
}

/** Names and values in turn, in the backend's order and spelling. */
export function responseHeaders(raw: readonly string[], headers: IncomingHttpHeaders): string[] {
  const dropped = new Set(connectionNames(headers));
  const result: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (!hopByHop.has(name) && !dropped.has(name)) result.push(raw[i]!, raw[i + 1]!);
  }
  return result;
}
