/**
 * The Kubernetes client of a plugin. In the server's process it reads the API server's object cache by reference:
 * everything returned is frozen and shared, so copy before you change (`structuredClone`, or spread the touched path).
 */
import type { Resource } from "./resources.ts";
import type { KubeObject, List, Status, WatchEvent } from "./types.ts";

export interface ListOptions {
  readonly namespace?: string;
  /** `a=b,c in (d,e),!f` */
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  readonly limit?: number;
  readonly continue?: string;
  readonly resourceVersion?: string;
}

export interface WriteOptions {
  readonly dryRun?: boolean;
  readonly fieldManager?: string;
  /** `status`, `scale`, `binding`, `eviction`, `token`, ... */
  readonly subresource?: string;
}

export interface CreateOptions extends WriteOptions {
  /** Parent's name, for creates on a subresource. */
  readonly name?: string;
  readonly namespace?: string;
}

export type PatchType = "json" | "merge" | "strategic" | "apply";

export interface PatchOptions extends WriteOptions {
  readonly type?: PatchType;
  readonly namespace?: string;
  /** Server-side apply: take over fields of other managers. */
  readonly force?: boolean;
}

export interface DeleteOptions {
  readonly namespace?: string;
  readonly gracePeriodSeconds?: number;
  readonly propagationPolicy?: "Orphan" | "Background" | "Foreground";
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly dryRun?: boolean;
}

export interface InformerHandlers<T> {
  added?(object: T): void;
  updated?(object: T, previous: T): void;
  deleted?(object: T): void;
}

export interface InformerOptions<T> {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** Named indexes: each function returns the keys under which an object is found with `byIndex`. */
  readonly indexes?: Readonly<Record<string, (object: T) => readonly string[]>>;
}

/** A live, always current view of one resource. In the server process it holds no copy. */
export interface Informer<T> {
  /** Resolves when the first list is in. */
  readonly synced: Promise<void>;
  get(name: string, namespace?: string): T | undefined;
  list(namespace?: string): readonly T[];
  /** Throws for an index that is not among `indexes`. */
  byIndex(index: string, key: string): readonly T[];
  /** Replays what is there as `added`, then follows changes in order; returns the unsubscribe function. */
  on(handlers: InformerHandlers<T>): () => void;
  stop(): void;
}

/** Every method rejects with an `ApiError` that carries the server's `Status`. */
export interface KubeClient {
  get<T extends KubeObject>(resource: Resource<T>, name: string, namespace?: string): Promise<T>;
  list<T extends KubeObject>(resource: Resource<T>, options?: ListOptions): Promise<List<T>>;
  create<T extends KubeObject, R extends KubeObject = T>(resource: Resource<T>, object: R, options?: CreateOptions): Promise<R>;
  update<T extends KubeObject>(resource: Resource<T>, object: T, options?: WriteOptions): Promise<T>;
  /** Default type `merge`. */
  patch<T extends KubeObject>(resource: Resource<T>, name: string, patch: object, options?: PatchOptions): Promise<T>;
  delete<T extends KubeObject>(resource: Resource<T>, name: string, options?: DeleteOptions): Promise<T | Status>;
  deleteCollection(resource: Resource, options?: ListOptions & DeleteOptions): Promise<void>;
  watch<T extends KubeObject>(
    resource: Resource<T>,
    options: ListOptions & { readonly signal?: AbortSignal },
    onEvent: (event: WatchEvent<T>) => void,
  ): Promise<void>;
  informer<T extends KubeObject>(resource: Resource<T>, options?: InformerOptions<T>): Informer<T>;
  /** Any path of the API, for what the typed methods do not cover (discovery, proxies, `metrics.k8s.io`). */
  request(method: string, path: string, body?: object): Promise<{ readonly status: number; readonly body: unknown }>;
}
