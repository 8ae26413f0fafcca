/** The kinds that are answered and never stored: TokenReview, the access reviews, SelfSubjectReview. */
import { badRequest, invalid, timestamp } from "@k3s-p/plugin-api/kube";
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Note, TokenReviewer } from "../auth/authenticate.ts";
import type { Authorizer } from "../auth/rbac.ts";
import type { AccessAttributes } from "../auth/rules.ts";
import type { Obj } from "../resources/types.ts";
import type { ApiRequest } from "../server/request.ts";

export interface ReviewDeps {
  readonly authorizer: Authorizer;
  readonly reviewer: TokenReviewer;
  /** The server's own audiences. */
  readonly audiences: readonly string[];
  readonly now: () => Date;
}

/** From a request's body to the answer's. */
export type Review = (body: Obj, req: Pick<ApiRequest, "user" | "info" | "audit">) => Obj | Promise<Obj>;

export const reviews = (deps: ReviewDeps): Readonly<Record<string, Review>> => ({
  tokenreviews: (body, { audit }) => tokenReview(body, deps, audit?.annotate),
  selfsubjectaccessreviews: (body, { user }) => accessReview(body, user, deps),
  subjectaccessreviews: (body) => accessReview(body, subjectOf(body), deps),
  localsubjectaccessreviews: (body, { info }) => {
    const namespace = body.spec?.resourceAttributes?.namespace;
    if (namespace !== info.namespace) throw badRequest(`spec.resourceAttributes.namespace must match namespace: ${info.namespace}`);
    return accessReview(body, subjectOf(body), deps);
  },
  selfsubjectrulesreviews: (body, { user }) => rulesReview(body, user, deps),
  selfsubjectreviews: (body, { user }) => ({
    ...body, metadata: { ...body.metadata, creationTimestamp: timestamp(deps.now()) }, status: { userInfo: userInfoOf(user) },
  }),
});

async function tokenReview(body: Obj, { reviewer, audiences }: ReviewDeps, note: Note | undefined): Promise<Obj> {
  const { token, audiences: wanted } = body.spec ?? {};
  if (!token) throw badRequest("token is required for TokenReview in authentication");
  const found = await reviewer.review(token, wanted?.length ? wanted : audiences, note);
  const status = found
    ? { authenticated: true, user: userInfoOf(found.user), audiences: found.audiences }
    : { authenticated: false, user: {}, error: "[invalid bearer token, token lookup failed]" };
  return { ...body, metadata: body.metadata ?? {}, status };
}

const userInfoOf = ({ name, uid, groups, extra }: UserInfo) => ({ username: name, ...(uid && { uid }), groups, ...(extra && { extra }) });

function subjectOf(body: Obj): UserInfo {
  const { user = "", groups = [], uid, extra } = body.spec ?? {};
  if (!user && groups.length === 0) {
    throw invalid("authorization.k8s.io", body.kind!, "", [
      { type: "FieldValueInvalid", field: "spec.user", message: 'Invalid value: "": at least one of user or group must be specified' },
    ]);
  }
  return { name: user, groups, ...(uid && { uid }), ...(extra && { extra }) };
}

async function accessReview(body: Obj, subject: UserInfo, { authorizer }: ReviewDeps): Promise<Obj> {
  const { resourceAttributes: resource, nonResourceAttributes: other } = body.spec ?? {};
  const errors = checkAttributes(resource, other);
  if (errors.length > 0) throw invalid("authorization.k8s.io", body.kind!, "", errors);
  const attributes: AccessAttributes = resource ? {
    isResource: true, path: "", verb: resource.verb ?? "", group: resource.group ?? "", resource: resource.resource ?? "",
    subresource: resource.subresource ?? "", namespace: resource.namespace ?? "", name: resource.name ?? "",
    fieldSelector: selectorText(resource.fieldSelector),
  } : {
    isResource: false, path: other.path ?? "", verb: other.verb ?? "", group: "", resource: "", subresource: "", namespace: "", name: "",
  };
  const { allowed, denied, reason } = await authorizer.decide(subject, attributes);
  return { ...body, metadata: body.metadata ?? {}, status: { allowed, ...(denied && { denied }), ...(reason && { reason }) } };
}

interface FieldSelector {
  readonly rawSelector?: string;
  readonly requirements?: readonly { readonly key: string; readonly operator: string; readonly values?: readonly string[] }[];
}

/** As a request would have it; requirements for more than one value narrow nothing that is decided here. */
function selectorText({ rawSelector, requirements = [] }: FieldSelector = {}): string {
  if (rawSelector !== undefined) return rawSelector;
  return requirements.filter(({ operator, values = [] }) => operator === "In" && values.length === 1).map(({ key, values }) => `${key}=${values![0]}`).join(",");
}

function checkAttributes(resource: unknown, other: unknown): FieldError[] {
  if (resource && other) {
    return [{ type: "FieldValueInvalid", field: "spec.nonResourceAttributes", message: "Invalid value: \"object\": cannot be specified in combination with resourceAttributes" }];
  }
  if (resource || other) return [];
  return [{ type: "FieldValueInvalid", field: "spec.resourceAttributes", message: "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified" }];
}

function rulesReview(body: Obj, user: UserInfo, { authorizer }: ReviewDeps): Obj {
  const namespace = body.spec?.namespace;
  if (!namespace) throw badRequest("no namespace on request");
  const rules = authorizer.rulesFor(user, namespace);
  const resourceRules = rules.filter((rule) => rule.resources).map(({ verbs, apiGroups, resources, resourceNames }) =>
    ({ verbs, apiGroups, resources, ...(resourceNames?.length && { resourceNames }) }));
  const nonResourceRules = rules.filter((rule) => rule.nonResourceURLs).map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs }));
  const unresolved = authorizer.unresolved(user);
  return { ...body, metadata: body.metadata ?? {}, status: {
    resourceRules, nonResourceRules, incomplete: unresolved.length > 0, ...(unresolved.length > 0 && { evaluationError: unresolved.join(", ") }),
  } };
}
