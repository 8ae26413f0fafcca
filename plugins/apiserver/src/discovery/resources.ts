/** Which resources and subresources a group and version serves, with verbs and kinds as discovery states them. */
import type { ResourceDef } from "../resources/types.ts";

export interface Kind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export interface DiscoveredSubresource {
  readonly name: string;
  readonly responseKind: Kind;
  readonly verbs: readonly string[];
}

export interface DiscoveredResource {
  readonly name: string;
  readonly singular: string;
  readonly namespaced: boolean;
  readonly responseKind: Kind;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly subresources: readonly DiscoveredSubresource[];
}

const readWrite = ["get", "patch", "update"];
const connect = ["create", "get"];

/** Verbs, and the kind where it is not the resource's own. */
const subresources: Readonly<Record<string, { readonly verbs: readonly string[]; readonly kind?: (def: ResourceDef) => Kind }>> = {
  status: { verbs: readWrite },
  scale: { verbs: readWrite, kind: () => ({ group: "autoscaling", version: "v1", kind: "Scale" }) },
  approval: { verbs: readWrite },
  ephemeralcontainers: { verbs: readWrite },
  resize: { verbs: readWrite },
  finalize: { verbs: ["update"] },
  log: { verbs: ["get"] },
  binding: { verbs: ["create"], kind: (def) => own(def, "Binding") },
  eviction: { verbs: ["create"], kind: () => ({ group: "policy", version: "v1", kind: "Eviction" }) },
  token: { verbs: ["create"], kind: () => ({ group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" }) },
  exec: { verbs: connect, kind: (def) => own(def, "PodExecOptions") },
  attach: { verbs: connect, kind: (def) => own(def, "PodAttachOptions") },
  portforward: { verbs: connect, kind: (def) => own(def, "PodPortForwardOptions") },
  proxy: { verbs: ["create", "delete", "get", "patch", "update"], kind: (def) => own(def, `${def.kind}ProxyOptions`) },
};

const own = ({ group, version }: ResourceDef, kind: string): Kind => ({ group, version, kind });

export function discoveredResources(defs: readonly ResourceDef[]): DiscoveredResource[] {
  return defs.map(toDiscovered).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function toDiscovered(def: ResourceDef): DiscoveredResource {
  const { shortNames, categories } = def;
  return {
    name: def.plural,
    singular: def.singular,
    namespaced: def.namespaced,
    responseKind: own(def, def.kind),
    verbs: [...def.verbs].sort(),
    ...(shortNames?.length && { shortNames }),
    ...(categories?.length && { categories }),
    subresources: [...(def.subresources ?? [])].sort().map((name) => {
      const known = subresources[name];
      return { name, responseKind: known?.kind?.(def) ?? own(def, def.kind), verbs: known?.verbs ?? readWrite };
    }),
  };
}
