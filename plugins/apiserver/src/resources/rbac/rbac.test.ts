import { describe, expect, it } from "vitest";
import { testSigningRequest } from "../../auth/testing.ts";
import { created, fakeContext, rowOf } from "../testing.ts";
import type { Obj } from "../types.ts";

const requests = rowOf("certificates.k8s.io", "certificatesigningrequests");
const csr = (spec: Obj = {}): Obj => ({
  metadata: { name: "Node_csr-A" }, spec: { request: testSigningRequest({ names: ["x"] }), usages: ["client auth"], signerName: "example.com/s", ...spec },
});
const label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character " +
  "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

describe("a CertificateSigningRequest", () => {
  it.each<[Obj, ...string[]]>([
    [{ request: Buffer.from("x").toString("base64") }, 'spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST'],
    [{ usages: [] }, "spec.usages: Required value"],
    [{ usages: ["client auth", "client auth"] }, 'spec.usages[1]: Duplicate value: "client auth"'],
    [{ signerName: "kubernetes.io/legacy-unknown" }, 'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'],
    [{ signerName: "a.b/c/d" }, `spec.signerName: Invalid value: "a.b/c/d": must be a fully qualified domain and path of the form 'example.com/signer-name'`],
    [{ signerName: "A.b/c" }, `spec.signerName: Invalid value: "A.b": validating label "A": ${label}`],
    [{ signerName: "a/c" }, 'spec.signerName: Invalid value: "a": should be a domain with at least two segments'],
    [{ expirationSeconds: 5 }, "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)"],
  ])("with %j is judged", (spec, ...errors) => expect(created(requests, csr(spec)).errors).toEqual(errors));

  it("has any name that a path can have", () => expect(requests.nameRule).toBe("path"));

  const approved = { type: "Approved", status: "True", reason: "R" };
  const certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const forbidden = "status.conditions: Forbidden: updates may not";
  it.each<[string, Obj, Obj, ...(string | RegExp)[]]>([
    ["approval", {}, { conditions: [approved] }],
    ["status", {}, { conditions: [approved] }, `${forbidden} add a condition of type "Approved"`],
    ["status", { conditions: [approved] }, { conditions: [{ ...approved, reason: "S" }] }, `${forbidden} modify a condition of type "Approved"`],
    ["approval", { conditions: [approved] }, {}, `${forbidden} remove a condition of type "Approved"`],
    ["approval", { conditions: [approved] }, { conditions: [approved, { type: "Denied", status: "True" }] }, 'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'],
    ["approval", {}, { conditions: [{ ...approved, status: "False" }] }, 'status.conditions[0].status: Unsupported value: "False": supported values: "True"'],
    ["status", {}, { conditions: [{}] }, "status.conditions[0].type: Required value", "status.conditions[0].status: Required value"],
    ["status", {}, { certificate: base64("x") }, 'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'],
    ["status", {}, { certificate: base64(certificate.replaceAll("CERTIFICATE", "KEY")) }, 'status.certificate: Invalid value: "<certificate data>": only CERTIFICATE PEM blocks are allowed, found "KEY"'],
    ["status", {}, { certificate: base64(certificate) }, /^status.certificate: Invalid value: "<certificate data>": ./],
    ["status", { certificate: "a" }, { certificate: "" }, "status.certificate: Forbidden: updates may not modify existing certificate content"],
    ["", {}, { certificate: "" }],
  ])("gets by %s, after %j: %j", (subresource, before, status, ...want) => {
    const errors = requests.validateStatusUpdate!({ ...csr(), status }, { ...csr(), status: before }, { ...fakeContext(), subresource });
    expect(errors.map(({ field, message }) => `${field}: ${message}`)).toEqual(want.map((text) => (typeof text === "string" ? text : expect.stringMatching(text))));
  });

  it("states when a condition was written, and when it came to be", () => {
    const now = { conditions: [{ ...approved }] };
    const old = { conditions: [{ ...approved, lastUpdateTime: "2025-01-01T00:00:00Z", lastTransitionTime: "2025-01-01T00:00:00Z" }] };
    const object: Obj = { ...csr(), status: now };
    requests.prepareStatusUpdate!(object, { ...csr(), status: old }, fakeContext());
    expect(object.status.conditions[0]).toMatchObject({ lastUpdateTime: fakeContext().now, lastTransitionTime: "2025-01-01T00:00:00Z" });
  });
});

describe("a binding", () => {
  it("names a role that there can be", () => {
    const { errors } = created(rowOf("rbac.authorization.k8s.io", "rolebindings"), { metadata: { name: "b" }, roleRef: { kind: "Role", name: "a/b" } });
    expect(errors).toEqual([`roleRef.name: Invalid value: "a/b": may not contain '/'`]);
  });
});

describe("an APIService", () => {
  const row = rowOf("apiregistration.k8s.io", "apiservices");
  const service = { namespace: "n", name: "s" };
  it.each<[string, Obj, ...string[]]>([
    ["v1.", { version: "v1" }],
    ["v2.", { version: "v2" }, "spec.group: Required value: only v1 may have an empty group and it better be legacy kube"],
    ["v1.a.b", { group: "a.b", version: "v1", caBundle: "AAAA" }, 'spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle'],
    ["v1.a.b", { group: "a.b", version: "v1", service: { ...service, port: 70000 } }, "spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive"],
    ["x", { group: "a.b", version: "v1" }, 'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.b"'],
  ])("%s with %j is judged", (name, spec, ...errors) =>
    expect(created(row, { metadata: { name }, spec: { groupPriorityMinimum: 1, versionPriority: 1, ...spec } }).errors).toEqual(errors));
});
