/** The forms of a request's objects: the version that a rule names, and the kinds that subresources have. */
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { Registry } from "../server/registry.ts";
import { apiVersion, clone } from "../verbs/engine.ts";
import { scaleObject, withReplicas } from "../verbs/scale.ts";
import { type Place, type Rule, ruleMatches } from "./rules.ts";

export interface Kind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

/** How a webhook or a policy sees a request. */
export interface Form {
  readonly place: Place;
  readonly kind: Kind;
  readonly object: Obj | undefined;
  readonly oldObject: Obj | undefined;
  /** The request's object after a change of `object`; both are private. */
  readonly back: (changed: Obj) => Obj;
}

export interface Matching {
  readonly rules: readonly Rule[];
  readonly matchPolicy?: string;
}

/** The place under which the rules take the request: its own, or with `Equivalent` another version of the same resource. */
export function matchPlace({ rules, matchPolicy }: Matching, request: AdmissionRequest, registry: Registry): Place | undefined {
  const own: Place = { group: request.group, version: request.version, resource: request.resource };
  if (rules.some((rule) => ruleMatches(rule, request, own))) return own;
  if (matchPolicy === "Exact") return undefined;
  const others = equivalentsOf(request, registry);
  for (const rule of rules) {
    const found = others.find((place) => ruleMatches(rule, request, place));
    if (found) return found;
  }
  return undefined;
}

/** Other rows over the same stored objects; looked for once, until the registry changes. */
function equivalentsOf({ group, version, resource }: AdmissionRequest, registry: Registry): readonly Place[] {
  const def = registry.get(group, version, resource);
  if (!def) return [];
  const known = equivalents.get(def);
  if (known?.revision === registry.revision) return known.places;
  const key = storageKey(def);
  const places = registry.list().filter((other) => other !== def && storageKey(other) === key).map(placeOf);
  equivalents.set(def, { revision: registry.revision, places });
  return places;
}

const equivalents = new WeakMap<ResourceDef, { readonly revision: number; readonly places: readonly Place[] }>();

const storageKey = ({ storedAs, group, plural }: ResourceDef): string =>
  storedAs ? `${storedAs.group}/${storedAs.plural}` : `${group}/${plural}`;
const placeOf = ({ group, version, plural }: ResourceDef): Place => ({ group, version, resource: plural });

/** Kinds of what is sent to a subresource, when it is not the resource's own kind. */
const subresourceKinds: Readonly<Record<string, Kind>> = {
  scale: { group: "autoscaling", version: "v1", kind: "Scale" },
  binding: { group: "", version: "v1", kind: "Binding" },
  eviction: { group: "policy", version: "v1", kind: "Eviction" },
  token: { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
};

export function kindOf(request: AdmissionRequest, place: Place, registry: Registry): Kind {
  const def = registry.get(place.group, place.version, place.resource);
  const special = subresourceKinds[request.subresource];
  if (special) return special;
  if (request.operation === "CONNECT" || !def) return kindOfObject(request.object as Obj | undefined);
  return { group: def.group, version: def.version, kind: def.kind };
}

function kindOfObject(object: Obj | undefined): Kind {
  const [group, version] = (object?.apiVersion ?? "").includes("/") ? object!.apiVersion!.split("/") : ["", object?.apiVersion ?? ""];
  return { group: group!, version: version!, kind: object?.kind ?? "" };
}

export function formOf(request: AdmissionRequest, place: Place, registry: Registry): Form {
  const kind = kindOf(request, place, registry);
  const object = request.object as Obj | undefined;
  const oldObject = request.oldObject as Obj | undefined;
  const def = registry.get(request.group, request.version, request.resource);
  const target = registry.get(place.group, place.version, place.resource);
  if (request.subresource === "scale" && def?.scale) {
    const scaled = (state: Obj | undefined) => state && scaleObject(def, state);
    return {
      place, kind, object: scaled(object), oldObject: scaled(oldObject),
      back: (changed) => withReplicas(def, object!, changed.spec?.replicas ?? 0),
    };
  }
  if (!def || !target || def === target || subresourceKinds[request.subresource] || request.operation === "CONNECT") {
    return { place, kind, object, oldObject, back: (changed) => changed };
  }
  const converted = (state: Obj | undefined) => state && convert(state, def, target);
  return { place, kind, object: converted(object), oldObject: converted(oldObject), back: (changed) => convert(changed, target, def) };
}

/** By way of the stored form. */
function convert(object: Obj, from: ResourceDef, to: ResourceDef): Obj {
  const stored = from.toStored ? from.toStored(clone(object)) : clone(object);
  const shown = to.fromStored ? to.fromStored(stored) : stored;
  return { ...shown, apiVersion: apiVersion(to), kind: to.kind };
}
