import { X509Certificate, createPrivateKey, generateKeyPairSync } from "node:crypto";
import fs, { chmodSync, mkdtempSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { createServer, connect } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { isIssuedBy } from "./leaves.ts";
import { createPki } from "./pki.ts";
import { issueCertificate, keyPem, newKey } from "./x509.ts";

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
  const first = await createPki(dir, { now: () => now }).issue(serving);
  expect((await createPki(dir, { now: () => now }).issue(serving)).cert).toBe(first.cert);
  const wider = await createPki(dir, { now: () => now }).issue({ ...serving, sans: [...serving.sans, "10.0.0.9"] });
  expect(wider.cert).not.toBe(first.cert);
  expect(wider.key).toBe(first.key);
  now = new Date(now.getTime() + 250 * 86_400_000);
  expect((await createPki(dir, { now: () => now }).issue({ ...serving, sans: [...serving.sans, "10.0.0.9"] })).cert).not.toBe(wider.cert);
});

test("the service account key is made once", async () => {
  const { privateKey, publicKey, path } = await createPki(dir).serviceAccountKey();
  expect(readFileSync(path, "utf8")).toBe(privateKey);
  expect((await createPki(dir).serviceAccountKey()).publicKey).toBe(publicKey);
});

test("renews while it runs, for as long as somebody follows", async () => {
  vi.useFakeTimers();
  try {
    const pki = createPki(dir);
    const follow = new AbortController();
    const renewed: string[] = [];
    const first = await pki.issue(serving, { onRenewed: ({ cert }) => renewed.push(cert), signal: follow.signal });
    await vi.advanceTimersByTimeAsync(244 * 86_400_000);
    expect(renewed).toEqual([]);
    await vi.advanceTimersByTimeAsync(2 * 86_400_000);
    expect(renewed).toHaveLength(1);
    expect(renewed[0]).not.toBe(first.cert);
    expect(readFileSync(first.certPath, "utf8")).toBe(renewed[0]);
    follow.abort();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test("a renewal that fails is told and tried again", async () => {
  vi.useFakeTimers();
  try {
    const warnings: string[] = [];
    const pki = createPki(dir, { warn: (message) => warnings.push(message) });
    const renewed: string[] = [];
    const { keyPath } = await pki.issue(serving, { onRenewed: ({ cert }) => renewed.push(cert), signal: new AbortController().signal });
    chmodSync(keyPath, 0o644);
    await vi.advanceTimersByTimeAsync(12 * 3_600_000);
    expect(warnings).toEqual([`the certificate serving-kube-apiserver was not renewed: the private key ${keyPath} can be used by others (mode 0644)`]);
    chmodSync(keyPath, 0o600);
    await vi.advanceTimersByTimeAsync(250 * 86_400_000);
    expect([warnings.length, renewed.length]).toEqual([1, 1]);
  } finally {
    vi.useRealTimers();
  }
});

test.each<[string, (path: string) => void, RegExp]>([
  ["others can read", (path) => chmodSync(path, 0o644), /server-ca\.key can be used by others \(mode 0644\)/],
  ["the group can read", (path) => chmodSync(path, 0o640), /server-ca\.key can be used by others \(mode 0640\)/],
  ["is a link", (path) => {
    renameSync(path, `${path}.real`);
    symlinkSync(`${path}.real`, path);
  }, /server-ca\.key is a symbolic link/],
])("refuses a CA key that %s", async (_, spoil, message) => {
  createPki(dir).ca("server-ca");
  spoil(join(dir, "server-ca.key"));
  expect(() => createPki(dir).ca("server-ca")).toThrow(expect.objectContaining({ code: "K3SP_KEY_UNSAFE", message: expect.stringMatching(message) }));
  await expect(createPki(dir).issue(serving)).rejects.toThrow(message);
});

test("a CA certificate beside another CA's key is refused", () => {
  createPki(dir).ca("server-ca");
  writeFileSync(join(dir, "server-ca.key"), keyPem(newKey()), { mode: 0o600 });
  expect(() => createPki(dir).ca("server-ca")).toThrow(/server-ca\.crt does not belong to the key beside it/);
});

test.each(["", "\0\0\0\0"])("what a power cut may have left as %j: a leaf is made again, a CA is named", async (left) => {
  const { certPath, keyPath } = await createPki(dir).issue(serving);
  for (const [path, mode] of [[certPath, 0o644], [keyPath, 0o600]] as const) writeFileSync(path, left, { mode });
  const { cert, key } = await createPki(dir).issue(serving);
  expect(new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))).toBe(true);
  writeFileSync(join(dir, "server-ca.key"), left);
  expect(() => createPki(dir).ca("server-ca")).toThrow(/server-ca\.key holds no private key/);
  writeFileSync(join(dir, "server-ca.crt"), left);
  expect(() => createPki(dir).ca("server-ca")).toThrow(/server-ca\.crt holds no certificate/);
});

test("what cannot be made again is on the disk before anything is issued with it; leaves need not be", async () => {
  const onDisk: string[] = [];
  const sync = vi.spyOn(fs, "fsyncSync").mockImplementation((file) => void onDisk.push(readlinkSync(`/proc/self/fd/${file}`).slice(dir.length).replace(".tmp", "")));
  syncBuiltinESMExports();
  try {
    const pki = createPki(dir);
    await pki.issue(serving);
    await pki.serviceAccountKey();
  } finally {
    sync.mockRestore();
    syncBuiltinESMExports();
  }
  expect(onDisk).toEqual(["/server-ca.key", "", "/server-ca.crt", "", "/service.key", ""]);
});

test("a leaf is issued anew when its CA was replaced by one of the same name", async () => {
  const first = await createPki(dir).issue(serving);
  const old = new X509Certificate(readFileSync(join(dir, "server-ca.crt")));
  const key = newKey();
  const commonName = old.subject.slice("CN=".length);
  writeFileSync(join(dir, "server-ca.crt"), issueCertificate({ commonName, usage: "ca", days: 10, now: new Date(), key }));
  writeFileSync(join(dir, "server-ca.key"), keyPem(key), { mode: 0o600 });
  const next = await createPki(dir).issue(serving);
  expect(next.cert).not.toBe(first.cert);
  expect(isIssuedBy(new X509Certificate(next.cert), old)).toBe(false);
});

test.each(["rsa", "ed25519"] as const)("leaves of a CA from elsewhere, with an intermediate and an %s key, verify up to its root", async (type) => {
  const rootKey = newKey();
  const root = issueCertificate({ commonName: "Our Root, really", organizations: ["Example"], usage: "ca", days: 100, now: new Date(), key: rootKey });
  const { privateKey } = type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ed25519");
  const middle = issueCertificate({ commonName: "Middle", organizations: ["Example"], usage: "ca", days: 50, now: new Date(), key: privateKey, issuer: { cert: root, key: keyPem(rootKey) } });
  const pki = createPki(dir);
  pki.ca("client-ca");
  writeFileSync(join(dir, "server-ca.crt"), middle + root);
  writeFileSync(join(dir, "server-ca.key"), privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  const pair = await pki.issue(serving);
  const listener = createServer(pair, (socket) => socket.end("hello"));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as { port: number };
  const socket = connect({ port, host: "127.0.0.1", ca: root });
  const text = await new Promise((resolve, reject) => socket.on("data", resolve).on("error", reject));
  expect(String(text)).toBe("hello");
  listener.close();
});

test("no CA is made while the clock is plainly wrong: it would have expired when somebody sets it", () => {
  expect(() => createPki(dir, { now: () => new Date("1970-01-01T00:10:00Z") }).ca("server-ca")).toThrow(expect.objectContaining({
    code: "K3SP_CERTIFICATE_INVALID", message: "no CA can be made at 1970-01-01T00:10:00Z", fix: "set the clock of this machine first",
  }));
  expect(fs.readdirSync(dir)).toEqual([]);
});

test.each([
  ["before", "2026-06-01T00:00:00Z", /^\S+\/server-ca\.crt is valid from 2027-02-28T23:59:00Z on, and the clock of this machine says 2026-06-01T00:00:00Z$/, "set the clock, then start again"],
  ["after", "2040-01-01T00:00:00Z", /^\S+\/server-ca\.crt expired at 2037-02-26T00:00:00Z, and the clock of this machine says 2040-01-01T00:00:00Z$/, "set the clock if it is wrong; else put new CAs in place with k3s-p certificate rotate-ca --force"],
])("a clock %s the time of the CA is named, with what to do", (_, time, message, fix) => {
  createPki(dir, { now: () => new Date("2027-03-01T00:00:00Z") }).ca("server-ca");
  expect(() => createPki(dir, { now: () => new Date(time) }).ca("server-ca")).toThrow(expect.objectContaining({ code: "K3SP_CERTIFICATE_INVALID", message: expect.stringMatching(message), fix }));
});
