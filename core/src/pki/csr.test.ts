import { spawnSync } from "node:child_process";
import { X509Certificate, createPublicKey, generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRequest, requestedKey } from "./csr.ts";
import * as d from "./der.ts";
import { createPki } from "./pki.ts";
import { newKey, sansOf } from "./x509.ts";

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), "csr-"))));
afterAll(() => rmSync(dir, { recursive: true }));

const openssl = (args: readonly string[]) => spawnSync("openssl", args, { cwd: dir, encoding: "utf8" });
const without = openssl(["version"]).status === 0 ? undefined : "no openssl on this machine";
const spkiOf = (key: KeyObject): Buffer => key.export({ type: "spki", format: "der" });
const ecdsaSha256 = d.sequence(d.oid("1.2.840.10045.4.3.2"));

/** A request in which any part may be wrong. */
function requestOf({ privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject }, { version = 0, algorithm = ecdsaSha256, digest = "sha256" } = {}): string {
  const info = d.sequence(d.integer(Buffer.from([version])), d.sequence(), spkiOf(publicKey), d.der(0xa0));
  return d.pem("CERTIFICATE REQUEST", d.sequence(info, algorithm, d.bits(sign(digest, info, privateKey))));
}

describe("certification requests", () => {
  test.skipIf(without)(`OpenSSL verifies what is written${without ? ` (${without})` : ""}`, () => {
    writeFileSync(join(dir, "own.csr"), createRequest(newKey()));
    const { stdout, stderr } = openssl(["req", "-in", "own.csr", "-verify", "-noout", "-text"]);
    expect(stdout + stderr).toMatch(/verify OK/);
    expect(stdout).toMatch(/Version: 1 \(0x0\)[^]*ecdsa-with-SHA256/);
  });

  test.skipIf(without).each([
    ["P-256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]],
    ["P-384, SHA-384", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha384"]],
    ["RSA 2048", ["-newkey", "rsa:2048"]],
    ["RSA 3072, SHA-512, and names and extensions of its own", ["-newkey", "rsa:3072", "-sha512", "-addext", "subjectAltName=DNS:kubernetes"]],
  ])(`takes OpenSSL's request of %s${without ? ` (${without})` : ""}, and certifies its key under the names that are given`, async (_, args) => {
    openssl(["req", "-new", "-nodes", "-subj", "/O=system:masters/CN=root", "-keyout", "key.pem", "-out", "a.csr", ...args]);
    const pki = createPki(join(dir, "tls"));
    const chain = await pki.certify(readFileSync(join(dir, "a.csr"), "utf8"), { ca: "server-ca", commonName: "node2", usage: "server", sans: ["node2", "192.0.2.7"] });
    writeFileSync(join(dir, "leaf.pem"), chain);
    const leaf = new X509Certificate(chain);
    expect([leaf.subject, sansOf(leaf), chain.endsWith(pki.ca("server-ca").cert)]).toEqual(["CN=node2", ["node2", "192.0.2.7"], true]);
    expect(openssl(["x509", "-in", "leaf.pem", "-noout", "-pubkey"]).stdout).toBe(openssl(["pkey", "-in", "key.pem", "-pubout"]).stdout);
    expect(openssl(["verify", "-CAfile", pki.ca("server-ca").certPath, "-purpose", "sslserver", "leaf.pem"]).stdout).toMatch(/: OK/);
  });

  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const good = requestOf(p256);
  test.each<[string, string, RegExp]>([
    ["no PEM", "hello", /holds no CERTIFICATE REQUEST/],
    ["a certificate", d.pem("CERTIFICATE", Buffer.from("x")), /holds no CERTIFICATE REQUEST/],
    ["something that is no DER", d.pem("CERTIFICATE REQUEST", Buffer.from("hello, I am no DER at all")), /not in DER/],
    ["an empty request", d.pem("CERTIFICATE REQUEST", d.sequence()), /not in DER/],
    ["lengths beyond the end", d.pem("CERTIFICATE REQUEST", Buffer.from("308fffffffffffffff", "hex")), /not in DER/],
    ["more than it may hold", good + "x".repeat(17_000), /longer than 16384/],
    ["another version", requestOf(p256, { version: 1 }), /not of version 1/],
    ["a signature by another key", requestOf({ publicKey: p256.publicKey, privateKey: other.privateKey }), /signature is not by the key/],
    ["an RSA signature's name on an EC one", requestOf(p256, { algorithm: d.sequence(d.oid("1.2.840.113549.1.1.11"), d.der(0x05)) }), /signature is not by the key/],
    ["SHA-1", requestOf(p256, { algorithm: d.sequence(d.oid("1.2.840.10045.4.1")), digest: "sha1" }), /not signed with ECDSA or RSA over SHA-256/],
    ["RSA of 1024 bits", requestOf(generateKeyPairSync("rsa", { modulusLength: 1024 })), /its key is rsa 1024; use one of the named curves P-256/],
    ["a curve that TLS does not take here", requestOf(generateKeyPairSync("ec", { namedCurve: "secp256k1" })), /its key is ec secp256k1/],
    ["a curve that is spelt out", requestOf(generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" })), /its key is ec prime256v1; use one of the named curves/],
    ["a key of another kind", requestOf({ ...p256, publicKey: generateKeyPairSync("ed25519").publicKey }), /its key is ed25519; use/],
  ])("refuses %s", (_, pem, why) => {
    expect(() => requestedKey(pem)).toThrow(expect.objectContaining({ code: "K3SP_CERTIFICATE_INVALID", message: expect.stringMatching(why) }));
  });

  test("gives back the key of what was written, and of nothing that differs from it in a bit", () => {
    const key = newKey();
    const der = Buffer.from(createRequest(key).replace(/-----.*-----|\n/g, ""), "base64");
    expect(spkiOf(requestedKey(createRequest(key)))).toEqual(spkiOf(createPublicKey(key)));
    fc.assert(fc.property(fc.nat({ max: der.length * 8 - 1 }), (bit) => {
      const changed = Buffer.from(der);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => requestedKey(d.pem("CERTIFICATE REQUEST", changed))).toThrow(expect.objectContaining({ code: "K3SP_CERTIFICATE_INVALID" }));
    }), { numRuns: 300 });
  });

  test("refuses any bytes with a word, and never falls over them", () => {
    const nested = fc.letrec<{ value: Buffer }>((tie) => ({
      value: fc.oneof({ maxDepth: 4 }, fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)), fc.tuple(fc.constantFrom(0x30, 0x03, 0x02, 0xa0), fc.array(tie("value"), { maxLength: 4 })).map(([tag, inner]) => d.der(tag, ...inner))),
    })).value;
    fc.assert(fc.property(nested, (bytes) => {
      expect(() => requestedKey(d.pem("CERTIFICATE REQUEST", bytes))).toThrow(expect.objectContaining({ code: "K3SP_CERTIFICATE_INVALID" }));
    }), { numRuns: 300 });
  });
});
