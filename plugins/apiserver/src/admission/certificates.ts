/** Who may ask for, approve and sign which certificates. */
import { messageOf } from "@k3s-p/plugin-api";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { type RequestedSubject, requestedSubject } from "../auth/signing-request.ts";
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
    if (subjectOf(csr, request).organizations.includes("system:masters")) {
      throw refuse(request, `use of ${CLIENT_SIGNER} signer with system:masters group is not allowed`);
    }
  },
});

/** Refused when it cannot be read. */
export function subjectOf(csr: Obj, request: AdmissionRequest): RequestedSubject {
  try {
    return requestedSubject(csr.spec?.request ?? "");
  } catch (error) {
    throw refuse(request, `unable to parse csr: ${messageOf(error)}`);
  }
}

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
