/** One APIService for each group and version that definitions serve, as the aggregator of upstream registers them. */
import { apiServices, isAlreadyExists, isConflict, isNotFound, type KubeClient } from "@k3s-p/plugin-api/kube";
import type { CacheView, Obj } from "../resources/types.ts";

const LABEL = "kube-aggregator.kubernetes.io/automanaged";
const GROUP_PRIORITY = 1000;
const VERSION_PRIORITY = 100;

export interface ApiServicesDeps {
  readonly client: KubeClient;
  readonly view: CacheView;
  readonly onError: (error: unknown) => void;
}

/** `follow` takes the wanted names (`v1.example.com`): what is missing is created, what was made for others is deleted. */
export function createApiServices({ client, view, onError }: ApiServicesDeps): { follow(wanted: ReadonlySet<string>): void } {
  let last = "";
  const quiet = (error: unknown): void => {
    if (isAlreadyExists(error) || isNotFound(error) || isConflict(error)) return;
    // The next change of any definition tries again.
    last = "";
    onError(error);
  };
  return {
    follow(wanted) {
      const text = [...wanted].sort().join();
      if (text === last) return;
      last = text;
      const present: readonly Obj[] = view.list("apiregistration.k8s.io", "apiservices");
      const names = new Set(present.map((object) => object.metadata!.name!));
      for (const name of wanted) if (!names.has(name)) client.create(apiServices, toApiService(name) as never).catch(quiet);
      for (const { metadata, spec } of present) {
        if (metadata!.labels?.[LABEL] === "true" && !spec.service && !wanted.has(metadata!.name!)) client.delete(apiServices, metadata!.name!).catch(quiet);
      }
    },
  };
}

function toApiService(name: string): Obj {
  const dot = name.indexOf(".");
  return {
    apiVersion: "apiregistration.k8s.io/v1", kind: "APIService", metadata: { name, labels: { [LABEL]: "true" } },
    spec: { group: name.slice(dot + 1), version: name.slice(0, dot), groupPriorityMinimum: GROUP_PRIORITY, versionPriority: VERSION_PRIORITY },
  };
}
