import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { CaName } from "@k3s-p/plugin-api/slots";
import { certificatesOf } from "@k3s-p/plugin-api";
import { readArgs } from "./args.ts";
import { type Authorities, openTrust, type Trust } from "./trust.ts";

let source: string;
let folder: string;
let warnings: string[];
const seen: Authorities[] = [];
let stop: (() => void) | undefined;

beforeAll(() => {
  source = mkdtempSync(join(tmpdir(), "k3sp-cas-"));
  for (const name of ["client", "proxies", "next", "extra", "last"]) {
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`, "-keyout", "/dev/null", "-out", `${name}.crt`], { cwd: source, stdio: "pipe" });
  }
});
afterAll(() => rmSync(source, { recursive: true }));
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k3sp-trust-"));
  put("client", "client-ca.crt");
  put("proxies", "request-header-ca.crt");
  warnings = [];
  seen.length = 0;
});
afterEach(() => {
  stop?.();
  rmSync(folder, { recursive: true });
});

const put = (name: string, as: string): void => copyFileSync(join(source, `${name}.crt`), join(folder, as));
const open = (...args: string[]): Trust => {
  const own = new Map((["client-ca", "request-header-ca"] as const).map((name) => [name as CaName, readFileSync(join(folder, `${name}.crt`), "utf8")]));
  const trust = openTrust({
    pki: { ca: (name) => ({ cert: own.get(name)!, certPath: join(folder, `${name}.crt`) }) }, args: readArgs(args), warn: (message) => void warnings.push(message),
  });
  stop = trust.follow((authorities) => void seen.push(authorities));
  return trust;
};
const names = ({ client, requestHeader }: Authorities): string[] => [client, requestHeader].map((pem) => certificatesOf(pem).map(({ subject }) => subject.slice(3)).join());

test("trusts a CA that takes the place of the cluster's while the server runs, and the one before it until the next start", async () => {
  const trust = open();
  expect(names(trust.current())).toEqual(["client", "proxies"]);
  put("next", "client-ca.crt");
  await expect.poll(() => seen.map(names), { timeout: 4000 }).toEqual([["client,next", "proxies"]]);
  expect(names(trust.current())).toEqual(["client,next", "proxies"]);
  stop?.();
  expect(names(open().current())).toEqual(["next", "proxies"]);
});

test("follows files of its own, which a new one replaces, and forgets what they no longer hold", async () => {
  put("extra", "extra.crt");
  const trust = open(`client-ca-file=${join(folder, "extra.crt")}`, `requestheader-client-ca-file=${join(folder, "extra.crt")}`);
  expect(names(trust.current())).toEqual(["client,extra", "proxies,extra"]);
  put("last", "new.crt");
  renameSync(join(folder, "new.crt"), join(folder, "extra.crt"));
  await expect.poll(() => seen.map(names), { timeout: 4000 }).toEqual([["client,last", "proxies,last"]]);
});

test("keeps what it has when a file is no good, and says so", async () => {
  put("extra", "extra.crt");
  const path = join(folder, "extra.crt");
  const trust = open(`client-ca-file=${path}`);
  for (const [text, why] of [["", "it holds no certificate"], ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""]] as const) {
    warnings.length = 0;
    writeFileSync(path, text);
    await expect.poll(() => warnings, { timeout: 4000 }).toEqual([expect.stringMatching(new RegExp(`extra\\.crt: .*${why}.*; the authorities of before stay trusted$`))]);
  }
  expect([names(trust.current()), seen]).toEqual([["client,extra", "proxies"], []]);
  put("last", "extra.crt");
  await expect.poll(() => seen.map(names), { timeout: 4000 }).toEqual([["client,last", "proxies"]]);
});

test("a file of the options that is no good ends the start", () => {
  expect(() => open(`client-ca-file=${join(folder, "none.crt")}`)).toThrow(/^kube-apiserver-arg client-ca-file: ENOENT/);
});
