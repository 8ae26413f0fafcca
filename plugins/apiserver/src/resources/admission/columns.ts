/** Table columns of admission, API extensions, aggregation and flow control. */
import { ageColumn, createdAtColumn, integer, nameColumn, text } from "../columns.ts";
import type { Column, Obj } from "../types.ts";

export const webhookColumns: readonly Column[] = [
  nameColumn,
  integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration", (o) => o.webhooks?.length ?? 0),
  ageColumn,
];

const paramKind = text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy", ({ spec }) => {
  const kind = spec?.paramKind;
  return kind ? `${kind.apiVersion}/${kind.kind}` : "<unset>";
});

const paramRef = ({ spec }: Obj): string => {
  const ref = spec?.paramRef;
  if (!ref) return "<unset>";
  if (ref.name) return ref.namespace ? `${ref.namespace}/${ref.name}` : `*/${ref.name}`;
  return ref.selector ? `${ref.namespace || "*"}/${JSON.stringify(ref.selector)}` : "<unset>";
};

export const validatingPolicyColumns: readonly Column[] = [
  nameColumn,
  integer("Validations", "Validations indicates the number of validation rules defined in this configuration", (o) => o.spec?.validations?.length ?? 0),
  paramKind,
  ageColumn,
];

export const mutatingPolicyColumns: readonly Column[] = [
  nameColumn,
  integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration", (o) => o.spec?.mutations?.length ?? 0),
  paramKind,
  ageColumn,
];

export const policyBindingColumns: readonly Column[] = [
  nameColumn,
  text("PolicyName", "Policy that the binding puts to work.", (o) => o.spec?.policyName ?? ""),
  text("ParamRef", "Object with the policy's parameters.", paramRef),
  ageColumn,
];

export const crdColumns: readonly Column[] = [nameColumn, createdAtColumn];

export const apiServiceColumns: readonly Column[] = [
  nameColumn,
  text("Service", "The reference to the service that hosts this API endpoint.", ({ spec }) =>
    spec?.service ? `${spec.service.namespace}/${spec.service.name}` : "Local"),
  text("Available", "Whether this service is available.", ({ status }) => {
    const condition = (status?.conditions ?? []).find((c: Obj) => c.type === "Available");
    if (!condition) return "Unknown";
    return condition.status === "True" ? "True" : `${condition.status} (${condition.reason})`;
  }),
  ageColumn,
];

const orNone = (value: unknown): string => (value == null ? "<none>" : String(value));

export const flowSchemaColumns: readonly Column[] = [
  nameColumn,
  text("PriorityLevel", "Level that the flow's requests get.", (o) => o.spec?.priorityLevelConfiguration?.name ?? "<none>"),
  text("MatchingPrecedence", "Lower numbers are matched first.", (o) => String(o.spec?.matchingPrecedence ?? 0)),
  text("DistinguisherMethod", "How a flow is told from another.", (o) => o.spec?.distinguisherMethod?.type ?? "<none>"),
  ageColumn,
  text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration", ({ status }) => {
    const dangling = (status?.conditions ?? []).find((c: Obj) => c.type === "Dangling");
    return dangling?.status ?? "?";
  }),
];

const queuing = (o: Obj): Obj => o.spec?.limited?.limitResponse?.queuing ?? {};

export const priorityLevelColumns: readonly Column[] = [
  nameColumn,
  text("Type", "Whether the level limits requests.", (o) => o.spec?.type ?? ""),
  text("NominalConcurrencyShares", "Share of the server's seats.", (o) => orNone(o.spec?.limited?.nominalConcurrencyShares)),
  text("Queues", "Number of queues.", (o) => orNone(queuing(o).queues)),
  text("HandSize", "Number of queues that a flow may use.", (o) => orNone(queuing(o).handSize)),
  text("QueueLengthLimit", "Requests that a queue holds.", (o) => orNone(queuing(o).queueLengthLimit)),
  ageColumn,
];
