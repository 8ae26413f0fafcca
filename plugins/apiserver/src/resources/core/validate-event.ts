/** Validation of Events, in the core form. */
import { same } from "../fields.ts";
import type { Obj } from "../types.ts";
import { type FieldError, IMMUTABLE, invalidAll, invalidValue, required } from "../validate/field.ts";
import { qualifiedName } from "../validate/names.ts";

/** By the name of the field; counted in bytes. */
const limits: readonly (readonly [string, number])[] = [["reportingInstance", 128], ["action", 128], ["reason", 128], ["message", 1024]];

/** An event is in its object's namespace, and those about cluster objects are in `default`; what has an `eventTime` says more. */
export function validateEvent(event: Obj): FieldError[] {
  const namespace = event.metadata?.namespace;
  const about: string = event.involvedObject?.namespace ?? "";
  const isElsewhere = event.eventTime ? !about && namespace !== "default" && namespace !== "kube-system"
    : about ? about !== namespace : namespace !== "default";
  return [
    ...(isElsewhere ? [invalidValue("involvedObject.namespace", about, "does not match event.namespace")] : []),
    ...(event.eventTime ? validateReport(event) : []),
  ];
}

function validateReport(event: Obj): FieldError[] {
  const controller: string = event.reportingComponent ?? "";
  return [
    ...(controller ? [] : [required("reportingController")]),
    ...invalidAll("reportingController", controller, qualifiedName(controller)),
    ...limits.flatMap(([field, max]) => {
      const value: string = event[field] ?? "";
      if (!value) return field === "message" ? [] : [required(field)];
      return Buffer.byteLength(value) > max ? [invalidValue(field, "", `can have at most ${max} characters`)] : [];
    }),
  ];
}

/** What events.k8s.io/v1 asks of a new event beyond that. */
export function validateNewEvent(event: Obj): FieldError[] {
  const unset = ["firstTimestamp", "lastTimestamp", "count"].filter((field) => event[field]);
  if (event.source?.component || event.source?.host) unset.push("source");
  return [
    ...validateSeries(event),
    ...(event.eventTime ? [] : [required("eventTime")]),
    ...(event.type === "Normal" || event.type === "Warning" ? [] : [invalidValue("type", "", `has invalid value: ${event.type ?? ""}`)]),
    ...unset.map((field) => invalidValue(field, "", "needs to be unset")),
  ];
}

function validateSeries({ series }: Obj): FieldError[] {
  if (series == null) return [];
  return [
    ...(series.count >= 2 ? [] : [invalidValue("series.count", "", "should be at least 2")]),
    ...(series.lastObservedTime ? [] : [required("series.lastObservedTime")]),
  ];
}

/** In core form; upstream's messages name some as its internal type does. */
const frozen: readonly (readonly [string, string])[] = [
  "involvedObject", "reason", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime", "action", "related",
].map((field) => [field, field] as const).concat([["reportingComponent", "reportingController"], ["reportingInstance", "reportingInstance"]]);

/** What events.k8s.io/v1 asks of a change: only the series goes on, and the note may say more. */
export const validateEventChange = (event: Obj, old: Obj): FieldError[] => [
  ...(same(event.series, old.series) ? [] : validateSeries(event)),
  ...frozen.filter(([field]) => !same(event[field] || undefined, old[field] || undefined)).map(([field, shown]) => invalidValue(shown, event[field] ?? "", IMMUTABLE)),
];
