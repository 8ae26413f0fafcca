/** Table columns of RBAC and certificates. */
import { ageColumn, createdAtColumn, nameColumn, text, wide } from "../columns.ts";
import { humanDuration } from "../human.ts";
import type { Column, Obj } from "../types.ts";

export const roleColumns: readonly Column[] = [nameColumn, createdAtColumn];
export const clusterRoleColumns: readonly Column[] = roleColumns;

const subjects = (kind: string) => (o: Obj): string =>
  (o.subjects ?? []).filter((s: Obj) => s.kind === kind)
    .map((s: Obj) => (kind === "ServiceAccount" ? `${s.namespace ?? ""}/${s.name}` : s.name)).join(", ");

export const bindingColumns: readonly Column[] = [
  nameColumn,
  text("Role", "Role that the binding grants.", (o) => `${o.roleRef?.kind}/${o.roleRef?.name}`),
  ageColumn,
  wide("Users", "Users in the binding", subjects("User")),
  wide("Groups", "Groups in the binding", subjects("Group")),
  wide("ServiceAccounts", "ServiceAccounts in the binding", subjects("ServiceAccount")),
];

export const csrColumns: readonly Column[] = [
  nameColumn,
  ageColumn,
  text("SignerName", "Signer that is asked.", (o) => o.spec?.signerName ?? ""),
  text("Requestor", "User who made the request.", (o) => o.spec?.username ?? ""),
  text("RequestedDuration", "Lifetime that is asked for.", (o) =>
    o.spec?.expirationSeconds == null ? "<none>" : humanDuration(o.spec.expirationSeconds * 1000)),
  text("Condition", "Where the request stands.", csrCondition),
];

function csrCondition({ status }: Obj): string {
  const has = (type: string) => (status?.conditions ?? []).some((c: Obj) => c.type === type);
  const parts = [has("Denied") ? "Denied" : has("Approved") ? "Approved" : "Pending"];
  if (has("Failed")) parts.push("Failed");
  if (status?.certificate) parts.push("Issued");
  return parts.join(",");
}
