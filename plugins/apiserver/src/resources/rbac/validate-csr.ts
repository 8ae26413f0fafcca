/** Validation of CertificateSigningRequests: what is asked, and who may answer in which part of the status. */
import { X509Certificate } from "node:crypto";
import { requestedSubject } from "../../auth/signing-request.ts";
import { items, same } from "../fields.ts";
import type { Obj, StrategyContext } from "../types.ts";
import { duplicate, type FieldError, forbidden, invalidAll, invalidValue, notSupported, required, tooLong } from "../validate/field.ts";
import { dns1123Label, dns1123Subdomain } from "../validate/names.ts";

const MIN_SECONDS = 600;
const usages = [
  "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature",
  "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc",
  "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
];

export function validateCsr({ spec, status }: Obj): FieldError[] {
  const wanted: string[] = spec.usages ?? [];
  const { expirationSeconds: seconds } = spec;
  return [
    ...validateRequest("spec.request", spec.request ?? ""), ...(wanted.length === 0 ? [required("spec.usages")] : []),
    ...wanted.flatMap((usage, i) => (usages.includes(usage) ? [] : [notSupported(`spec.usages[${i}]`, usage, usages)])),
    ...wanted.flatMap((usage, i) => (wanted.indexOf(usage) < i ? [duplicate(`spec.usages[${i}]`, usage)] : [])),
    ...validateSigner("spec.signerName", spec.signerName ?? ""),
    ...(seconds != null && seconds < MIN_SECONDS ? [invalidValue("spec.expirationSeconds", seconds, `may not specify a duration less than ${MIN_SECONDS} seconds (10 minutes)`)] : []),
    ...validateConditions(items(status, "conditions")),
  ];
}

function validateRequest(field: string, request: string): FieldError[] {
  try {
    requestedSubject(request);
    return [];
  } catch (error) {
    return [invalidValue(field, request, (error as Error).message)];
  }
}

const MAX_DOMAIN = 253;
const MAX_SIGNER = 571;

function validateSigner(field: string, name: string): FieldError[] {
  if (name === "") return [required(field)];
  if (name === "kubernetes.io/legacy-unknown") return [invalidValue(field, name, "the legacy signerName is not allowed via this API version")];
  const [domain = "", path = "", ...more] = name.split("/");
  if (more.length > 0 || !name.includes("/")) return [invalidValue(field, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")];
  const labels = domain.split(".");
  const bad = labels.find((label) => dns1123Label(label).length > 0);
  return [
    ...(domain.length > MAX_DOMAIN ? [tooLong(field, MAX_DOMAIN)] : []),
    ...(bad === undefined ? [] : dns1123Label(bad).map((why) => invalidValue(field, domain, `validating label ${JSON.stringify(bad)}: ${why}`))),
    ...(name.length > MAX_SIGNER ? [tooLong(field, MAX_SIGNER)] : []), ...invalidAll(field, path, dns1123Subdomain(path)),
    ...(labels.length < 2 ? [invalidValue(field, domain, "should be a domain with at least two segments")] : []),
  ];
}

const decisions = ["Approved", "Denied"];
const final = [...decisions, "Failed"];

function validateConditions(conditions: readonly Obj[]): FieldError[] {
  const types = conditions.map(({ type = "" }) => type as string);
  return conditions.flatMap(({ status = "" }, i) => {
    const at = `status.conditions[${i}]`;
    const type = types[i]!;
    const allowed = final.includes(type) ? ["True"] : ["False", "True", "Unknown"];
    const opposite = decisions.includes(type) ? decisions.find((other) => other !== type) : undefined;
    return [
      ...(type ? [] : [required(`${at}.type`)]),
      ...(status === "" ? [required(`${at}.status`)] : allowed.includes(status) ? [] : [notSupported(`${at}.status`, status, allowed)]),
      ...(opposite && types.slice(0, i).includes(opposite) ? [invalidValue(`${at}.type`, type, "Approved and Denied conditions are mutually exclusive")] : []),
      ...(types.indexOf(type) < i ? [duplicate(`${at}.type`, type)] : []),
    ];
  });
}

/** An answer is for good: approval comes through `approval`, the certificate through `status`. */
export function validateCsrUpdate(csr: Obj, old: Obj, { subresource = "" }: StrategyContext): FieldError[] {
  const errors = same(csr.status?.conditions, old.status?.conditions) ? [] : validateConditions(items(csr.status, "conditions"));
  const of = (object: Obj, type: string): Obj[] => items(object.status, "conditions").filter((condition) => condition.type === type);
  const refuse = (type: string, what: string): FieldError => forbidden("status.conditions", `updates may not ${what} a condition of type ${JSON.stringify(type)}`);
  for (const type of final) if (of(csr, type).length < of(old, type).length) errors.push(refuse(type, "remove"));
  for (const type of subresource === "approval" ? [] : decisions) {
    const [now, before] = [of(csr, type), of(old, type)];
    if (now.length > before.length) errors.push(refuse(type, "add"));
    else if (now.length === before.length && !same(now, before)) errors.push(refuse(type, "modify"));
  }
  return [...errors, ...validateCertificate(csr.status?.certificate ?? "", old.status?.certificate ?? "", subresource)];
}

function validateCertificate(certificate: string, before: string, subresource: string): FieldError[] {
  const field = "status.certificate";
  if (certificate === before) return [];
  const problem = certificateProblem(Buffer.from(certificate, "base64").toString("latin1"));
  const errors = problem && certificate ? [invalidValue(field, "<certificate data>", problem)] : [];
  if (subresource !== "status") return [...errors, forbidden(field, "updates may not set certificate content")];
  return before ? [...errors, forbidden(field, "updates may not modify existing certificate content")] : errors;
}

function certificateProblem(pem: string): string | undefined {
  const blocks = [...pem.matchAll(/-----BEGIN ([^-]+)-----\r?\n([^-]*)-----END \1-----/g)];
  if (blocks.length === 0) return "must contain at least one CERTIFICATE PEM block";
  for (const [block, type, body = ""] of blocks) {
    if (type !== "CERTIFICATE") return `only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(type)}`;
    if (body.includes(":")) return "no PEM block headers are permitted";
    try {
      new X509Certificate(block);
    } catch (error) {
      return (error as Error).message;
    }
  }
  return undefined;
}
