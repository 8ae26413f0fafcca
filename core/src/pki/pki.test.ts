import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, connect } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createPki } from "./pki.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "pki-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const serving = { name: "serving-kube-apiserver", ca: "server-ca", commonName: "kube-apiserver", usage: "server", sans: ["kubernetes", "127.0.0.1", "::1"] } as const;

test("issues a chain that OpenSSL accepts, with K3s's names and private keys for the owner only", async () => {
  const pki = createPki(dir);
  const pair = await pki.issue(serving);
  const leaf = new X509Certificate(pair.cert);
  const ca = new X509Certificate(pki.ca("server-ca").cert);
  expect(leaf.verify(ca.publicKey) && leaf.checkIssued(ca)).toBe(true);
  expect(ca.subject).toMatch(/^CN=k3s-server-ca@\d+$/);
  expect(leaf.checkHost("kubernetes") && leaf.checkIP("127.0.0.1") && leaf.checkIP("::1")).toBeTruthy();
  expect(statSync(pair.keyPath).mode & 0o777).toBe(0o600);
});

test("a client certificate carries user and groups through a real TLS handshake", async () => {
  const pki = createPki(dir);
  const server = await pki.issue(serving);
  const client = await pki.issue({ name: "client-admin", ca: "client-ca", commonName: "system:admin", organizations: ["system:masters"], usage: "client" });
  const subject = Promise.withResolvers<object>();
  const listener = createServer({ ...server, ca: pki.ca("client-ca").cert, requestCert: true, rejectUnauthorized: true }, (socket) => subject.resolve({ ...socket.getPeerCertificate().subject }));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as { port: number };
  const socket = connect({ port, host: "127.0.0.1", ca: pki.ca("server-ca").cert, cert: client.cert, key: client.key });
  expect(await subject.promise).toEqual({ O: "system:masters", CN: "system:admin" });
  socket.destroy();
  listener.close();
});

test("keeps what is good, and renews a leaf whose names grew or that is near its end", async () => {
  let now = new Date();
  const first = await createPki(dir, () => now).issue(serving);
  expect((await createPki(dir, () => now).issue(serving)).cert).toBe(first.cert);
  const wider = await createPki(dir, () => now).issue({ ...serving, sans: [...serving.sans, "10.0.0.9"] });
  expect(wider.cert).not.toBe(first.cert);
  expect(wider.key).toBe(first.key);
  now = new Date(now.getTime() + 250 * 86_400_000);
  expect((await createPki(dir, () => now).issue({ ...serving, sans: [...serving.sans, "10.0.0.9"] })).cert).not.toBe(wider.cert);
});

test("the service account key is made once", async () => {
  const { privateKey, publicKey, path } = await createPki(dir).serviceAccountKey();
  expect(readFileSync(path, "utf8")).toBe(privateKey);
  expect((await createPki(dir).serviceAccountKey()).publicKey).toBe(publicKey);
});
