/** The `authorizer` variable of CEL: asks in steps whether the user of the request may do something else. */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Authorizer } from "../auth/rbac.ts";
import type { AccessAttributes, Decision } from "../auth/rules.ts";
import type { Environment } from "../cel/environment.ts";

interface Subject {
  readonly authorizer: Authorizer;
  readonly user: UserInfo;
}

const nothing: AccessAttributes = { isResource: false, verb: "", path: "", group: "", resource: "", subresource: "", namespace: "", name: "" };

/** What is asked so far. The library tells types by their classes, and shows their own properties as fields. */
class Check {
  readonly subject: Subject;
  readonly asked: AccessAttributes;
  constructor(subject: Subject, asked: AccessAttributes) {
    this.subject = subject;
    this.asked = asked;
  }
}
class PathCheck extends Check {}
class GroupCheck extends Check {}
class ResourceCheck extends Check {}
class CelAuthorizer {
  readonly subject: Subject;
  readonly requestResource: ResourceCheck;
  constructor(subject: Subject, asked: AccessAttributes) {
    this.subject = subject;
    this.requestResource = new ResourceCheck(subject, asked);
  }
}
class AuthorizerDecision {
  readonly decision: Decision;
  constructor(decision: Decision) { this.decision = decision; }
}

export type Question = Pick<AccessAttributes, "group" | "resource" | "subresource" | "namespace" | "name">;

export const authorizerValue = (authorizer: Authorizer, user: UserInfo, request: Question): object =>
  new CelAuthorizer({ authorizer, user }, { ...nothing, ...request, isResource: true });

const decide = ({ subject, asked }: Check, verb: string): AuthorizerDecision =>
  new AuthorizerDecision(subject.authorizer.authorize(subject.user, { ...asked, verb }));

const ofResource = ({ subject, asked }: Check, change: Partial<AccessAttributes>): ResourceCheck =>
  new ResourceCheck(subject, { ...asked, isResource: true, ...change });

const accountOf = (namespace: string, name: string): UserInfo => ({
  name: `system:serviceaccount:${namespace}:${name}`,
  groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
});

type Handler = (...values: any[]) => unknown;

const functions: Readonly<Record<string, Handler>> = {
  "Authorizer.path(string): PathCheck": ({ subject }: CelAuthorizer, path: string) => new PathCheck(subject, { ...nothing, path }),
  "Authorizer.group(string): GroupCheck": ({ subject }: CelAuthorizer, group: string) => new GroupCheck(subject, { ...nothing, group }),
  "Authorizer.serviceAccount(string, string): Authorizer": ({ subject, requestResource }: CelAuthorizer, namespace: string, name: string) =>
    new CelAuthorizer({ ...subject, user: accountOf(namespace, name) }, requestResource.asked),
  "PathCheck.check(string): AuthorizerDecision": decide,
  "GroupCheck.resource(string): ResourceCheck": (check: GroupCheck, resource: string) => ofResource(check, { resource }),
  "ResourceCheck.subresource(string): ResourceCheck": (check: ResourceCheck, subresource: string) => ofResource(check, { subresource }),
  "ResourceCheck.namespace(string): ResourceCheck": (check: ResourceCheck, namespace: string) => ofResource(check, { namespace }),
  "ResourceCheck.name(string): ResourceCheck": (check: ResourceCheck, name: string) => ofResource(check, { name }),
  "ResourceCheck.check(string): AuthorizerDecision": decide,
  "AuthorizerDecision.allowed(): bool": ({ decision }: AuthorizerDecision) => decision.allowed,
  "AuthorizerDecision.reason(): string": ({ decision }: AuthorizerDecision) => decision.reason,
  "AuthorizerDecision.errored(): bool": () => false,
  "AuthorizerDecision.error(): string": () => "",
};

export function registerAuthorizer(environment: Environment): void {
  const types = { Authorizer: CelAuthorizer, PathCheck, GroupCheck, ResourceCheck, AuthorizerDecision };
  for (const [name, ctor] of Object.entries(types)) environment.registerType(name, ctor as never);
  for (const [signature, handler] of Object.entries(functions)) environment.registerFunction(signature, handler as never);
  environment.registerVariable("authorizer", "Authorizer");
}
