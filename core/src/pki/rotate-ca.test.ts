import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createPki } from "./pki.ts";
import { applyRotation, checkRotation } from "./rotate-ca.ts";
import { issueCertificate, keyPem, newKey } from "./x509.ts";

let dir: string;
let tls: string;
let staged: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "ca-"));
  [tls, staged] = [join(dir, "tls"), join(dir, "staged")];
  mkdirSync(staged);
  const pki = createPki(tls);
  pki.ca("server-ca");
  await pki.serviceAccountKey();
});
afterEach(() => rmSync(dir, { recursive: true }));

const put = (name: string, text: string): void => writeFileSync(join(staged, name), text, { mode: 0o600 });
const old = () => ({ cert: readFileSync(join(tls, "server-ca.crt"), "utf8"), key: readFileSync(join(tls, "server-ca.key"), "utf8") });
const check = (force = false) => checkRotation({ staged, tls, force });
const problemOf = (force = false): string => {
  try {
    check(force);
    return "";
  } catch (error) {
    return [(error as Error).message, ...(error as { detail: string[] }).detail].join("\n");
  }
};

function stageCa(issuer?: { cert: string; key: string }): void {
  const key = newKey();
  const cert = issueCertificate({ commonName: "new", usage: "ca", days: 10, now: new Date(), key, ...(issuer && { issuer }) });
  put("server-ca.crt", cert + (issuer?.cert ?? ""));
  put("server-ca.key", keyPem(key));
}

test("a CA that the old one has issued is put in place, and leaves are issued anew", async () => {
  const request = { name: "a", ca: "server-ca", commonName: "a", usage: "server" } as const;
  const before = await createPki(tls).issue(request);
  stageCa(old());
  const oldCert = old().cert;
  expect(check()).toEqual(["server-ca.key", "server-ca.crt"]);
  const reader = openSync(join(tls, "server-ca.crt"), "r");
  await applyRotation({ staged, tls, force: false }, check());
  expect(readFileSync(reader, "utf8"), "whoever reads the old file goes on reading the old one").toBe(oldCert);
  closeSync(reader);
  expect(statSync(join(tls, "server-ca.key")).mode & 0o777).toBe(0o600);
  const after = await createPki(tls).issue(request);
  expect(after.cert).not.toBe(before.cert);
  expect(after.cert.endsWith(readFileSync(join(staged, "server-ca.crt"), "utf8"))).toBe(true);
});

test("a new root needs --force", () => {
  stageCa();
  expect(problemOf()).toMatch(/server-ca\.crt does not lead to the CA that the cluster trusts now \(CN=k3s-server-ca@\d+\)$/);
  expect(check(true)).toEqual(["server-ca.key", "server-ca.crt"]);
});

test("the key that signs tokens changes only when the old one follows it", () => {
  put("service.key", keyPem(newKey()));
  expect(problemOf()).toMatch(/service\.key lacks a key that the cluster's tokens are signed with/);
  put("service.key", keyPem(newKey()) + readFileSync(join(tls, "service.key"), "utf8"));
  expect(check()).toEqual(["service.key"]);
});

test.each<[string, () => void, RegExp]>([
  ["nothing", () => {}, /holds none of server-ca\.crt/],
  ["a certificate without a key", () => put("client-ca.crt", old().cert), /client-ca\.key is missing/],
  ["a key without a certificate", () => put("client-ca.key", old().key), /client-ca\.crt is missing/],
  ["a key of another certificate", () => (put("server-ca.crt", old().cert), put("server-ca.key", keyPem(newKey()))), /does not belong to the key beside it/],
  ["a leaf", () => {
    const key = newKey();
    put("server-ca.crt", issueCertificate({ commonName: "x", usage: "server", days: 1, now: new Date(), key, issuer: old() }));
    put("server-ca.key", keyPem(key));
  }, /its first certificate is not one of a CA/],
  ["a chain with a gap", () => {
    stageCa();
    put("server-ca.crt", readFileSync(join(staged, "server-ca.crt"), "utf8") + old().cert);
  }, /certificate 2 has issued none of those before it/],
])("refuses %s, also with --force", (_, stage, problem) => {
  stage();
  expect(problemOf(true)).toMatch(problem);
});

test("refuses a folder that is none", () => {
  expect(() => checkRotation({ staged: join(dir, "nowhere"), tls, force: true })).toThrow(/nowhere is no folder/);
});
