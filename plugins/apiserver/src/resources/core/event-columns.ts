/** The table row of an Event, in the core form. */
import { nameColumn, text, wide } from "../columns.ts";
import { age } from "../human.ts";
import type { Column, Obj } from "../types.ts";

export const eventColumns: readonly Column[] = [
  text("Last Seen", "Time since the event last happened.", (e, now) => age(lastSeen(e), now)),
  text("Type", "Normal or Warning.", (e) => e.type ?? ""),
  text("Reason", "Why the event happened, in one word.", (e) => e.reason ?? ""),
  text("Object", "Object that the event is about.", objectText),
  wide("Subobject", "Part of the object that the event is about.", (e) => e.involvedObject?.fieldPath ?? ""),
  wide("Source", "Component that reports the event.", sourceText),
  text("Message", "What happened.", (e) => (e.message ?? "").trim()),
  wide("First Seen", "Time since the event first happened.", (e, now) => age(firstSeen(e), now)),
  wide("Count", "How often the event happened.", (e) => String(e.series?.count ?? (e.count || 1))),
  { ...nameColumn, priority: 1 },
];

const firstSeen = (e: Obj): string | undefined => e.firstTimestamp || e.eventTime;
const lastSeen = (e: Obj): string | undefined => e.series?.lastObservedTime || e.lastTimestamp || firstSeen(e);

function objectText({ involvedObject = {} }: Obj): string {
  const kind = (involvedObject.kind ?? "").toLowerCase();
  return involvedObject.name ? `${kind}/${involvedObject.name}` : kind;
}

function sourceText(e: Obj): string {
  return [e.source?.component || e.reportingComponent, e.source?.host || e.reportingInstance].filter(Boolean).join(", ");
}
