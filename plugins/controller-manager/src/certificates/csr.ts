/** The three controllers of CertificateSigningRequests: approving the nodes' own, signing, cleaning up. */
import { readFile } from "node:fs/promises";
import { messageOf } from "@k3s-p/plugin-api";
import {
  certificateSigningRequests, isNotFound, timestamp,
  type CertificateSigningRequest,
} from "@k3s-p/plugin-api/kube";
import type { CaName } from "@k3s-p/plugin-api/slots";
import { createController, type ControllerDeps } from "../controller.ts";
import { signerOf } from "./signers.ts";
import type { ParsedRequest } from "./x509.ts";

type Condition = NonNullable<NonNullable<CertificateSigningRequest["status"]>["conditions"]>[number];

const KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet";
const HOUR_MS = 3600_000;
/** Clocks of clients may be a little behind. */
const BACKDATE_MS = 5 * 60_000;
const SHORT_MS = 8 * HOUR_MS;

const has = (csr: CertificateSigningRequest, type: string): boolean =>
  csr.status?.conditions?.some((c) => c.type === type) ?? false;
const pemOf = (csr: CertificateSigningRequest): string => Buffer.from(csr.spec.request, "base64").toString();

function withCondition(
  csr: CertificateSigningRequest, type: string, reason: string, message: string, now: Date,
): CertificateSigningRequest {
  const at = timestamp(now) as unknown as Condition["lastUpdateTime"];
  const condition: Condition = { type, status: "True", reason, message, lastUpdateTime: at, lastTransitionTime: at };
  return { ...csr, status: { ...csr.status, conditions: [...(csr.status?.conditions ?? []), condition] } };
}

/** What a requester must be allowed to `create` on certificatesigningrequests to be approved without asking. */
const recognizers: readonly {
  readonly subresource: string;
  readonly message: string;
  readonly applies: (csr: CertificateSigningRequest, commonName: string) => boolean;
}[] = [
  {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    applies: (csr, commonName) => csr.spec.username === commonName,
  },
  {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    applies: () => true,
  },
];

/** The certificatesigningrequest-approving controller. */
export function startApprover(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "certificatesigningrequest-approving");
  const informer = c.follow(certificateSigningRequests);
  c.run(async (name) => {
    const csr = informer.get(name);
    if (
      !csr ||
      csr.spec.signerName !== KUBELET_CLIENT ||
      has(csr, "Approved") ||
      has(csr, "Denied") ||
      csr.status?.certificate
    )
      return;
    const { parseRequest } = await import("./x509.ts");
    const parsed = await parseRequest(pemOf(csr)).catch(() => undefined);
    if (!parsed || signerOf(KUBELET_CLIENT)!.refuse({ ...parsed.facts, usages: csr.spec.usages ?? [] })) return;
    for (const { subresource, message, applies } of recognizers) {
      if (!applies(csr, parsed.facts.commonName) || !(await isAllowed(csr, subresource))) continue;
      await client.update(certificateSigningRequests, withCondition(csr, "Approved", "AutoApproved", message, now()), {
        subresource: "approval",
      });
      return;
    }
  });

  async function isAllowed({ spec }: CertificateSigningRequest, subresource: string): Promise<boolean> {
    const { status, body } = await client.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
      apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview",
      spec: {
        user: spec.username,
        uid: spec.uid,
        groups: spec.groups,
        extra: spec.extra,
        resourceAttributes: {
          group: "certificates.k8s.io",
          resource: "certificatesigningrequests",
          verb: "create",
          version: "*",
          subresource,
        },
      },
    });
    if (status >= 300)
      throw new Error((body as { message?: string } | undefined)?.message ?? `subjectaccessreviews answered ${status}`);
    return Boolean((body as { status?: { allowed?: boolean } }).status?.allowed);
  }
}

/** The certificatesigningrequest-signing controller. */
export function startSigner(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "certificatesigningrequest-signing");
  const informer = c.follow(certificateSigningRequests);
  c.run(async (name) => {
    const csr = informer.get(name);
    const signer = signerOf(csr?.spec.signerName);
    if (!csr || !signer || !has(csr, "Approved") || has(csr, "Denied") || has(csr, "Failed") || csr.status?.certificate)
      return;
    const { parseRequest } = await import("./x509.ts");
    let failure: string | undefined;
    try {
      const request = await parseRequest(pemOf(csr));
      failure = signer.refuse({ ...request.facts, usages: csr.spec.usages ?? [] });
      if (failure === undefined) return await issue(csr, request, signer.ca);
    } catch (error) {
      if (!/request's signature|ASN|parse|PEM/i.test(messageOf(error))) throw error;
      failure = `unable to parse csr: ${messageOf(error)}`;
    }
    await client.update(
      certificateSigningRequests,
      withCondition(csr, "Failed", "SignerValidationFailure", failure, now()),
      { subresource: "status" },
    );
  });

  async function issue(csr: CertificateSigningRequest, request: ParsedRequest, authorityName: CaName): Promise<void> {
    const { signRequest } = await import("./x509.ts");
    const at = now().getTime();
    const lifetime = Math.min(deps.tuning.signingDuration, (csr.spec.expirationSeconds ?? Infinity) * 1000);
    // Long lives include the backdating; short ones are given in full.
    const end = at + lifetime - (lifetime > SHORT_MS ? BACKDATE_MS : 0);
    const pem = await signRequest({
      request, usages: csr.spec.usages ?? [], ca: await authority(authorityName), notBefore: new Date(at - BACKDATE_MS), notAfter: new Date(end),
    });
    const status = { ...csr.status, certificate: Buffer.from(pem).toString("base64") };
    await client.update(certificateSigningRequests, { ...csr, status }, { subresource: "status" });
  }

  /** The key lies beside the certificate, as in K3s. */
  async function authority(name: CaName): Promise<{ cert: string; key: string }> {
    const { cert, certPath } = deps.pki.ca(name);
    return { cert, key: await readFile(certPath.replace(/\.crt$/, ".key"), "utf8") };
  }
}

/** The certificatesigningrequest-cleaner controller: decided requests go after an hour, pending ones after a day. */
export function startCleaner(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "certificatesigningrequest-cleaner", { workers: 1 });
  const informer = c.follow(certificateSigningRequests, (csr, { deleted }) => (deleted ? undefined : csr.metadata.name));
  c.run(async (name) => {
    const csr = informer.get(name);
    if (!csr) return;
    const left = await expiry(csr) - now().getTime();
    if (left > 0) return left;
    await client
      .delete(certificateSigningRequests, name, { preconditions: { uid: csr.metadata.uid } })
      .catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
  });

  async function expiry(csr: CertificateSigningRequest): Promise<number> {
    const created = Date.parse(csr.metadata.creationTimestamp!);
    const decided = (csr.status?.conditions ?? []).filter((x) => ["Approved", "Denied", "Failed"].includes(x.type))
      .map((x) => Date.parse((x.lastUpdateTime ?? x.lastTransitionTime ?? "") as string) || created);
    const ends = [decided.length ? Math.min(...decided) + HOUR_MS : created + 24 * HOUR_MS];
    if (csr.status?.certificate) {
      const { X509Certificate } = await import("node:crypto");
      const end = Date.parse(new X509Certificate(Buffer.from(csr.status.certificate, "base64")).validTo);
      if (!Number.isNaN(end)) ends.push(end);
    }
    return Math.min(...ends);
  }
}
