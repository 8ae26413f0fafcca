/**
 * A small registry for tests: `node registry.ts OPTIONS`, with the options as JSON. It serves one busybox image under every
 * name, over TLS of an authority of its own, on one port for each way of asking for credentials. A line is printed for each request.
 */
import { createHash, randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { issueCertificate, keyPem, newKey } from "../../core/src/pki/x509.ts";
import { tar } from "./images.ts";

export interface RegistryOptions {
  readonly ip: string;
  /** Where `ca.crt` is written, and `client.crt` and `client.key` for ports that want a certificate. */
  readonly dir: string;
  /** Port to how it lets clients in: everybody, by name and password, with a token that its `/token` gives for them, or by certificate. */
  readonly ports: Readonly<Record<string, "open" | "basic" | "token" | "certificate">>;
  readonly username: string;
  readonly password: string;
}

interface Blob {
  readonly type: string;
  readonly digest: string;
  readonly data: Buffer;
}

const blob = (type: string, data: Buffer): Blob => ({ type, digest: `sha256:${sha256(data)}`, data });
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));

function busybox(): { readonly manifest: Blob; readonly blobs: readonly Blob[] } {
  const applets = ["sh", "sleep", "echo"];
  const files = tar([
    { path: "bin/" }, { path: "bin/busybox", data: readFileSync("/bin/busybox"), mode: 0o755 },
    ...applets.map((applet) => ({ path: `bin/${applet}`, link: "busybox" })),
  ]);
  const layer = blob("application/vnd.oci.image.layer.v1.tar+gzip", gzipSync(files));
  const config = blob("application/vnd.oci.image.config.v1+json", json({
    architecture: process.arch === "arm64" ? "arm64" : "amd64", os: "linux", config: { Env: ["PATH=/bin"], Cmd: ["sleep", "100000"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${sha256(files)}`] },
  }));
  const of = ({ type, digest, data }: Blob) => ({ mediaType: type, digest, size: data.length });
  const type = "application/vnd.oci.image.manifest.v1+json";
  return { manifest: blob(type, json({ schemaVersion: 2, mediaType: type, config: of(config), layers: [of(layer)] })), blobs: [config, layer] };
}

function serve({ ip, dir, ports, username, password }: RegistryOptions): void {
  const { manifest, blobs } = busybox();
  const [caKey, key, now, days] = [newKey(), newKey(), new Date(), 1];
  const issuer = { cert: issueCertificate({ commonName: "registry-ca", usage: "ca", days, now, key: caKey }), key: keyPem(caKey) };
  const tls = { key: keyPem(key), cert: issueCertificate({ commonName: "registry", usage: "server", sans: [ip], days, now, key, issuer }), ca: issuer.cert };
  writeFileSync(join(dir, "ca.crt"), issuer.cert);
  writeFileSync(join(dir, "client.crt"), issueCertificate({ commonName: "node", usage: "client", days, now, key, issuer }));
  writeFileSync(join(dir, "client.key"), keyPem(key));
  const basic = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  const token = randomUUID();

  function answer(req: IncomingMessage, port: string): readonly [status: number, headers: Record<string, string>, body: Buffer] {
    const { pathname } = new URL(req.url!, `https://${ip}`);
    const refused = (headers: Record<string, string> = {}) => [401, headers, json({ errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] })] as const;
    const { authorization } = req.headers;
    if (pathname === "/token") return req.method === "GET" ? (authorization === basic ? [200, {}, json({ token })] : refused()) : [404, {}, json({})];
    const way = ports[port]!;
    if (way === "basic" && authorization !== basic) return refused({ "www-authenticate": 'Basic realm="registry"' });
    if (way === "token" && authorization !== `Bearer ${token}`) return refused({ "www-authenticate": `Bearer realm="https://${ip}:${port}/token",service="registry"` });
    const [, name = "", kind, reference = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
    const found = kind === "manifests" ? (name.endsWith("missing") ? undefined : manifest) : blobs.find(({ digest }) => digest === reference);
    if (!found) return [404, {}, json({ errors: [{ code: "NAME_UNKNOWN", message: "repository name not known to registry" }] })];
    return [200, { "content-type": found.type, "docker-content-digest": found.digest }, found.data];
  }

  const handle = (port: string) => (req: IncomingMessage, res: ServerResponse): void => {
    const [status, headers, body] = answer(req, port);
    process.stdout.write(`${port} ${req.method} ${req.url} ${status}\n`);
    res.writeHead(status, { ...headers, "content-length": body.length }).end(req.method === "HEAD" ? undefined : body);
  };
  let waiting = Object.keys(ports).length;
  for (const [port, way] of Object.entries(ports)) {
    createServer({ ...tls, requestCert: way === "certificate" }, handle(port)).listen(Number(port), ip, () => { if (--waiting === 0) process.stdout.write("ready\n"); });
  }
}

if (import.meta.main) serve(JSON.parse(process.argv[2]!) as RegistryOptions);
