/** Follows policies, pods and namespaces, and brings the table of this node in step with them. */
import type { Logger } from "@k3s-p/plugin-api";
import { namespaces, networkPolicies, pods, type KubeClient } from "@k3s-p/plugin-api/kube";
import { factsOf, rulesetOf, type Ruleset } from "./rules.ts";
import { difference, fullLoad } from "./table.ts";

export interface ControllerOptions {
  readonly kube: Pick<KubeClient, "informer">;
  readonly nodeName: string;
  readonly table: string;
  /** Runs one transaction; rejects with nft's text, in which case nothing of it was applied. */
  readonly apply: (transaction: string) => Promise<void>;
  readonly log: Logger;
}

export interface Controller {
  /** Resolves when everything known at the time of the call is in the kernel; rejects with nft's text. */
  synced(): Promise<void>;
  /** Ends, and resolves when no transaction is under way any more. */
  stop(): Promise<void>;
}

const retryDelays = [100, 1000, 5000, 30_000];

export function startController({ kube, nodeName, table, apply, log }: ControllerOptions): Controller {
  const informers = { policies: kube.informer(networkPolicies), pods: kube.informer(pods), namespaces: kube.informer(namespaces) };
  const all = Object.values(informers);
  const halted = Promise.withResolvers<void>();
  const ready = Promise.race([Promise.all(all.map(({ synced }) => synced)), halted.promise]);
  /** What the kernel has; undefined when that is not known. */
  let applied: Ruleset | undefined;
  let running: Promise<void> = Promise.resolve();
  let queued: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let failures = 0;
  let stopped = false;

  async function load(): Promise<void> {
    const [policies, known, spaces] = [informers.policies.list(), informers.pods.list(), informers.namespaces.list()];
    const next = rulesetOf({ nodeName, policies, pods: known, namespaces: spaces });
    if (applied) {
      const transaction = difference(table, applied, next);
      const done = !transaction || (await apply(transaction).then(() => true, (error: Error) => refused(error)));
      if (done) return void (applied = next);
    }
    applied = undefined;
    await apply(fullLoad(table, next));
    applied = next;
  }

  /** As when somebody else removed the table. */
  function refused(error: Error): false {
    log.warn({ error: error.message.slice(0, 500) }, "nft refused a change: loading all rules");
    return false;
  }

  /** One load at a time; whatever comes in before it begins is part of it. */
  function sync(): Promise<void> {
    queued ??= running.catch(() => {}).then(() => ready).then(() => new Promise(setImmediate)).then(async () => {
      queued = undefined;
      if (!stopped) await load();
      failures = 0;
    });
    return (running = queued);
  }

  function changed(): void {
    if (timer || stopped) return;
    sync().catch((error: Error) => {
      const delay = retryDelays[Math.min(failures++, retryDelays.length - 1)]!;
      log.error({ error: error.message.slice(0, 500) }, `nft refused the rules: again in ${delay} ms`);
      timer ??= stopped ? undefined : setTimeout(() => ((timer = undefined), changed()), delay);
    });
  }

  informers.policies.on({ added: changed, updated: changed, deleted: changed });
  informers.namespaces.on({ added: changed, updated: ifOther(({ metadata }) => metadata.labels), deleted: changed });
  informers.pods.on({ added: changed, updated: ifOther(factsOf), deleted: changed });

  /** Most updates of a pod are of no concern to rules. */
  function ifOther<T>(concern: (object: T) => unknown): (object: T, previous: T) => void {
    return (object, previous) => void (JSON.stringify(concern(object)) !== JSON.stringify(concern(previous)) && changed());
  }

  return {
    synced: sync,
    async stop() {
      stopped = true;
      halted.resolve();
      clearTimeout(timer);
      for (const informer of all) informer.stop();
      await running.catch(() => {});
    },
  };
}
