/** The row type of the resource tables, and what the generic engine gives a row's functions. */
import type { FieldError, KubeObject } from "@k3s-p/plugin-api/kube";
import type { ClusterSettings, UserInfo } from "@k3s-p/plugin-api/slots";

/** Objects inside the server are plain JSON; tables address them without the models' types. */
export type Obj = KubeObject & { [field: string]: any };

export type Verb = "create" | "delete" | "deletecollection" | "get" | "list" | "patch" | "update" | "watch";

/** Read access to the object cache for strategies, admission and authorization; synchronous and by reference. */
export interface CacheView {
  get(group: string, plural: string, name: string, namespace?: string): Obj | undefined;
  list(group: string, plural: string, namespace?: string): readonly Obj[];
}

export interface StrategyContext {
  /** RFC 3339, whole seconds. */
  readonly now: string;
  readonly user: UserInfo;
  readonly view: CacheView;
  readonly cluster: ClusterSettings;
  readonly dryRun: boolean;
  /** Name of the subresource that is written (`ephemeralcontainers`, `resize`, ...); absent or "" for the object itself. */
  readonly subresource?: string;
}

export interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "number" | "boolean" | "date";
  readonly format?: string;
  readonly description?: string;
  /** 0 shows always, 1 with `-o wide`. */
  readonly priority?: number;
  /** The cell, as upstream's printers compute it. `now` is Unix milliseconds, for ages. */
  readonly value: (object: Obj, now: number) => string | number | boolean | null;
}

export interface ScaleDef {
  /** Dotted paths such as `spec.replicas`, `status.replicas`, `spec.selector`. */
  readonly specReplicas: string;
  readonly statusReplicas: string;
  readonly selector: string;
}

/**
 * One served resource. Several rows may share one stored resource (`storedAs`): `events` of core and events.k8s.io,
 * autoscaling v1 and v2. Functions mutate the object that they are given; the engine hands them a private copy.
 */
export interface ResourceDef {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly Verb[];
  /** Names: `status`, `scale`, `binding`, `eviction`, `token`, `log`, `exec`, `attach`, `portforward`, `proxy`, `ephemeralcontainers`, `resize`, `finalize`, `approval`. */
  readonly subresources?: readonly string[];
  readonly scale?: ScaleDef;
  readonly columns?: readonly Column[];
  /** Fields beyond metadata.name and metadata.namespace. Value as text; "" when absent. */
  readonly selectableFields?: Readonly<Record<string, (object: Obj) => string>>;
  /** Where and in which version the object is kept, when not in this one. */
  readonly storedAs?: { readonly group: string; readonly version: string; readonly plural: string };
  readonly toStored?: (object: Obj) => Obj;
  readonly fromStored?: (object: Obj) => Obj;
  /** Waits until `fromStored` can convert these at once: for conversions that somebody else does. */
  readonly prepareRead?: (entries: readonly { readonly object: Obj }[]) => Promise<void>;
  /** Waits until `toStored` can convert this very object at once. */
  readonly prepareWrite?: (object: Obj) => Promise<void>;
  /** The kept form of this very object is also the served one: `fromStored` would change nothing. */
  readonly isCurrent?: (object: Obj) => boolean;
  /** `lazy`: written behind (Events, Leases). */
  readonly tier?: "durable" | "lazy";
  readonly ttlSeconds?: number;
  /** Upstream's defaults, applied to every decoded body. */
  readonly defaults?: (object: Obj) => void;
  /** Strategy: drop what a client may not set (status on create), allocate addresses; may throw an ApiError. */
  readonly prepareCreate?: (object: Obj, ctx: StrategyContext) => void;
  /** Keeps status; the engine bumps `metadata.generation` when `spec` (or what `generationOf` returns) changed. */
  readonly prepareUpdate?: (object: Obj, old: Obj, ctx: StrategyContext) => void;
  /** For writes on `status` (and `approval`); the engine has already restored all but status (and metadata's free parts). */
  readonly prepareStatusUpdate?: (object: Obj, old: Obj, ctx: StrategyContext) => void;
  readonly validate?: (object: Obj, ctx: StrategyContext) => FieldError[];
  readonly validateUpdate?: (object: Obj, old: Obj, ctx: StrategyContext) => FieldError[];
  /** For writes on `status` (and `approval`), where all but status is as it was. */
  readonly validateStatusUpdate?: (object: Obj, old: Obj, ctx: StrategyContext) => FieldError[];
  /** Texts for the client about what is accepted and probably not meant; for new objects, and with the old one for changed specs. */
  readonly warnings?: (object: Obj, old?: Obj) => readonly string[];
  /** Changes an object that is deleted for the first time, such as by a finalizer. */
  readonly prepareDelete?: (object: Obj, now: string) => void;
  /** What a change of bumps the generation; undefined = the kind has no generation. */
  readonly generationOf?: (object: Obj) => unknown;
  /** Rule for metadata.name; default DNS-1123 subdomain. */
  readonly nameRule?: "dns1123subdomain" | "dns1123label" | "dns1035label" | "path";
  /** `pod`: deletion waits for the grace period and the kubelet. `namespace`: waits for `spec.finalizers`. */
  readonly deletion?: "pod" | "namespace";
  /** Default propagation of a delete without options; upstream's `Background` unless said. */
  readonly defaultPropagation?: "Background" | "Orphan";
  /** The answer of a deletion is the last state; for all other kinds it is a Status. */
  readonly returnsDeleted?: boolean;
  /** PUT on a missing object creates it (leases, endpoints, ...). */
  readonly createOnUpdate?: boolean;
  /** PUT names the version that it replaces; elsewhere one without a version replaces whatever there is. */
  readonly needsVersion?: boolean;
  /** Never stored: the answer is computed from the body (TokenReview, SubjectAccessReview, ...). */
  readonly virtual?: boolean;
  /** Comes from a CustomResourceDefinition: it has no strategic merge patch, and PUT names the version that it replaces. */
  readonly custom?: boolean;
  /** Sent as a warning with every use. */
  readonly deprecationWarning?: string;
}
