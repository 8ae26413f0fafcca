import { createPrivateKey, generateKeyPairSync, webcrypto, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
// oxlint-disable-next-line import/no-unassigned-import -- the certificate library asks for this polyfill
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { certificateSigningRequests } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { startApprover, startCleaner, startSigner } from "./csr.ts";

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
let h: Harness;
let dir: string;
beforeEach(async () => {
  h = createHarness("2026-01-01T00:00:00Z");
  dir = mkdtempSync(join(tmpdir(), "csr-"));
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const key = await webcrypto.subtle.importKey(
    "pkcs8",
    createPrivateKey(pem).export({ type: "pkcs8", format: "der" }),
    ecdsa,
    true,
    ["sign"],
  );
  const { publicKey } = await keyPair(pem);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: "CN=test-ca",
    notBefore: new Date("2025-01-01"),
    notAfter: new Date("2035-01-01"),
    signingAlgorithm: ecdsa,
    keys: { privateKey: key, publicKey } as any,
    extensions: [new x509.BasicConstraintsExtension(true, undefined, true)],
  });
  for (const name of ["client-ca", "server-ca"]) {
    writeFileSync(join(dir, `${name}.crt`), ca.toString("pem"));
    writeFileSync(join(dir, `${name}.key`), pem);
  }
  Object.assign(h.deps.pki, { ca: (name: string) => ({ cert: ca.toString("pem"), certPath: join(dir, `${name}.crt`) }) });
});
afterEach(async () => {
  await h.stop();
  rmSync(dir, { recursive: true });
});

async function keyPair(pem: string) {
  const { createPublicKey } = await import("node:crypto");
  const der = createPublicKey(pem).export({ type: "spki", format: "der" });
  return { publicKey: await webcrypto.subtle.importKey("spki", der, ecdsa, true, ["verify"]) };
}

async function request(subject: string, names: { type: "dns" | "ip"; value: string }[] = []): Promise<string> {
  const keys = await webcrypto.subtle.generateKey(ecdsa, true, ["sign", "verify"]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys: keys as any,
    signingAlgorithm: ecdsa,
    extensions: names.length ? [new x509.SubjectAlternativeNameExtension(names)] : [],
  });
  return Buffer.from(csr.toString("pem")).toString("base64");
}

const seed = async (
  spec: object,
  status: object = {},
  subject = "CN=system:node:n1,O=system:nodes",
  names: { type: "dns" | "ip"; value: string }[] = [],
) =>
  h.client.put(certificateSigningRequests, {
    metadata: { name: "r" },
    spec: { request: await request(subject, names), ...spec },
    status,
  });
const csr = () => h.client.all(certificateSigningRequests)[0];
const approved = { conditions: [{ type: "Approved", status: "True", lastUpdateTime: "2026-01-01T00:00:00Z" }] };
const lifetime = ({ validFrom, validTo }: X509Certificate): number => (Date.parse(validTo) - Date.parse(validFrom)) / 1000;
const settle = () => expect.poll(async () => {
  await h.advance(1);
  return Boolean(csr()?.status?.certificate || csr()?.status?.conditions?.length);
}, { timeout: 5000 }).toBe(true);

describe("signing", () => {
  it("signs an approved kubelet client request for a year", async () => {
    await seed(
      { signerName: "kubernetes.io/kube-apiserver-client-kubelet", usages: ["digital signature", "client auth"] },
      approved,
    );
    await h.start(startSigner);
    await expect.poll(async () => (await h.advance(1), csr().status.certificate)).toBeDefined();
    const certificate = new X509Certificate(Buffer.from(csr().status.certificate, "base64"));
    expect(certificate.subject).toContain("CN=system:node:n1");
    expect(certificate.issuer).toContain("CN=test-ca");
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(lifetime(certificate)).toBe(365 * 24 * 3600);
  });

  it("keeps the names of a serving request and its shorter lifetime", async () => {
    await seed(
      {
        signerName: "kubernetes.io/kubelet-serving",
        usages: ["digital signature", "server auth"],
        expirationSeconds: 3600,
      },
      approved,
      undefined,
      [
        { type: "dns", value: "n1" },
        { type: "ip", value: "10.0.0.1" },
      ],
    );
    await h.start(startSigner);
    await expect.poll(async () => (await h.advance(1), csr().status.certificate)).toBeDefined();
    const certificate = new X509Certificate(Buffer.from(csr().status.certificate, "base64"));
    expect(certificate.subjectAltName).toBe("DNS:n1, IP Address:10.0.0.1");
    expect(lifetime(certificate)).toBe(3600 + 300);
  });

  it.each([
    [
      "an organization that is not the nodes'",
      "kubernetes.io/kubelet-serving",
      "CN=system:node:n1,O=others",
      ["server auth"],
    ],
    ["a usage that the signer does not give", "kubernetes.io/kube-apiserver-client", "CN=me", ["server auth"]],
  ])("marks %s as failed", async (_, signerName, subject, usages) => {
    await seed({ signerName, usages }, approved, subject);
    await h.start(startSigner);
    await expect
      .poll(async () => (await h.advance(1), csr().status.conditions.at(-1)))
      .toMatchObject({ type: "Failed", reason: "SignerValidationFailure" });
  });

  it("signs nothing that is not approved or belongs to another signer", async () => {
    await seed({ signerName: "example.com/mine", usages: ["client auth"] }, approved);
    await h.start(startSigner);
    await h.advance(1);
    expect(h.client.writes).toEqual([]);
  });
});

describe("approving", () => {
  const review = (allowed: string[]) => (_: string, path: string, body?: any) =>
    path.endsWith("subjectaccessreviews")
      ? { status: 201, body: { status: { allowed: allowed.includes(body.spec.resourceAttributes.subresource) } } }
      : undefined;

  it("approves a node's own renewal", async () => {
    h.client.onRequest = review(["selfnodeclient"]);
    await seed({
      signerName: "kubernetes.io/kube-apiserver-client-kubelet",
      usages: ["digital signature", "client auth"],
      username: "system:node:n1",
    });
    await h.start(startApprover);
    await settle();
    expect(csr().status.conditions[0]).toMatchObject({
      type: "Approved",
      reason: "AutoApproved",
      message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    });
  });

  it("leaves another node's request alone", async () => {
    h.client.onRequest = review(["selfnodeclient"]);
    await seed({
      signerName: "kubernetes.io/kube-apiserver-client-kubelet",
      usages: ["digital signature", "client auth"],
      username: "system:node:n2",
    });
    await h.start(startApprover);
    await h.advance(2);
    expect(csr().status).toEqual({});
  });
});

it("cleaning deletes decided requests after an hour and pending ones after a day", async () => {
  h.client.put(certificateSigningRequests, { metadata: { name: "done" }, spec: {}, status: approved });
  h.client.put(certificateSigningRequests, { metadata: { name: "open" }, spec: {} });
  await h.start(startCleaner);
  await h.advance(3601);
  expect(h.client.all(certificateSigningRequests).map((c) => c.metadata.name)).toEqual(["open"]);
  await h.advance(23 * 3600);
  expect(h.client.all(certificateSigningRequests)).toEqual([]);
});
