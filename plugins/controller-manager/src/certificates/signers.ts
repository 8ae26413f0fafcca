/** The built-in signers: which requests each of them signs, with which CA. */
import type { CaName } from "@k3s-p/plugin-api/slots";

export interface RequestFacts {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly otherNames: readonly string[];
  readonly usages: readonly string[];
}

export interface Signer {
  readonly name: string;
  readonly ca: CaName;
  /** Why this signer does not sign the request. */
  readonly refuse: (request: RequestFacts) => string | undefined;
}

const only = (usages: readonly string[], required: string, allowed: readonly string[]): string | undefined => {
  const extra = usages.find((usage) => usage !== required && !allowed.includes(usage));
  if (extra !== undefined || !usages.includes(required)) return `usages did not match [${[...allowed, required].join(" ")}]`;
  return undefined;
};
const key = ["key encipherment", "digital signature"] as const;

function nodeSubject({ commonName, organizations }: RequestFacts): string | undefined {
  if (organizations.length !== 1 || organizations[0] !== "system:nodes") return "subject organization is not system:nodes";
  return commonName.startsWith("system:node:") ? undefined : "subject common name does not begin with system:node:";
}

const hasNames = ({ dnsNames, ipAddresses, otherNames }: RequestFacts): boolean =>
  dnsNames.length + ipAddresses.length + otherNames.length > 0;

export const signers: readonly Signer[] = [
  {
    name: "kubernetes.io/kube-apiserver-client", ca: "client-ca",
    refuse: ({ usages }) => only(usages, "client auth", key),
  },
  {
    name: "kubernetes.io/kube-apiserver-client-kubelet",
    ca: "client-ca",
    refuse: (request) =>
      nodeSubject(request) ??
      (hasNames(request) ? "subject alternative names are not allowed" : only(request.usages, "client auth", key)),
  },
  {
    name: "kubernetes.io/kubelet-serving",
    ca: "server-ca",
    refuse: (request) => {
      if (request.otherNames.length) return "only DNS and IP subject alternative names are allowed";
      return (
        nodeSubject(request) ??
        (hasNames(request) ? only(request.usages, "server auth", key) : "DNS or IP subjectAltName is required")
      );
    },
  },
  { name: "kubernetes.io/legacy-unknown", ca: "client-ca", refuse: () => undefined },
];

export const signerOf = (name: string | undefined): Signer | undefined => signers.find((signer) => signer.name === name);
