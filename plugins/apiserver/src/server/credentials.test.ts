import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { caHash } from "@k3s-p/plugin-api";
import type { KeyPair, Renewal } from "@k3s-p/plugin-api/slots";
import { testCertificate } from "../subresources/testing.ts";
import { keepingFresh, writeTokens } from "./credentials.ts";

let dir: string;
let path: string;
beforeEach(() => (path = join((dir = mkdtempSync(join(tmpdir(), "tokens-"))), "server", "token")));
afterEach(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => join(dir, "server", name);
const prefix = `K10${caHash(testCertificate)}::`;

test("makes a full token once, for root alone, with K3s's links to it", async () => {
  await writeTokens(path, testCertificate, {});
  const text = readFileSync(path, "utf8");
  expect(text).toMatch(new RegExp(`^${prefix}server:[0-9a-f]{32}\n$`));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect([readlinkSync(at("node-token")), readlinkSync(at("agent-token"))]).toEqual([path, path]);
  await writeTokens(path, testCertificate, {});
  expect(readFileSync(path, "utf8")).toBe(text);
});

test("takes a given password, short or full, and agents' own", async () => {
  await writeTokens(path, testCertificate, { server: "K10" + "0".repeat(64) + "::server:secret", agent: "forAgents" });
  expect(readFileSync(path, "utf8")).toBe(`${prefix}server:secret\n`);
  expect(lstatSync(at("agent-token")).isFile()).toBe(true);
  expect(readFileSync(at("agent-token"), "utf8")).toBe(`${prefix}node:forAgents\n`);
  expect(readFileSync(at("node-token"), "utf8")).toBe(`${prefix}server:secret\n`);
  await writeTokens(path, testCertificate, {});
  expect(readlinkSync(at("agent-token"))).toBe(path);
});

test("repairs a token file that others can read", async () => {
  await writeTokens(path, testCertificate, {});
  const text = readFileSync(path, "utf8");
  rmSync(path);
  writeFileSync(path, text, { mode: 0o644 });
  await writeTokens(path, testCertificate, {});
  expect([statSync(path).mode & 0o777, readFileSync(path, "utf8")]).toEqual([0o600, text]);
});

test("a certificate that is asked for at every use is issued once, and is the renewed one after a renewal", async () => {
  const issued: Renewal[] = [];
  const pair = (cert: string): KeyPair => ({ cert, key: "", certPath: "", keyPath: "" });
  const pki = keepingFresh({
    ca: () => ({ cert: "", certPath: "" }), serviceAccountKey: () => Promise.reject(new Error("unused")), certify: () => Promise.reject(new Error("unused")),
    issue: async (_, renewal) => (issued.push(renewal!), pair("first")),
  }, new AbortController().signal);
  const request = { name: "a", ca: "client-ca", commonName: "a", usage: "client" } as const;
  expect([(await pki.issue(request)).cert, (await pki.issue(request)).cert, issued.length]).toEqual(["first", "first", 1]);
  issued[0]!.onRenewed(pair("second"));
  expect((await pki.issue(request)).cert).toBe("second");
});
