/** The promises of the `kubelet` slot, on a pretended runtime: the node is there, and its pods are what their specs say. */
import assert from "node:assert/strict";
import { request } from "node:https";
import { leases, nodes, pods } from "../kube/resources.ts";
import type { FakeKube } from "../kube/fake.ts";
import type { Pod } from "../kube/types.ts";
import type { Kubelet } from "../slots/node.ts";
import type { FakeRuntime } from "./fake-runtime.ts";
import { startSubject, type Started, type Subject } from "./subject.ts";
import { pause, test, within, type ConformanceContext, type ConformanceTest } from "./suite.ts";
import { createWorld } from "./world.ts";

interface Place {
  readonly kube: FakeKube;
  readonly runtime: FakeRuntime;
  readonly started: Started<Kubelet>;
  readonly nodeName: string;
  run(name: string, spec?: object): void;
  pod(name: string): Pod | undefined;
  phase(name: string, wanted: string): Promise<void>;
}

const LIMIT = 5_000;

export function kubeletSuite(subject: Subject): readonly ConformanceTest[] {
  const each = (name: string, run: (place: Place, ctx: ConformanceContext) => Promise<void>): ConformanceTest =>
    test(name, ["root"], async (ctx) => {
      const world = await createWorld(ctx.dir);
      // A node that nobody registered yet.
      world.kube.drop(nodes, world.node.name);
      const started = await startSubject<Kubelet>(subject, ctx, { world });
      ctx.defer(() => started.stop());
      await run(placeOf(started), ctx);
    });
  return [
    each("it registers the node: ready, with its address, what it can give, and a lease", registers),
    each("it serves HTTPS at its port, and refuses who has no right", async ({ started }) => {
      const host = started.world.node.ip;
      assert.equal(await status(host, started.impl.port, "/healthz"), 200);
      for (const path of ["/pods", "/exec/default/p/c?command=sh", "/metrics"]) assert.equal(await status(host, started.impl.port, path), 401, path);
    }),
    each("a pod of this node runs: image, sandbox, containers, and a status that says so", async ({ runtime, run, pod, phase }) => {
      run("web", { containers: [container("one"), { ...container("two"), image: "example.com/two:1" }] });
      await phase("web", "Running");
      await within(LIMIT, () => assert.equal(condition(pod("web"), "Ready"), "True"));
      const { podIP, containerStatuses = [] } = pod("web")!.status!;
      assert.match(podIP ?? "", /^\d+(\.\d+){3}$/);
      assert.deepEqual(containerStatuses.map(({ name, ready, restartCount }) => [name, ready, restartCount]), [["one", true, 0], ["two", true, 0]]);
      assert.ok(runtime.calls.includes("pullImage example.com/two:1"), "the image that was not there");
    }),
    each("pods of other nodes are left alone", async ({ runtime, run }) => {
      run("elsewhere", { nodeName: "another-node" });
      await pause(200);
      assert.deepEqual(runtime.calls, []);
    }),
    each("restartPolicy Always: a container that ends comes again, and is counted", async ({ runtime, run, pod, phase }) => {
      run("web");
      await phase("web", "Running");
      runtime.exit("c", 1);
      await within(LIMIT, () => {
        const [found] = pod("web")?.status?.containerStatuses ?? [];
        assert.deepEqual([found?.restartCount, found?.lastState?.terminated?.exitCode, Boolean(found?.state?.running)], [1, 1, true]);
      });
    }),
    each("restartPolicy Never: the pod ends as its containers do", async ({ runtime, run, pod, phase }) => {
      run("good", { restartPolicy: "Never", containers: [container("g")] });
      run("bad", { restartPolicy: "Never", containers: [container("b")] });
      await Promise.all([phase("good", "Running"), phase("bad", "Running")]);
      runtime.exit("g", 0);
      runtime.exit("b", 3);
      await Promise.all([phase("good", "Succeeded"), phase("bad", "Failed")]);
      assert.equal(pod("bad")?.status?.containerStatuses?.[0]?.state?.terminated?.exitCode, 3);
    }),
    each("init containers run first, one after the other", async ({ runtime, run, phase }) => {
      run("web", { initContainers: [container("i1"), container("i2")], containers: [container("main")] });
      const starts = () => runtime.calls.filter((call) => call.startsWith("startContainer")).map((call) => call.split(" ")[1]);
      for (const name of ["i1", "i2"]) {
        await within(LIMIT, () => assert.equal(starts().at(-1), name));
        runtime.exit(name, 0);
      }
      await phase("web", "Running");
      assert.deepEqual(starts(), ["i1", "i2", "main"]);
    }),
    each("a deleted pod is stopped, and its object goes when nothing of it is left", async ({ kube, runtime, run, pod, phase }) => {
      run("web");
      await phase("web", "Running");
      await kube.delete(pods, "web", { namespace: "default", gracePeriodSeconds: 5 });
      await within(LIMIT, () => assert.equal(pod("web"), undefined));
      assert.ok(runtime.calls.some((call) => call === "stopContainer c 5"), runtime.calls.join(", "));
      assert.ok(![...runtime.containers.values()].some(({ state }) => state === "RUNNING"), "a container still runs");
    }),
    each("an image that cannot be pulled is told, and the pod waits", async ({ runtime, run, pod }) => {
      runtime.errors.set("pullImage", new Error("no such image"));
      run("web", { containers: [{ ...container("c"), image: "example.com/none:1" }] });
      await within(LIMIT, () => assert.match(pod("web")?.status?.containerStatuses?.[0]?.state?.waiting?.reason ?? "", /^(ErrImagePull|ImagePullBackOff)$/));
      assert.equal(pod("web")?.status?.phase, "Pending");
    }),
    each("running pods are adopted by the next start, not started again", async ({ started, runtime, run, pod, phase }, ctx) => {
      run("web");
      await phase("web", "Running");
      await started.stop();
      const before = runtime.calls.length;
      const again = await startSubject<Kubelet>(subject, ctx, { world: started.world });
      try {
        await pause(300);
        assert.deepEqual([runtime.calls.slice(before), pod("web")?.status?.phase], [[], "Running"]);
      } finally {
        await again.stop();
      }
    }),
  ];
}

const container = (name: string): object => ({ name, image: "busybox:latest", imagePullPolicy: "IfNotPresent" });
const condition = (pod: Pod | undefined, type: string): string | undefined => pod?.status?.conditions?.find((each) => each.type === type)?.status;

function placeOf(started: Started<Kubelet>): Place {
  const { kube, node, runtime } = started.world;
  const pod = (name: string) => kube.read(pods, name, "default");
  return {
    kube, runtime, started, nodeName: node.name, pod,
    run: (name, spec = {}) => void kube.put(pods, {
      metadata: { name, namespace: "default", creationTimestamp: new Date().toISOString() },
      spec: { nodeName: node.name, restartPolicy: "Always", terminationGracePeriodSeconds: 30, containers: [container("c")], ...spec }, status: { phase: "Pending" },
    }),
    phase: (name, wanted) => within(LIMIT, () => assert.equal(pod(name)?.status?.phase, wanted, `${name}: ${JSON.stringify(pod(name)?.status)}`)),
  };
}

async function registers({ kube, nodeName, started }: Place): Promise<void> {
  await within(LIMIT, () => {
    const found = kube.read(nodes, nodeName);
    assert.ok(found, `no node ${nodeName}`);
    const { addresses = [], conditions = [], allocatable = {}, daemonEndpoints } = found.status!;
    assert.equal(conditions.find(({ type }) => type === "Ready")?.status, "True");
    assert.ok(addresses.some(({ type, address }) => type === "InternalIP" && address === started.world.node.ip), JSON.stringify(addresses));
    for (const name of ["cpu", "memory", "pods"]) assert.ok(allocatable[name], `allocatable ${name}`);
    assert.equal(daemonEndpoints?.kubeletEndpoint?.Port, started.impl.port);
    assert.equal(kube.read(leases, nodeName, "kube-node-lease")?.spec?.holderIdentity, nodeName);
  });
}

function status(host: string, port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ host, port, path, agent: false, rejectUnauthorized: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    }).on("error", reject).end();
  });
}
