/** Creations on pods that change the pod itself: binding to a node, and eviction under its disruption budgets. */
import { apiError, badRequest, conflict, forbidden, matchesSelector, notFound, setCondition, timestamp, type Status } from "@k3s-p/plugin-api/kube";
import type { Obj } from "../resources/types.ts";
import { admissionRequest, type Call, clone, collectionOf, type Engine } from "./engine.ts";
import { type Deletion, remove } from "./delete.ts";
import { modify } from "./update.ts";

const success: Status = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 };

/** Binds a pod to the node that the Binding names; a pod is bound once. */
export async function bind(engine: Engine, call: Call, binding: Obj): Promise<Status> {
  checkName(call, binding, "Binding");
  const node: string = binding.target?.name ?? "";
  if (!node) throw badRequest("target.name: Required value");
  if (binding.target.kind && binding.target.kind !== "Node") throw badRequest(`target.kind: Unsupported value: ${JSON.stringify(binding.target.kind)}: supported values: "Node", "<empty>"`);
  binding = await admitted(engine, call, binding);
  const refuse = (why: string): Error => conflict({ group: "", plural: "pods/binding" }, call.name, why);
  await modify(engine, { ...call, subresource: "binding" }, {
    next(old) {
      const { uid, annotations, labels } = binding.metadata ?? {};
      if (uid && uid !== old.metadata!.uid) throw refuse(`Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata!.uid}`);
      if (old.metadata!.deletionTimestamp) throw refuse(`pod ${call.name} is being deleted, cannot be assigned to a host`);
      if (old.spec.nodeName) throw refuse(`pod ${call.name} is already assigned to node ${JSON.stringify(old.spec.nodeName)}`);
      if (old.spec.schedulingGates?.length) throw refuse(`pod ${call.name} has non-empty .spec.schedulingGates`);
      const next = clone(old);
      delete next.metadata!.resourceVersion;
      next.spec.nodeName = node;
      if (annotations) next.metadata!.annotations = { ...next.metadata!.annotations, ...annotations };
      if (labels) next.metadata!.labels = { ...next.metadata!.labels, ...labels };
      const scheduled = { type: "PodScheduled", status: "True", observedGeneration: next.metadata!.generation };
      // What the scheduler hoped for is settled by now.
      const { nominatedNodeName: _, ...status } = next.status ?? {};
      next.status = { ...status, conditions: setCondition(status.conditions, scheduled, timestamp(engine.now())) };
      return next;
    },
  });
  return success;
}

/** What asks for one pod does nothing to another. */
function checkName(call: Call, { metadata }: Obj, kind: string): void {
  if (metadata?.name !== call.name) throw badRequest(`name in URL does not match name in ${kind} object`);
}

async function admitted(engine: Engine, call: Call, object: Obj): Promise<Obj> {
  const next = await engine.admission.mutate(admissionRequest(call, "CREATE", object, undefined));
  await engine.admission.validate(admissionRequest(call, "CREATE", next, undefined));
  return next;
}

/** Deletes a pod if no disruption budget forbids it: 429 otherwise. */
export async function evict(engine: Engine, call: Call, eviction: Obj): Promise<Status> {
  checkName(call, eviction, "Eviction");
  const pod = collectionOf(engine, call.def).get(call.name, call.namespace)?.object;
  if (!pod) throw notFound(call.def, call.name);
  eviction = await admitted(engine, call, eviction);
  const options: Deletion = eviction.deleteOptions ?? {};
  const dryRun = call.dryRun || eviction.deleteOptions?.dryRun?.includes("All") === true;
  const plain = { ...call, subresource: "", dryRun };
  if (!needsBudget(pod)) {
    await remove(engine, plain, await markEvicted(engine, plain, options));
    return success;
  }
  const budgets = engine.store.list("policy", "poddisruptionbudgets", call.namespace)
    .filter((budget) => matchesSelector(budget.spec?.selector, pod.metadata?.labels));
  if (budgets.length > 1) {
    throw apiError(500, "InternalError", "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.");
  }
  const budget = budgets[0];
  if (budget && !unhealthyMayGo(pod, budget)) await spendBudget(engine, plain, pod, budget);
  const pinned = { ...options, preconditions: { uid: pod.metadata!.uid, ...options.preconditions } };
  await remove(engine, plain, await markEvicted(engine, plain, pinned));
  return success;
}

/** Tells in the pod's status that it did not end by itself: Jobs ask for that. Returns the options to delete what was marked. */
async function markEvicted(engine: Engine, call: Call, options: Deletion): Promise<Deletion> {
  if (call.dryRun) return options;
  const { uid, resourceVersion } = options.preconditions ?? {};
  const { entry } = await modify(engine, { ...call, subresource: "status" }, {
    next(old) {
      const next = clone(old);
      delete next.metadata!.resourceVersion;
      Object.assign(next.metadata!, { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) });
      const evicted = {
        type: "DisruptionTarget", status: "True", reason: "EvictionByEvictionAPI", message: "Eviction API: evicting",
        observedGeneration: old.metadata!.generation,
      };
      next.status = { ...next.status, conditions: setCondition(next.status?.conditions, evicted, timestamp(engine.now())) };
      return next;
    },
  });
  return resourceVersion ? { ...options, preconditions: { ...options.preconditions, resourceVersion: String(entry.revision) } } : options;
}

/** Pods that have ended, do not run yet, or are being deleted disrupt nothing. */
const needsBudget = (pod: Obj): boolean =>
  !["Succeeded", "Failed", "Pending"].includes(pod.status?.phase) && !pod.metadata?.deletionTimestamp;

function unhealthyMayGo(pod: Obj, budget: Obj): boolean {
  const ready = pod.status?.conditions?.some((c: Obj) => c.type === "Ready" && c.status === "True");
  if (ready) return false;
  if (budget.spec?.unhealthyPodEvictionPolicy === "AlwaysAllow") return true;
  const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
  return currentHealthy >= desiredHealthy && desiredHealthy > 0;
}

async function spendBudget(engine: Engine, call: Call, pod: Obj, budget: Obj): Promise<void> {
  const def = engine.registry.get("policy", "v1", "poddisruptionbudgets")!;
  const name = budget.metadata!.name!;
  await modify(engine, { ...call, def, name, subresource: "status" }, {
    next(old) {
      const { observedGeneration = 0, disruptionsAllowed = 0, disruptedPods = {} } = old.status ?? {};
      if (observedGeneration < (old.metadata!.generation ?? 0)) {
        throw tooMany(name, `The disruption budget ${name} is still being processed by the server.`, 10);
      }
      if (disruptionsAllowed < 0) throw forbidden({ group: "policy", plural: "poddisruptionbudgets" }, name, "pdb disruptions allowed is negative");
      if (disruptionsAllowed === 0) {
        const { desiredHealthy = 0, currentHealthy = 0 } = old.status ?? {};
        throw tooMany(name, `The disruption budget ${name} needs ${desiredHealthy} healthy pods and has ${currentHealthy} currently`, 0);
      }
      const next = clone(old);
      delete next.metadata!.resourceVersion;
      next.status = {
        ...next.status, disruptionsAllowed: disruptionsAllowed - 1,
        disruptedPods: { ...disruptedPods, [pod.metadata!.name!]: timestamp(engine.now()) },
      };
      return next;
    },
  });
}

const tooMany = (name: string, message: string, retryAfterSeconds: number): Error =>
  apiError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", {
    causes: [{ reason: "DisruptionBudget", message }], name, ...(retryAfterSeconds && { retryAfterSeconds }),
  });
