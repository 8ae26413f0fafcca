/** What the built-in admission plugins share. */
import { forbidden } from "@k3s-p/plugin-api/kube";
import type { ApiError, KubeClient } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import type { Authorizer } from "../auth/rbac.ts";
import type { CacheView, Obj } from "../resources/types.ts";

export interface AdmissionDeps {
  readonly view: CacheView;
  readonly cluster: ClusterSettings;
  readonly now: () => Date;
  /** For the usage that ResourceQuota writes down. */
  readonly client: KubeClient;
  readonly authorizer: Authorizer;
  readonly random?: () => number;
  readonly sleep?: (milliseconds: number) => Promise<unknown>;
}

/** A plugin that acts on a few resources and operations; the object that it is given may be changed in place. */
export interface Rule {
  readonly name: string;
  /** `pods`, `ingresses.networking.k8s.io`; `*` = all. */
  readonly resources: readonly string[];
  readonly operations: readonly AdmissionRequest["operation"][];
  /** Default: none but the object itself. */
  readonly subresources?: readonly string[];
  readonly mutate?: (object: Obj, request: AdmissionRequest) => void | Promise<void>;
  readonly validate?: (object: Obj, request: AdmissionRequest) => void | Promise<void>;
}

/** What of a request says which plugins it concerns. */
export type Concern = Pick<AdmissionRequest, "operation" | "group" | "resource" | "subresource">;

/** A plugin that tells for which requests it is: the chain asks once, and leaves it out of others. */
export interface SelectivePlugin extends AdmissionPlugin {
  readonly concerns?: (request: Concern) => boolean;
  /** Whether its `mutate` leaves objects alone, at present or always; absent = it may change them in place. */
  readonly changesNothing?: () => boolean;
}

export function toPlugin({ name, resources, operations, subresources = [""], mutate, validate }: Rule): SelectivePlugin {
  const all = resources.includes("*");
  const applies = (request: Concern): boolean =>
    operations.includes(request.operation) && (all || resources.includes(resourceOf(request))) &&
    subresources.includes(request.subresource);
  return {
    name, concerns: applies,
    ...(mutate && {
      mutate: (request: AdmissionRequest) => {
        const object = (request.object ?? request.oldObject) as Obj | undefined;
        const pending = object && applies(request) ? mutate(object, request) : undefined;
        return pending ? pending.then(() => request.object) : request.object;
      },
    }),
    ...(validate && {
      validate: (request: AdmissionRequest) => {
        const object = (request.object ?? request.oldObject) as Obj | undefined;
        return object && applies(request) ? validate(object, request) : undefined;
      },
    }),
  };
}

export const resourceOf = ({ group, resource }: Pick<AdmissionRequest, "group" | "resource">): string =>
  group ? `${resource}.${group}` : resource;

/** 403 about the object of the request. */
export function refuse(request: AdmissionRequest, why: string): ApiError {
  const meta = request.object?.metadata;
  const name = request.name || meta?.name || meta?.generateName || "Unknown";
  return forbidden({ group: request.group, plural: request.resource }, name, why);
}

/** Upstream's aggregate: one message as it is, several in brackets. */
export const joinErrors = (messages: readonly string[]): string =>
  messages.length === 1 ? messages[0]! : `[${messages.join(", ")}]`;

export const isMirrorPod = (pod: Obj): boolean => pod.metadata?.annotations?.["kubernetes.io/config.mirror"] !== undefined;

/** Newest first, then by name: the order in which upstream prefers one of several defaults. */
export function newestDefault(objects: readonly Obj[], annotations: readonly string[]): Obj | undefined {
  const marked = objects.filter((object) => annotations.some((key) => object.metadata?.annotations?.[key] === "true"));
  const time = (object: Obj) => object.metadata?.creationTimestamp ?? "";
  return marked.sort((a, b) => (time(a) === time(b) ? (a.metadata!.name! < b.metadata!.name! ? -1 : 1) : time(a) < time(b) ? 1 : -1))[0];
}
