/** Events between the form of events.k8s.io/v1 and the stored form of core/v1. */
import type { Obj } from "../types.ts";

/** events.k8s.io name -> core name. */
const renamed: Readonly<Record<string, string>> = {
  note: "message",
  regarding: "involvedObject",
  reportingController: "reportingComponent",
  deprecatedSource: "source",
  deprecatedFirstTimestamp: "firstTimestamp",
  deprecatedLastTimestamp: "lastTimestamp",
  deprecatedCount: "count",
};
const original = Object.fromEntries(Object.entries(renamed).map(([a, b]) => [b, a]));

const rename = (object: Obj, names: Readonly<Record<string, string>>, apiVersion: string): Obj => ({
  ...Object.fromEntries(Object.entries(object).map(([key, value]) => [names[key] ?? key, value])),
  apiVersion,
});

export function eventToCore(event: Obj): Obj {
  return event.apiVersion === "v1" ? event : { involvedObject: {}, ...rename(event, renamed, "v1") };
}

export const eventFromCore = (event: Obj): Obj => rename(event, original, "events.k8s.io/v1");
