/** Which FlowSchema a request belongs to: the first, by precedence, that has a rule for the user and for what is asked. */
import type { UserInfo } from "@k3s-p/plugin-api/slots";
import type { Obj } from "../resources/types.ts";
import type { RequestInfo } from "../server/request.ts";

export interface Schema {
  readonly name: string;
  readonly uid: string;
  readonly level: string;
  readonly precedence: number;
  readonly distinguisher: "ByUser" | "ByNamespace" | undefined;
  readonly rules: readonly Obj[];
}

export const toSchema = ({ metadata, spec }: Obj): Schema => ({
  name: metadata!.name!, uid: metadata?.uid ?? "", level: spec?.priorityLevelConfiguration?.name ?? "",
  precedence: spec?.matchingPrecedence ?? 1000, distinguisher: spec?.distinguisherMethod?.type, rules: spec?.rules ?? [],
});

export interface Classifier {
  classify(user: UserInfo, info: RequestInfo): Schema;
}

type Attributes = Pick<RequestInfo, "isResource" | "path" | "verb" | "group" | "resource" | "subresource" | "namespace">;

interface Candidate {
  readonly schema: Schema;
  matches(info: Attributes): boolean;
}

const MAX_USERS = 1000;

/** The last schema takes what no other does. */
export function createClassifier(schemas: readonly Schema[]): Classifier {
  const ordered = [...schemas].sort((a, b) => a.precedence - b.precedence || (a.name < b.name ? -1 : 1));
  const fallback = ordered.find(({ name }) => name === "catch-all") ?? ordered.at(-1)!;
  // A connection with a certificate brings the same user with every request, a token a new object of the same user.
  const byObject = new WeakMap<UserInfo, readonly Candidate[]>();
  const byName = new Map<string, readonly Candidate[]>();

  function named(user: UserInfo): readonly Candidate[] {
    const key = `${user.name}\n${user.groups.join("\n")}`;
    let candidates = byName.get(key);
    if (!candidates) {
      if (byName.size >= MAX_USERS) byName.clear();
      byName.set(key, (candidates = candidatesOf(ordered, user)));
    }
    return candidates;
  }

  return {
    classify(user, info) {
      let candidates = byObject.get(user);
      if (!candidates) byObject.set(user, (candidates = named(user)));
      for (const { schema, matches } of candidates) if (matches(info)) return schema;
      return fallback;
    },
  };
}

/** Whom a rule is for is looked at once for a user, who asks again and again. */
function candidatesOf(schemas: readonly Schema[], user: UserInfo): readonly Candidate[] {
  return schemas.flatMap((schema) => {
    const rules = schema.rules.filter(({ subjects = [] }) => subjects.some((subject: Obj) => isMeant(subject, user)));
    if (rules.length === 0) return [];
    const ofResources: readonly Obj[] = rules.flatMap(({ resourceRules = [] }) => resourceRules);
    const ofPaths: readonly Obj[] = rules.flatMap(({ nonResourceRules = [] }) => nonResourceRules);
    const matches = (info: Attributes): boolean =>
      (info.isResource ? ofResources.some((rule) => coversResource(rule, info)) : ofPaths.some((rule) => coversPath(rule, info)));
    return [{ schema, matches }];
  });
}

function isMeant(subject: Obj, { name, groups }: UserInfo): boolean {
  switch (subject.kind) {
    case "User": return subject.user?.name === "*" || subject.user?.name === name;
    case "Group": return subject.group?.name === "*" || groups.includes(subject.group?.name);
    case "ServiceAccount": {
      const { namespace, name: account } = subject.serviceAccount ?? {};
      const prefix = `system:serviceaccount:${namespace}:`;
      return account === "*" ? name.startsWith(prefix) : name === `${prefix}${account}`;
    }
    default: return false;
  }
}

const has = (list: readonly string[] | undefined, value: string): boolean => list !== undefined && (list[0] === "*" || list.includes(value));

function coversResource(rule: Obj, { verb, group, resource, subresource, namespace }: Attributes): boolean {
  if (!has(rule.verbs, verb) || !has(rule.apiGroups, group)) return false;
  if (!has(rule.resources, subresource ? `${resource}/${subresource}` : resource)) return false;
  return namespace ? has(rule.namespaces, namespace) : rule.clusterScope === true;
}

function coversPath(rule: Obj, { verb, path }: Attributes): boolean {
  return has(rule.verbs, verb) && (rule.nonResourceURLs ?? []).some((url: string) =>
    url === "*" || url === path || (url.endsWith("/*") && path.startsWith(url.slice(0, -1))));
}
