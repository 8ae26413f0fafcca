/** Admission plugins that run only where `--enable-admission-plugins` names them. */
import { apiError } from "@k3s-p/plugin-api/kube";
import type { AdmissionPlugin, AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { Obj } from "../resources/types.ts";
import { type AdmissionDeps, refuse, toPlugin } from "./common.ts";

/** AlwaysPullImages: whoever runs an image must be able to pull it, also where it lies already. */
export const alwaysPullImages = (): AdmissionPlugin => toPlugin({
  name: "AlwaysPullImages", resources: ["pods"], operations: ["CREATE", "UPDATE"], subresources: ["", "ephemeralcontainers"],
  mutate({ spec }) {
    for (const list of ["initContainers", "containers", "ephemeralContainers"]) {
      for (const container of (spec[list] ?? []) as Obj[]) container["imagePullPolicy"] = "Always";
    }
    for (const volume of (spec.volumes ?? []) as Obj[]) if (volume["image"]) volume["image"].pullPolicy = "Always";
  },
});

/** DenyServiceExternalIPs: addresses that are there may stay or go, none may come. */
export const denyServiceExternalIps = (): AdmissionPlugin => toPlugin({
  name: "DenyServiceExternalIPs", resources: ["services"], operations: ["CREATE", "UPDATE"],
  validate(service, request) {
    const before = new Set<string>(request.oldObject ? (request.oldObject as Obj).spec?.externalIPs : []);
    const added = ((service.spec?.externalIPs ?? []) as string[]).filter((ip) => !before.has(ip));
    if (added.length > 0) throw refuse(request, "Use of external IPs is denied by admission control");
  },
});

export interface EventLimit {
  readonly type: "Server" | "Namespace" | "User" | "SourceAndObject";
  readonly qps: number;
  readonly burst: number;
  /** Keys that are remembered, the least recently used goes first. */
  readonly cacheSize: number;
}

/** EventRateLimit: each key of a limit has a bucket of `burst` Events that fills by `qps` a second. */
export function eventRateLimit({ now }: Pick<AdmissionDeps, "now">, limits: readonly EventLimit[]): AdmissionPlugin {
  const enforcers = limits.map((limit) => ({ ...limit, take: buckets(limit, () => now().getTime()) }));
  return toPlugin({
    name: "EventRateLimit", resources: ["events"], operations: ["CREATE", "UPDATE"],
    validate(event, request) {
      if (request.dryRun) return;
      const reached = enforcers.filter(({ type, take }) => !take(eventKeys[type](event, request))).at(-1);
      if (!reached) return;
      const key = eventKeys[reached.type](event, request);
      throw apiError(429, "TooManyRequests", `Too many requests: limit reached on type ${reached.type} for key ${key}`);
    },
  });
}

const eventKeys: Readonly<Record<EventLimit["type"], (event: Obj, request: AdmissionRequest) => string>> = {
  Server: () => "",
  Namespace: (_, { namespace }) => namespace,
  User: (_, { user }) => user.name,
  SourceAndObject: ({ source = {}, involvedObject: object = {} }) =>
    [source.component, source.host, object.kind, object.namespace, object.name, object.uid, object.apiVersion].join(""),
};

function buckets({ qps, burst, cacheSize }: EventLimit, now: () => number): (key: string) => boolean {
  const known = new Map<string, { tokens: number; at: number }>();
  return (key) => {
    const time = now();
    const { tokens, at } = known.get(key) ?? { tokens: burst, at: time };
    const left = Math.min(burst, tokens + ((time - at) / 1000) * qps);
    known.delete(key);
    known.set(key, { tokens: left >= 1 ? left - 1 : left, at: time });
    if (known.size > cacheSize) known.delete(known.keys().next().value!);
    return left >= 1;
  };
}
