/** What the attackers of these tests have: a socket, certificates of authorities of their own, and forged tokens. */
import { createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { dirname, join } from "node:path";
import { connect } from "node:tls";
import { issueCertificate, keyPem, newKey } from "../../core/src/pki/x509.ts";
import { createTestCluster, type TestCluster } from "../kit/index.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly text: string;
  /** The body, if it is JSON. */
  readonly body: any;
}

export interface Identity {
  readonly cert?: string;
  readonly key?: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
}

export interface Victim extends AsyncDisposable {
  readonly cluster: TestCluster;
  /** Folder of the server's certificates and keys. */
  readonly tls: string;
  send(identity: Identity, method: string, path: string, body?: object | string): Promise<Answer>;
  /** Bytes as they are, over TLS; resolves with all that comes back until the server or `ms` ends it. */
  raw(text: string, identity?: Identity, ms?: number): Promise<string>;
  /** A certificate of the cluster's own authority, as its administrator might give out. */
  certificate(ca: "client-ca" | "server-ca" | "request-header-ca", commonName: string, organizations?: readonly string[], more?: Partial<Parameters<typeof issueCertificate>[0]>): Identity;
}

export async function startVictim(options: Parameters<typeof createTestCluster>[0] = {}): Promise<Victim> {
  const cluster = await createTestCluster(options);
  const { port } = new URL(cluster.url);
  const tls = findTls(cluster);
  const authority = (name: string) => ({ cert: readFileSync(join(tls, `${name}.crt`), "utf8"), key: readFileSync(join(tls, `${name}.key`), "utf8") });
  const trust = { host: "127.0.0.1", port: Number(port), ca: authority("server-ca").cert };
  return {
    cluster, tls,
    send: ({ cert, key, token, headers }, method, path, body) => new Promise((resolve, reject) => {
      const json = typeof body === "object" ? { "content-type": "application/json" } : {};
      const bearer = token === undefined ? {} : { authorization: `Bearer ${token}` };
      request({ ...trust, method, path, agent: false, ...(cert && { cert }), ...(key && { key }), headers: { ...json, ...bearer, ...headers } as never }, async (res) => {
        let text = "";
        for await (const chunk of res.setEncoding("utf8")) text += chunk;
        const isJson = String(res.headers["content-type"]).startsWith("application/json");
        resolve({ status: res.statusCode!, headers: res.headers, text, body: isJson && text ? JSON.parse(text) : undefined });
      }).on("error", reject).end(typeof body === "object" ? JSON.stringify(body) : body);
    }),
    raw: (text, { cert, key } = {}, ms = 1500) => new Promise((resolve, reject) => {
      let answer = "";
      const socket = connect({ ...trust, ALPNProtocols: ["http/1.1"], ...(cert && { cert }), ...(key && { key }) }, () => socket.write(text, "latin1"));
      const end = (): void => void (clearTimeout(timer), socket.destroy(), resolve(answer));
      const timer = setTimeout(end, ms);
      socket.on("data", (chunk) => (answer += chunk.toString("latin1"))).on("end", end).on("close", end);
      socket.on("error", (error) => (answer ? end() : reject(error)));
    }),
    certificate: (ca, commonName, organizations = [], more = {}) => certificateOf(authority(ca), commonName, organizations, more),
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

const findTls = ({ kubeconfigPath }: TestCluster): string => join(dirname(kubeconfigPath), "server/tls");

export function certificateOf(issuer: { cert: string; key: string } | undefined, commonName: string, organizations: readonly string[] = [], more: Partial<Parameters<typeof issueCertificate>[0]> = {}): Identity {
  const key = newKey();
  return { cert: issueCertificate({ commonName, organizations, usage: "client", days: 1, now: new Date(), key, ...(issuer && { issuer }), ...more }), key: keyPem(key) };
}

/** Somebody else's certificate authority; it may bear the name of the cluster's. */
export function foreignAuthority(commonName: string): { cert: string; key: string } {
  const key = newKey();
  return { cert: issueCertificate({ commonName, usage: "ca", days: 1, now: new Date(), key }), key: keyPem(key) };
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

export type Signer = (payload: string) => Buffer;

export const es256 = (privateKey: string): Signer => (payload) =>
  sign("sha256", Buffer.from(payload), { key: createPrivateKey(privateKey), dsaEncoding: "ieee-p1363" });

export function jwt(header: object, claims: object, signer: Signer): string {
  const payload = `${part(header)}.${part(claims)}`;
  return `${payload}.${signer(payload).toString("base64url")}`;
}

/** Claims that the server accepts when its own key signs them. */
export function goodClaims(account: { readonly name: string; readonly namespace: string; readonly uid: string }, more: object = {}): Record<string, unknown> {
  const now = Math.floor(Date.now() / 1000);
  return {
    iss: "https://kubernetes.default.svc.cluster.local", aud: ["https://kubernetes.default.svc.cluster.local"], iat: now, nbf: now, exp: now + 600,
    jti: randomUUID(), sub: `system:serviceaccount:${account.namespace}:${account.name}`,
    "kubernetes.io": { namespace: account.namespace, serviceaccount: { name: account.name, uid: account.uid } }, ...more,
  };
}

export const publicPem = (privateKey: string): string => String(createPublicKey(privateKey).export({ type: "spki", format: "pem" }));
