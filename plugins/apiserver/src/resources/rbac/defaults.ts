/** Defaults of RBAC bindings. */
import { ensure, fillEmpty, items } from "../fields.ts";
import type { Obj } from "../types.ts";

const GROUP = "rbac.authorization.k8s.io";

export function defaultBinding(binding: Obj): void {
  fillEmpty(ensure(binding, "roleRef"), { apiGroup: GROUP });
  for (const subject of items(binding, "subjects")) {
    if (subject.kind === "User" || subject.kind === "Group") fillEmpty(subject, { apiGroup: GROUP });
  }
}
