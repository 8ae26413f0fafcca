/** Conversion between versions by a webhook or by a plugin: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/ */
import { randomUUID } from "node:crypto";
import { apiError } from "@k3s-p/plugin-api/kube";
import type { Contribution } from "@k3s-p/plugin-api";
import type { ResourceConversion } from "@k3s-p/plugin-api/points";
import { callContributed } from "../server/contributed.ts";
import { type Histogram, histogram } from "../server/metric-families.ts";
import type { Obj, ResourceDef } from "../resources/types.ts";
import type { ClientConfig, WebhookClient } from "../webhook/client.ts";

export interface ConversionProps {
  readonly strategy?: string;
  readonly webhook?: { readonly clientConfig: ClientConfig; readonly conversionReviewVersions: readonly string[] };
}

/** Objects in another version, in the same order; rejects with what clients are told. */
export type Convert = (objects: readonly Obj[], apiVersion: string) => Promise<readonly Obj[]>;

const TIMEOUT = 30;
const known = ["v1", "v1beta1"];

/** Undefined when versions differ by their name alone. */
export function webhookConversion({ strategy, webhook }: ConversionProps, kind: string, client: WebhookClient): Convert | undefined {
  if (strategy !== "Webhook" || !webhook) return undefined;
  const version = webhook.conversionReviewVersions.find((name) => known.includes(name)) ?? "v1";
  return async (objects, apiVersion) => {
    const uid = randomUUID();
    const review = { kind: "ConversionReview", apiVersion: `apiextensions.k8s.io/${version}`, request: { uid, desiredAPIVersion: apiVersion, objects } };
    const fail = (why: string): Error => apiError(500, "InternalError", `conversion webhook for ${objects[0]!.apiVersion}, Kind=${kind} failed: ${why}`);
    const answer = await client.post(webhook.clientConfig, JSON.stringify(review), TIMEOUT).catch((error: unknown) => {
      throw fail((error as Error).message);
    });
    return accepted(answer, uid, objects, apiVersion, fail);
  };
}

/** What plugins contribute: the conversion of a kind, if one has it. */
export interface Conversions {
  find(group: string, kind: string): Contribution<ResourceConversion> | undefined;
  onChange(fn: () => void): () => void;
}

export const noConversions: Conversions = { find: () => undefined, onChange: () => () => {} };

const BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 10];
export const conversionTimes = (): Histogram =>
  histogram("apiserver_crd_conversion_plugin_duration_seconds", "Latency of conversions by plugins.", BUCKETS);

export function pluginConversion({ plugin, impl }: Contribution<ResourceConversion>, times: Histogram): Convert {
  const { group, kind } = impl;
  return async (objects, apiVersion) => {
    const converted = await callContributed({
      plugin, what: `conversion of ${kind}.${group}`,
      measure: (seconds, failed) => times.observe({ group, kind, plugin, result: failed ? "failure" : "success" }, seconds),
    }, () => impl.convert(objects, apiVersion) as readonly Obj[] | Promise<readonly Obj[]>);
    const fail = (why: string): Error => apiError(500, "InternalError", `Internal error occurred: conversion of ${objects[0]!.apiVersion}, Kind=${kind} by plugin ${JSON.stringify(plugin)} failed: ${why}`);
    return checkedAll(converted, objects, apiVersion, fail);
  };
}

function accepted(answer: unknown, uid: string, objects: readonly Obj[], apiVersion: string, fail: (why: string) => Error): readonly Obj[] {
  const { response } = (answer ?? {}) as { response?: Obj };
  if (!response) throw fail("the answer has no response");
  if (response["uid"] !== uid) throw fail(`expected response.uid ${JSON.stringify(uid)}, got ${JSON.stringify(response["uid"] ?? "")}`);
  if (response["result"]?.status !== "Success") throw fail(response["result"]?.message || "response.result.status was not \"Success\"");
  return checkedAll(response["convertedObjects"] ?? [], objects, apiVersion, fail);
}

function checkedAll(converted: readonly Obj[], objects: readonly Obj[], apiVersion: string, fail: (why: string) => Error): readonly Obj[] {
  if (converted.length !== objects.length) throw fail(`expected ${objects.length} converted objects, got ${converted.length}`);
  return converted.map((object, i) => checked(object, objects[i]!, apiVersion, (why) => fail(`invalid converted object at index ${i}: ${why}`)));
}

/** Of the metadata a conversion may change labels and annotations and nothing else. */
function checked(object: Obj, before: Obj, apiVersion: string, fail: (why: string) => Error): Obj {
  if (object.apiVersion !== apiVersion) throw fail(`invalid apiVersion ${JSON.stringify(object.apiVersion)}`);
  if (object.kind !== before.kind) throw fail(`invalid kind ${JSON.stringify(object.kind)}`);
  for (const key of ["name", "namespace", "uid"] as const) {
    if ((object.metadata?.[key] ?? "") !== (before.metadata?.[key] ?? "")) throw fail(`metadata.${key} was changed`);
  }
  const { labels, annotations } = object.metadata ?? {};
  const { labels: _, annotations: __, ...rest } = before.metadata ?? {};
  return { ...object, metadata: { ...rest, ...(labels && { labels }), ...(annotations && { annotations }) } } as Obj;
}

type Steps = Required<Pick<ResourceDef, "prepareRead" | "prepareWrite" | "toStored" | "fromStored">>;

/**
 * The engine converts without waiting, so what it is going to show or store is converted before: `prepareRead` and
 * `prepareWrite` put the results where `fromStored` and `toStored` find them.
 */
export function convertedSteps(convert: Convert, own: string, kept: string): Steps {
  const shown = new Map<string, Obj>();
  const written = new WeakMap<Obj, Obj>();
  const keyOf = ({ apiVersion, metadata }: Obj): string => `${metadata!.uid}/${metadata!.resourceVersion}/${apiVersion}`;
  return {
    async prepareRead(entries) {
      const objects = entries.map((entry) => entry.object).filter((object) => object.apiVersion !== own && !shown.has(keyOf(object)));
      if (objects.length === 0) return;
      const converted = await convert(objects, own);
      if (shown.size > MAX_SHOWN) shown.clear();
      objects.forEach((object, i) => shown.set(keyOf(object), converted[i]!));
    },
    fromStored(object) {
      if (object.apiVersion === own) return object;
      const found = shown.get(keyOf(object));
      if (!found) throw apiError(500, "InternalError", `Internal error occurred: ${object.kind} ${object.metadata!.name} has not been converted to ${own}`);
      return structuredClone(found);
    },
    async prepareWrite(object) {
      if (own === kept) return;
      const [converted] = await convert([object], kept);
      written.set(object, converted!);
    },
    toStored(object) {
      const found = own === kept ? object : written.get(object);
      if (!found) throw apiError(500, "InternalError", `Internal error occurred: ${object.kind} ${object.metadata?.name} has not been converted to ${kept}`);
      return found;
    },
  };
}

/** Results wait here only until they are shown for the first time; the rows remember what they show. */
const MAX_SHOWN = 10_000;
