/** Events, stored as core/v1 and also served as events.k8s.io/v1. */
import type { FieldError } from "@k3s-p/plugin-api/kube";
import type { Behaviour } from "../row.ts";
import type { Obj } from "../types.ts";
import { eventFromCore, eventToCore } from "./event-conversion.ts";
import { eventColumns } from "./event-columns.ts";
import { always } from "../strategy.ts";
import { validateEvent, validateEventChange, validateNewEvent } from "./validate-event.ts";

type Fields = Readonly<Record<string, (object: Obj) => string>>;

const reference = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"] as const;

const referenceFields = (prefix: string): Fields => Object.fromEntries(
  reference.map((field) => [`${prefix}.${field}`, (o: Obj) => eventToCore(o).involvedObject?.[field] ?? ""]),
);

const shared: Fields = { reason: (o) => o.reason ?? "", type: (o) => o.type ?? "" };
const controller = (o: Obj): string => eventToCore(o).reportingComponent ?? "";
const source = (o: Obj): string => eventToCore(o).source?.component || controller(o);

export const coreEvent: Behaviour = {
  columns: eventColumns,
  ...always(validateEvent),
  selectableFields: { ...referenceFields("involvedObject"), ...shared, source, reportingComponent: controller },
};

const ofCore = (event: Obj, validate: (core: Obj) => FieldError[]): FieldError[] => validate(eventToCore(event));

export const eventsEvent: Behaviour = {
  columns: eventColumns.map((column) => ({ ...column, value: (o, now) => column.value(eventToCore(o), now) })),
  selectableFields: { ...referenceFields("regarding"), ...referenceFields("involvedObject"), ...shared, reportingController: controller },
  validate: (event) => ofCore(event, (core) => [...validateEvent(core), ...validateNewEvent(core)]),
  validateUpdate: (event, old) => ofCore(event, (core) => [...validateEvent(core), ...validateEventChange(core, eventToCore(old))]),
  toStored: eventToCore,
  fromStored: eventFromCore,
};
