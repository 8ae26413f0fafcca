/** Keeps the default objects as they must be, and writes into each FlowSchema whether its priority level exists. */
import { defineResource, isConflict, isNotFound, type KubeClient, setCondition, timestamp } from "@k3s-p/plugin-api/kube";
import type { CacheView, Obj } from "../resources/types.ts";
import { GROUP } from "./index.ts";

const flowSchemas = defineResource(GROUP, "v1", "flowschemas", "FlowSchema", "cluster");

export interface KeeperDeps {
  readonly client: KubeClient;
  readonly view: CacheView;
  readonly repair: () => Promise<void>;
  readonly now: () => Date;
  readonly onError: (error: unknown) => void;
}

/** Returns what to call after every change of a FlowSchema or PriorityLevelConfiguration; one round at a time. */
export function createKeeper({ client, view, repair, now, onError }: KeeperDeps): () => void {
  let isRunning = false;
  let isAsked = false;

  async function mark(schema: Obj): Promise<void> {
    const level = String(schema.spec?.priorityLevelConfiguration?.name ?? "");
    const exists = view.get(GROUP, "prioritylevelconfigurations", level) !== undefined;
    const before = schema.status?.conditions;
    const conditions = setCondition(before, {
      type: "Dangling", status: exists ? "False" : "True", reason: exists ? "Found" : "NotFound",
      message: `This FlowSchema references the PriorityLevelConfiguration object named "${level}" ${exists ? "and it exists" : "but there is no such object"}`,
    }, timestamp(now()));
    if (conditions === before) return;
    try {
      await client.update(flowSchemas, { ...schema, status: { ...schema.status, conditions } } as never, { subresource: "status" });
    } catch (error) {
      // Changed or gone meanwhile: that change asks for another round.
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }

  async function rounds(): Promise<void> {
    while (isAsked) {
      isAsked = false;
      await repair();
      await Promise.all(view.list(GROUP, "flowschemas").map(mark));
    }
  }

  return function keep(): void {
    isAsked = true;
    if (isRunning) return;
    isRunning = true;
    void rounds().catch(onError).finally(() => (isRunning = false));
  };
}
