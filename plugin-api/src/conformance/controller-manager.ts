/** The promises of the `controller-manager` slot: the objects that users count on to follow from others, seen on a pretended cluster. */
import assert from "node:assert/strict";
import {
  configMaps, deployments, endpointSlices, jobs, namespaces, pods, replicaSets, serviceAccounts, services, statefulSets, daemonSets, nodes,
} from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { Pod } from "../kube/types.ts";
import type { ControllerManager } from "../slots/cluster.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { NotApplicable, pause, test, within, type ConformanceTest } from "./suite.ts";

const LIMIT = 10_000;
const labels = { app: "web" };
const template = { metadata: { labels }, spec: { containers: [{ name: "c", image: "x:1" }] } };
const selector = { matchLabels: labels };

export function controllerManagerSuite(subject: Subject): readonly ConformanceTest[] {
  /** For providers that run the controllers named, by their names in upstream's `--controllers`. */
  const each = (controllers: readonly string[], name: string, run: (kube: FakeKube, started: Started<ControllerManager>) => Promise<void> | void): ConformanceTest =>
    test(name, [], async (ctx) => {
      const started = await startSubject<ControllerManager>(subject, ctx);
      ctx.defer(() => started.stop());
      const absent = controllers.map((short) => `${short}-controller`).filter((full) => !started.impl.controllers.includes(full));
      if (absent.length) throw new NotApplicable(`it does not name ${absent.join(", ")}`);
      await run(started.world.kube, started);
    });
  const put = (kube: FakeKube, resource: Parameters<FakeKube["put"]>[0], name: string, spec: object) =>
    kube.put(resource, { metadata: { name, namespace: "default", creationTimestamp: new Date().toISOString() }, spec });
  return [
    each([], "it names its controllers, each once", (_, { impl: { controllers } }) => {
      assert.ok(controllers.length > 0, "no controllers");
      assert.equal(new Set(controllers).size, controllers.length, controllers.join(", "));
    }),
    each(["deployment", "replicaset"], "a Deployment has a ReplicaSet with its pods, as many as it asks for, and a lost pod is made again", async (kube) => {
      runPods(kube);
      put(kube, deployments, "web", { replicas: 3, selector, template });
      await has(kube, 3);
      kube.drop(pods, podNames(kube)[0]!, "default");
      await has(kube, 3);
      kube.edit(deployments, "web", "default", (draft) => void (draft.spec.replicas = 1));
      await has(kube, 1);
      const [set] = kube.all(replicaSets, "default");
      assert.equal(set?.metadata.ownerReferences?.[0]?.kind, "Deployment");
      await within(LIMIT, () => assert.equal(kube.read(deployments, "web", "default")?.status?.readyReplicas, 1));
    }),
    each(["deployment", "replicaset"], "a Deployment with a new template rolls over to new pods, and keeps the old ReplicaSet for a way back", async (kube) => {
      runPods(kube);
      put(kube, deployments, "web", { replicas: 2, selector, template, strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }, revisionHistoryLimit: 10 });
      await has(kube, 2);
      kube.edit(deployments, "web", "default", (draft) => void (draft.spec.template.spec.containers[0].image = "x:2"));
      await within(LIMIT, () => assert.deepEqual(images(kube), ["x:2", "x:2"]));
      assert.deepEqual(kube.all(replicaSets, "default").map(({ spec }) => spec?.replicas).sort(), [0, 2]);
    }),
    each(["statefulset"], "a StatefulSet's pods have ordinal names and come one after the other", async (kube) => {
      const ready = runPods(kube, false);
      put(kube, statefulSets, "db", { replicas: 2, serviceName: "db", selector, template, podManagementPolicy: "OrderedReady", updateStrategy: { type: "RollingUpdate" } });
      await within(LIMIT, () => assert.deepEqual(podNames(kube), ["db-0"]));
      await pause(200);
      assert.deepEqual(podNames(kube), ["db-0"], "the second one does not wait for the first");
      ready("db-0");
      await within(LIMIT, () => assert.deepEqual(podNames(kube), ["db-0", "db-1"]));
    }),
    each(["daemonset"], "a DaemonSet has one pod on each node, also on one that comes later", async (kube, { world }) => {
      runPods(kube);
      put(kube, daemonSets, "agent", { selector, template, updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } } });
      await has(kube, 1);
      kube.put(nodes, { ...kube.read(nodes, world.node.name)!, metadata: { name: "node-2", labels: {} } });
      await has(kube, 2);
    }),
    each(["job"], "a Job runs its pods to the end and is complete", async (kube) => {
      runPods(kube, true, "Succeeded");
      put(kube, jobs, "once", { completions: 2, parallelism: 1, backoffLimit: 3, completionMode: "NonIndexed", template: { ...template, spec: { ...template.spec, restartPolicy: "Never" } }, selector: { matchLabels: labels } });
      await within(LIMIT, () => {
        const { status } = kube.read(jobs, "once", "default")!;
        assert.deepEqual([status?.succeeded, status?.conditions?.find(({ type }) => type === "Complete")?.status], [2, "True"]);
      });
    }),
    each(["endpointslice", "deployment", "replicaset"], "a Service's endpoints are its ready pods", async (kube) => {
      const ready = runPods(kube, false);
      put(kube, services, "web", { selector: labels, clusterIP: "10.43.0.20", clusterIPs: ["10.43.0.20"], ipFamilies: ["IPv4"], ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "TCP" }] });
      put(kube, deployments, "web", { replicas: 2, selector, template });
      await has(kube, 2);
      ready(podNames(kube)[0]!);
      const endpoints = () => kube.all(endpointSlices, "default").flatMap((slice) => slice.endpoints ?? []);
      const isReady = () => endpoints().filter(({ conditions }) => conditions?.ready).map(({ targetRef }) => targetRef?.name);
      await within(LIMIT, () => assert.deepEqual(isReady(), [podNames(kube)[0]]));
      kube.drop(pods, podNames(kube)[0]!, "default");
      await within(LIMIT, () => assert.deepEqual(isReady(), []));
    }),
    each(["namespace", "serviceaccount", "root-ca-certificate-publisher"], "a namespace gets its default ServiceAccount and the CA bundle, and takes its content along when it goes", async (kube) => {
      kube.put(namespaces, { metadata: { name: "team" }, spec: { finalizers: ["kubernetes"] }, status: { phase: "Active" } });
      await within(LIMIT, () => assert.ok(kube.read(serviceAccounts, "default", "team") && kube.read(configMaps, "kube-root-ca.crt", "team")));
      await kube.delete(namespaces, "team");
      await within(LIMIT, () => assert.equal(kube.read(namespaces, "team"), undefined));
      assert.deepEqual([kube.all(serviceAccounts, "team"), kube.all(configMaps, "team")], [[], []]);
    }),
    each(["garbage-collector", "deployment", "replicaset"], "what an owner leaves behind is collected", async (kube) => {
      runPods(kube);
      put(kube, deployments, "web", { replicas: 2, selector, template });
      await has(kube, 2);
      await kube.delete(deployments, "web", { namespace: "default", propagationPolicy: "Background" });
      await within(LIMIT, () => assert.deepEqual([kube.all(replicaSets, "default").length, podNames(kube)], [0, []]));
    }),
  ];
}

const podNames = (kube: FakeKube): string[] => kube.all(pods, "default").map(({ metadata }) => metadata.name!).sort();
const images = (kube: FakeKube): string[] => kube.all(pods, "default").map(({ spec }) => spec?.containers[0]?.image ?? "");
const has = (kube: FakeKube, count: number): Promise<void> => within(LIMIT, () => assert.equal(podNames(kube).length, count, podNames(kube).join(", ")));

/** The node that a DaemonSet's pod is meant for. */
const nodeOf = ({ spec }: Pod): string | undefined =>
  spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms?.[0]?.matchFields?.[0]?.values?.[0];

/** A pretended scheduler and kubelet: pods that appear run, deleted ones go. Returns what makes one ready by hand. */
function runPods(kube: FakeKube, atOnce = true, phase = "Running"): (name: string) => void {
  let address = 1;
  const run = (name: string): void => void kube.edit(pods, name, "default", (draft) => {
    draft.spec.nodeName ??= nodeOf(draft) ?? "node-1";
    const podIP = `10.42.0.${++address}`;
    draft.status = { ...draft.status, phase, podIP, podIPs: [{ ip: podIP }], conditions: [{ type: "Ready", status: phase === "Running" ? "True" : "False" }] };
  });
  const see = ({ metadata, status }: Pod): void => queueMicrotask(() => {
    const live = kube.read(pods, metadata.name!, "default");
    if (live?.metadata.deletionTimestamp) return live.metadata.finalizers?.length ? undefined : kube.drop(pods, metadata.name!, "default");
    if (live && atOnce && (status?.phase ?? "Pending") === "Pending") run(metadata.name!);
  });
  kube.informer(pods).on({ added: see, updated: see });
  return run;
}
