/** Registries of our own on the loopback interface, for what containerd has no settings for. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { messageOf, type PluginContext } from "@k3s-p/plugin-api";
import { http } from "@k3s-p/plugin-api/http";
import type { Endpoint } from "./hosts-toml.ts";
import type { RegistryTls } from "./registries.ts";

export interface Loopback {
  /** A registry that has nothing. containerd asks some host last in any case, and that one without TLS settings of its own. */
  nobody(): Promise<Endpoint>;
  /** Asks the mirror for repositories by other names: a regular expression and its replacement each, the first that fits counts. */
  rewriting(mirror: Endpoint, rewrite: Readonly<Record<string, string>>): Promise<Endpoint>;
}

export function loopback({ defer, log }: Pick<PluginContext, "defer" | "log">): Loopback {
  async function listen(handle: RequestListener): Promise<string> {
    const server = http.createServer(handle).listen(0, "127.0.0.1");
    await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
    defer(() => {
      server.close();
      server.closeAllConnections();
    });
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  let nobody: Promise<Endpoint> | undefined;
  return {
    nobody: () => (nobody ??= listen((_, res) => res.writeHead(404).end()).then((host) => ({ scheme: "http", host, path: "/v2", tls: {} }))),
    async rewriting(mirror, rewrite) {
      // Nobody else on this machine is to ask the mirror with our certificate.
      const path = `/v2/${randomUUID()}`;
      const forward = await forwarder(mirror, rewrite);
      const host = await listen((req, res) => {
        if (!req.url!.startsWith(`${path}/`)) return void res.writeHead(404).end();
        forward(req, res, req.url!.slice(path.length + 1), (error) => log.warn(`mirror ${mirror.host} was not reached: ${messageOf(error)}`));
      });
      // The token that the mirror may want comes from itself, under the same authority.
      return { scheme: "http", host, path, tls: mirror.tls };
    },
  };
}

async function forwarder({ scheme, host, path, tls }: Endpoint, rewrite: Readonly<Record<string, string>>) {
  const { request } = scheme === "https" ? await import("node:https") : http;
  const secure = scheme === "https" ? tlsOptions(tls) : {};
  const rename = renamer(rewrite);
  return (req: IncomingMessage, res: ServerResponse, rest: string, onError: (error: Error) => void): void => {
    const { host: _, connection: __, ...headers } = req.headers;
    const away = request(new URL(`${scheme}://${host}${path}/${rename(rest)}`), { ...secure, method: req.method, headers }, (answer) => {
      res.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(res).on("error", () => answer.destroy());
      answer.on("error", () => res.destroy());
    });
    away.on("error", (error) => {
      onError(error);
      if (res.headersSent) res.destroy();
      else res.writeHead(502, { "content-type": "text/plain" }).end(messageOf(error));
    });
    res.on("close", () => away.destroy());
    req.pipe(away);
  };
}

const tlsOptions = ({ ca_file, cert_file, key_file, insecure_skip_verify }: RegistryTls) => ({
  ...(ca_file && { ca: readFileSync(ca_file) }),
  ...(cert_file && key_file && { cert: readFileSync(cert_file), key: readFileSync(key_file) }),
  ...(insecure_skip_verify && { rejectUnauthorized: false }),
});

/** Of `NAME/manifests/TAG?...` the name alone is rewritten. Replacements are Go's, with `${1}` beside `$1`. */
export function renamer(rewrite: Readonly<Record<string, string>>): (rest: string) => string {
  const rules = Object.entries(rewrite).map(([pattern, to]) => [new RegExp(pattern, "g"), to.replace(/\$\{(\d+)\}/g, "$$$1")] as const);
  return (rest) => {
    const [, name, tail] = /^([^?]+)(\/(?:manifests|blobs|tags|referrers)\/[^/?]+(?:\?.*)?)$/.exec(rest) ?? [];
    if (name === undefined || tail === undefined) return rest;
    const renamed = rules.map(([pattern, to]) => name.replace(pattern, to)).find((each) => each !== name);
    return `${renamed ?? name}${tail}`;
  };
}
