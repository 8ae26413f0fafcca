/** AdmissionReview: the question to a webhook, and what counts as an answer. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import { ApiError, apiError, type Status } from "@k3s-p/plugin-api/kube";
import { isPlainObject } from "../verbs/engine.ts";
import type { Form, Kind } from "./forms.ts";

/** Versions of the review, which differ in what an answer must say. */
export type ReviewVersion = "v1" | "v1beta1";

export const reviewVersion = (accepted: readonly string[]): ReviewVersion | undefined =>
  accepted.find((version): version is ReviewVersion => version === "v1" || version === "v1beta1");

/** The `request` of a review, without its objects; match conditions and policies see the same. */
export function requestFields(request: AdmissionRequest, form: Form, requestKind: Kind): Record<string, unknown> {
  const { group, version, resource, subresource, operation, user, dryRun, options } = request;
  const isNamespace = group === "" && resource === "namespaces";
  const namespace = request.namespace || (isNamespace ? request.name : "");
  return {
    kind: form.kind, resource: form.place, ...(subresource && { subResource: subresource }),
    requestKind, requestResource: { group, version, resource }, ...(subresource && { requestSubResource: subresource }),
    ...(request.name && { name: request.name }), ...(namespace && { namespace }),
    operation, userInfo: userInfo(user), dryRun, options: options ?? null,
  };
}

const userInfo = ({ name, uid, groups, extra }: UserInfo): object => ({ username: name, ...(uid && { uid }), groups, ...(extra && { extra }) });

export function reviewBody(version: ReviewVersion, uid: string, fields: object, { object, oldObject }: Form): string {
  return JSON.stringify({
    kind: "AdmissionReview", apiVersion: `admission.k8s.io/${version}`,
    request: { uid, ...fields, object: object ?? null, oldObject: oldObject ?? null },
  });
}

export interface Verdict {
  readonly allowed: boolean;
  readonly status: Partial<Status> | undefined;
  /** JSON patch, decoded. */
  readonly patch: unknown;
  readonly warnings: readonly string[];
  readonly auditAnnotations: Readonly<Record<string, string>>;
}

interface Answer {
  readonly kind?: string;
  readonly apiVersion?: string;
  readonly response?: {
    readonly uid?: string;
    readonly allowed?: boolean;
    readonly status?: Partial<Status>;
    readonly patch?: string;
    readonly patchType?: string;
    readonly warnings?: readonly string[];
    readonly auditAnnotations?: Readonly<Record<string, string>>;
  };
}

/** Throws an Error that says what is wrong with the answer. */
export function readAnswer(answer: unknown, version: ReviewVersion, uid: string, mutating: boolean): Verdict {
  if (!isPlainObject(answer)) throw new Error("webhook response was absent");
  const { kind = "", apiVersion = "", response } = answer as Answer;
  const wanted = `admission.k8s.io/${version}`;
  if (version === "v1" && (kind !== "AdmissionReview" || apiVersion !== wanted)) {
    throw new Error(`expected webhook response of ${wanted}, Kind=AdmissionReview, got ${apiVersion || "/"}, Kind=${kind}`);
  }
  if (!isPlainObject(response)) throw new Error("webhook response was absent");
  if (version === "v1" && response.uid !== uid) throw new Error(`expected response.uid=${JSON.stringify(uid)}, got ${JSON.stringify(response.uid ?? "")}`);
  const { allowed = false, status, patch, patchType = version === "v1beta1" && patch ? "JSONPatch" : "", warnings = [], auditAnnotations = {} } = response;
  if (typeof allowed !== "boolean") throw new Error("response.allowed is not a boolean");
  if (!mutating) {
    if (patch) throw new Error("validating webhook may not return response.patch");
    if (patchType) throw new Error("validating webhook may not return response.patchType");
  } else {
    if (patch && !patchType) throw new Error("webhook returned response.patch but not response.patchType");
    if (patchType && !patch) throw new Error("webhook returned response.patchType but not response.patch");
    if (patchType && patchType !== "JSONPatch") throw new Error(`webhook returned invalid response.patchType of ${JSON.stringify(patchType)}`);
  }
  return { allowed, status, patch: allowed && patch ? decodePatch(patch) : undefined, warnings: warnings.filter(isText), auditAnnotations };
}

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

function decodePatch(patch: string): unknown {
  if (typeof patch !== "string") throw new Error("response.patch is not base64");
  try {
    return JSON.parse(Buffer.from(patch, "base64").toString("utf8"));
  } catch (error) {
    throw new Error(`response.patch is not a JSON patch: ${(error as Error).message}`, { cause: error });
  }
}

/** A refusal, never with a code of success. */
export function denied(webhook: string, status: Partial<Status> = {}): ApiError {
  const by = `admission webhook ${JSON.stringify(webhook)} denied the request`;
  const why = status.message || status.reason;
  return new ApiError({
    ...status, kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure",
    message: why ? `${by}: ${why}` : `${by} without explanation`,
    code: status.code && status.code >= 400 ? status.code : 400,
  });
}

export function internal(message: string): ApiError {
  return apiError(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] });
}
