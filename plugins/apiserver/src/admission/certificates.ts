/** Who may ask for, approve and sign which certificates. */
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse, toPlugin } from "./common.ts";

const GROUP = "certificates.k8s.io";
const resources = [`certificatesigningrequests.${GROUP}`];
const CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client";

/** CertificateSubjectRestriction: a client certificate for `system:masters` is not given out. */
export const certificateSubjectRestriction = (): AdmissionPlugin => toPlugin({
  name: "CertificateSubjectRestriction", resources, operations: ["CREATE"],
  validate(csr, request) {
    if (csr.spec?.signerName !== CLIENT_SIGNER) return;
    if (organizationsOf(csr.spec.request ?? "").includes("system:masters")) {
      throw refuse(request, `use of ${CLIENT_SIGNER} signer with system:masters group is not allowed`);
    }
  },
});

/** CertificateApproval and CertificateSigning: the right `approve` or `sign` on the signer. */
export function certificateRights({ authorizer }: Pick<AdmissionDeps, "authorizer">): { readonly approval: AdmissionPlugin; readonly signing: AdmissionPlugin } {
  const may = (user: UserInfo, verb: string, signer: string) => [signer, `${signer.split("/")[0]}/*`].some((name) =>
    authorizer.authorize(user, {
      isResource: true, verb, path: "", group: GROUP, resource: "signers", subresource: "", namespace: "", name,
    }).allowed);
  const check = (request: AdmissionRequest, csr: Obj, verb: string): void => {
    const signer = csr.spec?.signerName as string;
    if (!may(request.user, verb, signer)) {
      throw refuse(request, `user not permitted to ${verb} requests with signerName ${JSON.stringify(signer)}`);
    }
  };
  return {
    approval: toPlugin({
      name: "CertificateApproval", resources, operations: ["UPDATE"], subresources: ["approval"],
      validate: (_, request) => check(request, request.oldObject as Obj, "approve"),
    }),
    signing: toPlugin({
      name: "CertificateSigning", resources, operations: ["UPDATE"], subresources: ["status"],
      validate(csr, request) {
        const old = request.oldObject as Obj;
        if (csr.status?.certificate !== old.status?.certificate) check(request, old, "sign");
      },
    }),
  };
}

/** OID 2.5.4.10 as a DER element. */
const ORGANIZATION = Buffer.from("060355040a", "hex");

/** The organizations that a signing request's subject names: each is an OID followed by a string. */
export function organizationsOf(request: string): string[] {
  const pem = Buffer.from(request, "base64").toString("latin1");
  const body = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([^-]*)-----END/.exec(pem)?.[1];
  const der = Buffer.from(body ?? "", "base64");
  const found: string[] = [];
  for (let at = der.indexOf(ORGANIZATION); at >= 0; at = der.indexOf(ORGANIZATION, at + 1)) {
    const start = at + ORGANIZATION.length;
    const { offset, length } = lengthAt(der, start + 1);
    found.push(der.subarray(offset, offset + length).toString());
  }
  return found;
}

function lengthAt(der: Buffer, at: number): { offset: number; length: number } {
  const first = der[at] ?? 0;
  if (first < 0x80) return { offset: at + 1, length: first };
  const size = Math.min(first & 0x7f, 4);
  return { offset: at + 1 + size, length: der.length >= at + 1 + size ? der.readUIntBE(at + 1, Math.max(size, 1)) : 0 };
}
