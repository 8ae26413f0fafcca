/** Which of its names a CustomResourceDefinition gets, and the conditions that say so. */

export interface Names {
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
}

export interface Condition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime?: string;
}

/** Names that others of the same group have. */
export interface Claimed {
  readonly resources: ReadonlySet<string>;
  readonly kinds: ReadonlySet<string>;
}

export interface Verdict {
  readonly accepted: Partial<Names>;
  readonly condition: Condition;
}

const checks = [
  ["plural", "PluralConflict", "resources"], ["singular", "SingularConflict", "resources"],
  ["shortNames", "ShortNamesConflict", "resources"], ["kind", "KindConflict", "kinds"], ["listKind", "ListKindConflict", "kinds"],
] as const;

/** A name that somebody else has stays what it was; the last conflict is the one that is told. */
export function acceptNames(wanted: Names, before: Partial<Names>, claimed: Claimed): Verdict {
  const accepted: Record<string, unknown> = { ...before };
  let condition: Condition = { type: "NamesAccepted", status: "True", reason: "NoConflicts", message: "no conflicts found" };
  for (const [field, reason, space] of checks) {
    const taken = [wanted[field] ?? []].flat().filter((name) => claimed[space].has(name) && ![before[field] ?? []].flat().includes(name));
    if (taken.length > 0) {
      const message = taken.map((name) => `${JSON.stringify(name)} is already in use`);
      condition = { type: "NamesAccepted", status: "False", reason, message: message.length > 1 ? `[${message.join(", ")}]` : message[0]! };
    } else if (wanted[field] === undefined) delete accepted[field];
    else accepted[field] = wanted[field];
  }
  if (wanted.categories) accepted["categories"] = wanted.categories;
  else delete accepted["categories"];
  return { accepted: accepted as Partial<Names>, condition };
}

export const established: Condition = {
  type: "Established", status: "True", reason: "InitialNamesAccepted", message: "the initial names have been accepted",
};
export const notEstablished: Condition = { type: "Established", status: "False", reason: "NotAccepted", message: "not all names are accepted" };

/** The conditions with one of them replaced; its transition time moves only with its status. */
export function withCondition(conditions: readonly Condition[], next: Condition, now: string): readonly Condition[] {
  const old = conditions.find(({ type }) => type === next.type);
  if (!old) return [...conditions, { lastTransitionTime: now, ...next }];
  const lastTransitionTime = old.status === next.status ? old.lastTransitionTime ?? now : now;
  return conditions.map((condition) => (condition === old ? { lastTransitionTime, ...next } : condition));
}
