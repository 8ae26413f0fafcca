/** The whole chain over a small world of objects, for tests. */
import { type KubeClient, ApiError } from "@k3s-p/plugin-api/kube";
import type { AdmissionRequest } from "@k3s-p/plugin-api/points";
import type { ClusterSettings } from "@k3s-p/plugin-api/slots";
import { createAuthorizer } from "../auth/rbac.ts";
import { testView, type TestView } from "../auth/testing.ts";
import type { Obj } from "../resources/types.ts";
import { type ChainDeps, createChain } from "./index.ts";

export const object = (apiVersion: string, kind: string, name: string, rest: object = {}, namespace?: string): Obj => ({
  apiVersion, kind, metadata: { name, ...(namespace && { namespace }) }, ...rest,
});
export const namespace = (name: string, labels: Record<string, string> = {}, extra: object = {}): Obj =>
  ({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels }, ...extra });
export const account = (name: string, rest: object = {}): Obj => object("v1", "ServiceAccount", name, rest, "ns");
export const pod = (spec: object = {}): Obj =>
  object("v1", "Pod", "p", { spec: { containers: [{ name: "c", image: "i" }], ...spec } }, "ns");

export interface World {
  readonly view: TestView;
  readonly written: Obj[];
  /** What happens while a plugin waits. */
  readonly onSleep: (() => void)[];
  /** What clients and the audit log were told. */
  readonly warnings: string[];
  readonly annotations: Record<string, string>;
  run(object: Obj, more?: Partial<AdmissionRequest>): Promise<Obj>;
}

/** A namespace `ns` with its default account, and what else is given. */
export const world = (...objects: Obj[]): World => worldWith({}, ...objects);

export function worldWith(deps: Partial<ChainDeps>, ...objects: Obj[]): World {
  const view = testView(namespace("ns"), account("default"), ...objects);
  const written: Obj[] = [];
  const onSleep: (() => void)[] = [];
  const warnings: string[] = [];
  const annotations: Record<string, string> = {};
  const client = {
    update: async (_: unknown, next: Obj) => {
      written.push(next);
      const old = view.get("", "resourcequotas", next.metadata!.name!, next.metadata!.namespace)!;
      view.remove(old);
      view.add(next);
      return next;
    },
  } as unknown as KubeClient;
  const plugins = createChain({
    view, client, cluster: {} as ClusterSettings, now: () => new Date(0), authorizer: createAuthorizer(view), random: () => 0,
    sleep: async () => onSleep.splice(0).forEach((act) => act()), ...deps,
  })([]);
  return {
    view, written, onSleep, warnings, annotations,
    async run(given, more = {}) {
      const [group, version] = given.apiVersion!.includes("/") ? given.apiVersion!.split("/") : ["", given.apiVersion!];
      let request: AdmissionRequest = {
        operation: "CREATE", user: { name: "joe", groups: ["system:masters"] }, group: group!, version: version!,
        resource: `${given.kind!.toLowerCase()}s`, subresource: "", namespace: given.metadata?.namespace ?? "",
        name: given.metadata?.name ?? "", object: structuredClone(given), oldObject: undefined, dryRun: false,
        warn: (texts) => void warnings.push(...texts), annotate: (key, value) => void (annotations[key] = value), ...more,
      };
      for (const plugin of plugins) {
        const next = await plugin.mutate?.(request);
        if (next) request = { ...request, object: next };
      }
      for (const plugin of plugins) await plugin.validate?.(request);
      return request.object as Obj;
    },
  };
}

export async function refusal(run: Promise<unknown>): Promise<{ code: number; message: string; causes?: unknown }> {
  try {
    await run;
    return { code: 0, message: "" };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { code: error.code, message: error.message, ...(error.status.details?.causes && { causes: error.status.details.causes }) };
  }
}
