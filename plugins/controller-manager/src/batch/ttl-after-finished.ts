/** The ttl-after-finished controller: deletes Jobs some time after they ended. */
import { isConflict, isNotFound, jobs, splitKey, type Job } from "@k3s-p/plugin-api/kube";
import { createController, type ControllerDeps } from "../controller.ts";

export function start(deps: ControllerDeps): void {
  const { client, now } = deps;
  const c = createController(deps, "ttl-after-finished");
  const informer = c.follow(jobs, (job, { deleted }) =>
    deleted || dueAt(job) === undefined ? undefined : `${job.metadata.namespace}/${job.metadata.name}`,
  );
  c.run(reconcile);

  async function reconcile(key: string): Promise<number | void> {
    const [namespace, name] = splitKey(key);
    const job = informer.get(name, namespace);
    const due = job && dueAt(job);
    if (due === undefined) return;
    if (due > now().getTime()) return due - now().getTime();
    try {
      // The TTL may have been raised since: the server's copy decides.
      const live = await client.get(jobs, name, namespace);
      const fresh = dueAt(live);
      if (live.metadata.uid !== job!.metadata.uid || fresh === undefined) return;
      if (fresh > now().getTime()) return fresh - now().getTime();
      await client.delete(jobs, name, {
        namespace,
        propagationPolicy: "Foreground",
        preconditions: { uid: live.metadata.uid },
      });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }
}

/** When a finished Job is to be deleted; undefined when it is not. */
function dueAt(job: Job): number | undefined {
  const ttl = job.spec?.ttlSecondsAfterFinished;
  const end = job.status?.conditions?.find((c) => (c.type === "Complete" || c.type === "Failed") && c.status === "True");
  if (ttl === undefined || !end?.lastTransitionTime || job.metadata.deletionTimestamp) return undefined;
  return Date.parse(end.lastTransitionTime) + ttl * 1000;
}
