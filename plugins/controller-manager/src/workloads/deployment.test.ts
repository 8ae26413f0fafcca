import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { deployments, pods, replicaSets } from "@k3s-p/plugin-api/kube";
import { createHarness, type Harness } from "../testing/harness.ts";
import { runKubelet, type FakeKubelet } from "../testing/kubelet.ts";
import { start as startDeployment } from "./deployment.ts";
import { start as startReplicaSet } from "./replicaset.ts";

const deployment = (replicas: number, extra: object = {}) => ({
  metadata: { name: "web", namespace: "ns", annotations: { note: "x" } },
  spec: {
    replicas, selector: { matchLabels: { app: "web" } }, revisionHistoryLimit: 10, progressDeadlineSeconds: 600,
    strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "25%", maxUnavailable: "25%" } },
    template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "c", image: "v1" }] } }, ...extra,
  },
});

describe("deployment", () => {
  let h: Harness;
  let kubelet: FakeKubelet;
  beforeEach(() => {
    h = createHarness();
    kubelet = runKubelet(h.client);
  });
  afterEach(() => h.stop());

  const run = async (object: object) => {
    h.client.put(deployments, object);
    await h.start(startReplicaSet);
    await h.start(startDeployment);
    await h.advance(1);
  };
  const d = () => h.client.all(deployments)[0];
  const edit = (change: (draft: any) => void) => h.client.edit(deployments, "web", "ns", change);
  const setImage = (image: string) => edit((x) => void (x.spec.template.spec.containers[0].image = image));
  const setOf = (image: string) => h.client.all(replicaSets).find((s) => s.spec.template.spec.containers[0].image === image);
  const condition = (type: string) => d().status.conditions.find((c: any) => c.type === type);

  it("brings up a replica set with hash, revision and complete conditions", async () => {
    await run(deployment(3));
    const set = setOf("v1");
    expect(set.metadata.name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2456789]{6,10}$/);
    const hash = set.metadata.name.slice(4);
    expect(set.metadata.labels).toEqual({ app: "web", "pod-template-hash": hash });
    expect(set.spec.selector.matchLabels).toEqual({ app: "web", "pod-template-hash": hash });
    expect(set.metadata.annotations).toEqual({
      note: "x",
      "deployment.kubernetes.io/revision": "1",
      "deployment.kubernetes.io/desired-replicas": "3",
      "deployment.kubernetes.io/max-replicas": "4",
    });
    expect(d().metadata.annotations["deployment.kubernetes.io/revision"]).toBe("1");
    expect(d().status).toMatchObject({
      replicas: 3,
      updatedReplicas: 3,
      readyReplicas: 3,
      availableReplicas: 3,
      observedGeneration: 1,
    });
    expect(condition("Available")).toMatchObject({ status: "True", reason: "MinimumReplicasAvailable" });
    expect(condition("Progressing")).toMatchObject({
      status: "True",
      reason: "NewReplicaSetAvailable",
      message: `ReplicaSet "${set.metadata.name}" has successfully progressed.`,
    });
    expect(h.events()).toContain(`ScalingReplicaSet Scaled up replica set ${set.metadata.name} from 0 to 3`);
    expect(h.problems).toEqual([]);
  });

  it("rolls to a new template and keeps the old set at zero", async () => {
    await run(deployment(3));
    setImage("v2");
    await h.advance(2);
    expect(setOf("v2").spec.replicas).toBe(3);
    expect(setOf("v1").spec.replicas).toBe(0);
    expect(setOf("v2").metadata.annotations["deployment.kubernetes.io/revision"]).toBe("2");
    expect(d().metadata.annotations["deployment.kubernetes.io/revision"]).toBe("2");
    expect(h.client.all(pods)).toHaveLength(3);
    expect(d().status).toMatchObject({ replicas: 3, updatedReplicas: 3, availableReplicas: 3, observedGeneration: 2 });
  });

  it("never goes below the minimum available nor above the surge while new pods are not ready", async () => {
    await run(deployment(10, { strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } } }));
    kubelet.accepts = (pod) => pod.spec!.containers[0]!.image === "v1";
    setImage("v2");
    await h.advance(2);
    expect(setOf("v1").spec.replicas).toBe(8);
    expect(setOf("v2").spec.replicas).toBe(5);
    expect(d().status).toMatchObject({ replicas: 13, updatedReplicas: 5, availableReplicas: 8 });
    expect(condition("Available").status).toBe("True");
    edit((x) => void (x.spec.replicas = 30));
    await h.advance(2);
    expect([setOf("v1").spec.replicas, setOf("v2").spec.replicas]).toEqual([20, 13]);
  });

  it("reports a rollout that makes no progress within the deadline", async () => {
    kubelet.accepts = () => false;
    await run(deployment(1, { progressDeadlineSeconds: 10 }));
    expect(condition("Progressing").reason).toBe("ReplicaSetUpdated");
    await h.advance(13);
    expect(condition("Progressing")).toMatchObject({
      status: "False",
      reason: "ProgressDeadlineExceeded",
      message: `ReplicaSet "${setOf("v1").metadata.name}" has timed out progressing.`,
    });
  });

  it("undo goes back to the old set under a new revision", async () => {
    await run(deployment(2));
    setImage("v2");
    await h.advance(2);
    setImage("v1");
    await h.advance(2);
    expect(h.client.all(replicaSets)).toHaveLength(2);
    expect(setOf("v1").spec.replicas).toBe(2);
    expect(setOf("v1").metadata.annotations).toMatchObject({
      "deployment.kubernetes.io/revision": "3",
      "deployment.kubernetes.io/revision-history": "1",
    });
  });

  it("counts revisions exactly beyond what a number holds", async () => {
    await run(deployment(1));
    const edited = setOf("v1").metadata;
    h.client.edit(replicaSets, edited.name, "ns", (x: any) => void (x.metadata.annotations["deployment.kubernetes.io/revision"] = "3546343826724305832"));
    setImage("v2");
    await h.advance(2);
    expect(d().metadata.annotations["deployment.kubernetes.io/revision"]).toBe("3546343826724305833");
  });

  it("a paused Deployment takes no new template but scales", async () => {
    await run(deployment(2));
    edit((x) => void (x.spec.paused = true));
    setImage("v2");
    edit((x) => void (x.spec.replicas = 4));
    await h.advance(2);
    expect(setOf("v2")).toBeUndefined();
    expect(setOf("v1").spec.replicas).toBe(4);
    expect(condition("Progressing")).toMatchObject({ status: "Unknown", reason: "DeploymentPaused" });
    edit((x) => void delete x.spec.paused);
    await h.advance(2);
    expect(setOf("v2").spec.replicas).toBe(4);
    expect(condition("Progressing").reason).toBe("NewReplicaSetAvailable");
  });

  it("Recreate waits until every old pod is gone", async () => {
    await run(deployment(2, { strategy: { type: "Recreate" } }));
    const counts: number[] = [];
    h.client.informer(pods).on({
      added: (pod) => {
        if (pod.spec!.containers[0]!.image === "v2")
          counts.push(h.client.all(pods).filter((p) => p.spec.containers[0].image === "v1").length);
      },
    });
    setImage("v2");
    await h.advance(2);
    expect(counts).toEqual([0, 0]);
    expect(d().status).toMatchObject({ updatedReplicas: 2, availableReplicas: 2, replicas: 2 });
  });

  it("deletes sets beyond the history limit", async () => {
    await run(deployment(1, { revisionHistoryLimit: 1 }));
    for (const image of ["v2", "v3", "v4"]) {
      setImage(image);
      await h.advance(2);
    }
    expect(h.client.all(replicaSets).map((s) => s.spec.template.spec.containers[0].image).sort()).toEqual(["v3", "v4"]);
  });

  it("adopts a matching replica set and takes it as the old one", async () => {
    h.client.put(replicaSets, {
      metadata: { name: "legacy", namespace: "ns", labels: { app: "web", pod: "x" } },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: "web", pod: "x" } },
        template: {
          metadata: { labels: { app: "web", pod: "x" } },
          spec: { containers: [{ name: "c", image: "old" }] },
        },
      },
    });
    await run(deployment(1));
    expect(setOf("old").metadata.ownerReferences[0]).toMatchObject({ kind: "Deployment", name: "web" });
    expect(setOf("old").spec.replicas).toBe(0);
    expect(setOf("v1").spec.replicas).toBe(1);
  });

  it("changes the hash when the name is taken by a stranger", async () => {
    await run(deployment(1));
    const name = setOf("v1").metadata.name;
    const h2 = createHarness();
    runKubelet(h2.client);
    h2.client.put(replicaSets, {
      metadata: { name, namespace: "ns", labels: {} },
      spec: {
        replicas: 0,
        selector: { matchLabels: { z: "z" } },
        template: { metadata: { labels: { z: "z" } }, spec: {} },
      },
    });
    h2.client.put(deployments, deployment(1));
    await h2.start(startReplicaSet);
    await h2.start(startDeployment);
    await h2.advance(1);
    expect(h2.client.all(deployments)[0].status).toMatchObject({ collisionCount: 1, availableReplicas: 1 });
    await h2.stop();
  });
});
