/** Extension points: contracts with many contributors. */
import { definePoint } from "../contract.ts";
import type { UserInfo } from "../slots/apiserver.ts";
import type { KubeObject } from "../kube/types.ts";
import { authenticator, authorizer } from "./access.ts";
import { route } from "./route.ts";

export * from "./access.ts";
export * from "./route.ts";

/** What an admission plugin sees of a write. */
export interface AdmissionRequest {
  readonly operation: "CREATE" | "UPDATE" | "DELETE" | "CONNECT";
  readonly user: UserInfo;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly object: KubeObject | undefined;
  readonly oldObject: KubeObject | undefined;
  readonly dryRun: boolean;
  /** CreateOptions, UpdateOptions, PatchOptions or DeleteOptions of the request. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Tells the client something beside the answer. */
  readonly warn?: (warnings: readonly string[]) => void;
  /** Adds to the audit log's record of the request; absent when there is none. */
  readonly annotate?: (key: string, value: string) => void;
}

/**
 * A member of the admission chain: after the built-in plugins, and before policies, webhooks and the quota. Mutators run
 * before validators; each may return the object to go on with. Throw an `ApiError` to refuse. What throws something else, or
 * does not answer within 10 s, fails the request with 500 and the names of the plugin.
 */
export interface AdmissionPlugin {
  readonly name: string;
  /** `pods`, `ingresses.networking.k8s.io`: it is asked about these alone. Default: about every write. */
  readonly resources?: readonly string[];
  readonly mutate?: (request: AdmissionRequest) => KubeObject | undefined | Promise<KubeObject | undefined>;
  readonly validate?: (request: AdmissionRequest) => void | Promise<void>;
}
export const admission = definePoint<AdmissionPlugin>("apiserver.admission");

/** A printer column of kubectl's table; `path` is a JSONPath such as `.spec.source`, `priority` 0 shows always. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: "string" | "integer" | "date" | "boolean" | "number";
  readonly path: string;
  readonly priority?: number;
  readonly description?: string;
}

/** A resource that a plugin adds to the API server; stored and served as the built-in ones are. */
export interface NativeResource {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly subresources?: readonly ("status" | "scale")[];
  readonly columns?: readonly PrinterColumn[];
  /**
   * Structural OpenAPI v3 schema, as in a CustomResourceDefinition: objects are pruned, defaulted and validated by it, with
   * its CEL rules. Without it every field is kept.
   */
  readonly schema?: object;
}
export const nativeResource = definePoint<NativeResource>("apiserver.resource");

/** Converts custom resources between the versions of their definition, in place of what its `spec.conversion` says. */
export interface ResourceConversion {
  readonly group: string;
  readonly kind: string;
  /**
   * The same objects in another `apiVersion`, in the same order. Of the metadata, labels and annotations may change. What
   * throws, or does not answer within 10 s, fails the request with 500.
   */
  convert(objects: readonly KubeObject[], apiVersion: string): readonly KubeObject[] | Promise<readonly KubeObject[]>;
}
export const conversion = definePoint<ResourceConversion>("apiserver.conversion");

export interface HealthCheck {
  readonly name: string;
  check(): Promise<{ readonly ok: boolean; readonly message?: string }>;
}
export const healthCheck = definePoint<HealthCheck>("health.check");

/** How the providers of slots are; the kernel contributes what it knows of its plugins. The API server's `componentstatuses` tells it. */
export interface SlotHealth {
  read(slot: string): Promise<{ readonly ok: boolean; readonly message?: string }>;
}
export const slotHealth = definePoint<SlotHealth>("health.slot");

/** RBAC rules of one user beyond its role bindings; the kernel contributes what a plugin's manifest declares. */
export interface ApiGrant {
  readonly user: string;
  readonly rules: readonly {
    readonly verbs: readonly string[];
    readonly apiGroups?: readonly string[];
    readonly resources?: readonly string[];
    readonly nonResourceURLs?: readonly string[];
  }[];
}
export const apiGrant = definePoint<ApiGrant>("apiserver.grant");

/** A part of the server's `/metrics`. */
export interface MetricsSource {
  /** Prometheus' text form, each line ended by a newline; called at every scrape. */
  render(): string;
}
export const metricsSource = definePoint<MetricsSource>("metrics.source");

/**
 * What somebody who looks for a fault wants to know, as JSON at the API server's `/debug/NAME`. Only those may read it whose
 * role names that URL: nobody but the members of `system:masters`, until somebody grants it.
 */
export interface DebugPage {
  readonly name: string;
  /** Called at every request. */
  read(): unknown;
}
export const debugPage = definePoint<DebugPage>("debug.page");

export const pointCatalogue = [admission, apiGrant, authenticator, authorizer, conversion, debugPage, healthCheck, metricsSource, nativeResource, route, slotHealth] as const;
