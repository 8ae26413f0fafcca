/** A kubelet's pod half on fakes: in-memory API and runtime, a clock that tests move, folders below a temporary one. */
import { join } from "node:path";
import { configMaps, isNotFound, pods, type KubeClient, type Pod } from "@k3s-p/plugin-api/kube";
import { fakeKube, type FakeKube } from "@k3s-p/plugin-api/kube/fake";
import type { NodeInfo, Paths } from "@k3s-p/plugin-api/slots";
import { silentLogger } from "@k3s-p/plugin-api/testing";
import { backoff } from "../backoff.ts";
import type { Clock } from "../clock.ts";
import type { KubeletContext } from "../context.ts";
import { images, recordsOf } from "../images.ts";
import { admitPod, refuseResize, type AdmissionInput } from "../node-admission.ts";
import { referencedObjects } from "../objects.ts";
import { kubeletFigures } from "../figures.ts";
import type { KubeletOptions } from "../options.ts";
import { podManager, type PodManager } from "../pod-manager.ts";
import { nameOf, namespaceOf } from "../pod.ts";
import type { PodServices } from "../pod-services.ts";
import type { PodWorker } from "../pod-worker.ts";
import { probes } from "../probes/probes.ts";
import { runtimeView } from "../runtime-view.ts";
import { statusManager } from "../status-manager.ts";
import { tokenSource } from "../volumes/payload.ts";
import type { Mounter } from "../volumes/mounts.ts";
import { volumes } from "../volumes/volumes.ts";
import { fakeRuntime, type FakeRuntime } from "@k3s-p/plugin-api/conformance/fake-runtime";

export interface Harness {
  readonly kube: FakeKube;
  readonly runtime: FakeRuntime;
  readonly paths: Paths;
  readonly services: PodServices;
  network: string | undefined;
  run(pod: Pod): void;
  api(name: string): Pod | undefined;
  worker(name: string): PodWorker | undefined;
  wake(name: string): void;
  markDeleted(name: string, grace: number): void;
  putConfigMap(name: string, data: Record<string, string>): void;
  /** `Reason message`, in order. */
  events(): string[];
  advance(ms: number): void;
  until(condition: () => boolean): Promise<void>;
  settle(): Promise<void>;
  /** A new kubelet on the same API, runtime and folders. */
  restart(): Promise<Harness>;
  stop(): void;
}

/** Moves by hand, and also by itself, so that what is due now runs soon. */
function testClock(): Clock & { advance(ms: number): void } {
  let offset = 0;
  const waiting = new Set<{ at: number; fn: () => void; timer: NodeJS.Timeout }>();
  const now = (): number => Date.now() + offset;
  return {
    now,
    after(ms, fn) {
      const entry = { at: now() + ms, fn, timer: setTimeout(fire, Math.min(ms, 2 ** 30)) };
      function fire(): void {
        clearTimeout(entry.timer);
        if (waiting.delete(entry)) fn();
      }
      waiting.add(entry);
      return () => {
        clearTimeout(entry.timer);
        waiting.delete(entry);
      };
    },
    advance(ms) {
      offset += ms;
      for (const entry of [...waiting].sort((a, b) => a.at - b.at)) {
        if (entry.at > now() || !waiting.delete(entry)) continue;
        clearTimeout(entry.timer);
        entry.fn();
      }
    },
  };
}

export const testOptions: KubeletOptions = {
  port: 0, maxPods: 110, resolvConf: "/dev/null", eviction: { thresholds: [], transition: 300_000, maxPodGrace: 0 }, imageGcHighPercent: 85, imageGcLowPercent: 80,
  containerLogMaxFiles: 5, logMaxBytes: 10 * 2 ** 20, podManifests: undefined, labels: {}, taints: [], allowedUnsafeSysctls: [], cgroupRoot: "",
  providerId: undefined, externalCloud: false, healthzPort: 0, healthzHost: "127.0.0.1", imagePullCredentialsVerificationPolicy: "NeverVerifyPreloadedImages", preloadedImagesVerificationAllowlist: [],
};

export function testNode(root: string): NodeInfo {
  const paths = {
    kubelet: join(root, "kubelet"), podLogs: join(root, "log/pods"), containerLogs: join(root, "log/containers"),
    podManifests: join(root, "manifests"),
  } as Paths;
  return {
    name: "n1", ip: "192.0.2.1", role: "server", labels: {}, taints: [], paths,
    cluster: { clusterDns: ["10.43.0.10"], clusterDomain: "cluster.local", serviceCidr: ["10.43.0.0/16"], clusterCidr: ["10.42.0.0/16"] } as unknown as NodeInfo["cluster"],
  };
}

export const noMounts: Mounter = {
  isMountPoint: async () => false, tmpfs: async () => {}, bind: async () => {}, nfs: async () => {}, below: async () => [],
  unmountBelow: async () => {},
};

/** `client` is what the kubelet has of the API, when that is not what the test has. */
export function harness(root: string, kube = fakeKube(), runtime = fakeRuntime(), client: KubeClient = kube): Harness {
  const clock = testClock();
  const node = testNode(root);
  const recorded: string[] = [];
  const ctx: KubeletContext = {
    node, kube: client, runtime, clock, options: testOptions, log: silentLogger, cgroupRoot: join(root, "cgroup"),
    runner: { run: async () => ({ code: 0, stdout: "", stderr: "" }), spawn: async () => Promise.reject(new Error("no spawn")) },
    figures: kubeletFigures(),
    events: { record: (_o, _t, reason, message) => void recorded.push(`${reason} ${message}`) },
  };
  let network: string | undefined;
  let manager: PodManager;
  const services = testServices(ctx, () => manager, () => network);
  manager = podManager(services, node.paths.podManifests);
  const ready = services.view.start().then(() => manager.start());
  const api = (name: string): Pod | undefined => kube.read(pods, name, "default");
  const self: Harness = {
    kube, runtime, paths: node.paths, services, api,
    get network() {
      return network;
    },
    set network(value) {
      network = value;
    },
    run: (pod) => void kube.put(pods, pod),
    worker: (name) => manager.byName("default", name),
    wake: (name) => manager.byName("default", name)?.wake(),
    markDeleted(name, grace) {
      const pod = api(name)!;
      const deletionTimestamp = new Date(clock.now()).toISOString();
      kube.put(pods, { ...pod, metadata: { ...pod.metadata, deletionTimestamp, deletionGracePeriodSeconds: grace } });
    },
    putConfigMap: (name, data) => void kube.put(configMaps, { metadata: { name, namespace: "default" }, data }),
    events: () => recorded,
    advance: clock.advance,
    async until(condition) {
      await ready;
      const end = Date.now() + 3000;
      while (!condition()) {
        if (Date.now() > end) throw new Error(`not reached: ${condition.toString()}\ncalls: ${runtime.calls.join(", ")}\nevents: ${recorded.join("\n")}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    settle: () => new Promise((resolve) => setTimeout(resolve, 50)),
    async restart() {
      manager.stop();
      services.view.stop();
      return harness(root, kube, runtime, client);
    },
    stop() {
      manager.stop();
      services.view.stop();
    },
  };
  return self;
}

function testServices(ctx: KubeletContext, manager: () => PodManager, network: () => string | undefined): PodServices {
  const { kube, clock, node } = ctx;
  const wake = (uid: string): void => manager().worker(uid)?.wake();
  const objects = referencedObjects(kube, (uid) => manager().worker(uid)?.refresh());
  const status = statusManager(ctx);
  const pulls = images({ ...ctx, records: recordsOf(ctx), secret: objects.secret, pulled: () => {} });
  const allocatable = { cpu: "4", memory: "8Gi", "ephemeral-storage": "100Gi", pods: "110" };
  const admission = (pod: Pod): AdmissionInput => ({
    pod, node: { metadata: { name: "n1", labels: {} }, status: { allocatable } } as never,
    active: manager().active().filter((p) => p.metadata.uid !== pod.metadata.uid), maxPods: 110, appArmor: false, allowedSysctls: [], pressure: [],
  });
  return {
    ...ctx, objects, mounts: noMounts, hostDns: { servers: ["9.9.9.9"], searches: [], options: [] }, memoryCapacity: 8 * 2 ** 30,
    view: runtimeView(ctx, wake),
    probes: probes(ctx, wake),
    images: pulls,
    volumes: volumes({ node, kube, clock, figures: ctx.figures, mounts: noMounts, objects, tokens: tokenSource(kube, clock), allocatable: () => allocatable, image: pulls.ensureVolume, mountImage: ctx.runtime.mountImage }),
    cgroups: { version: 1, top: "kubepods", pathOf: (pod) => `kubepods/pod${pod.metadata.uid}`, prepare: async () => {}, ensurePod: async () => {}, memoryInUse: async () => 64 * 2 ** 20, removePod: async () => {} },
    restartBackoff: backoff(clock),
    allocatable: () => allocatable,
    servicesFor: () => [],
    runtimeHandler: async (name) => name,
    networkProblem: network,
    admit: (pod) => admitPod(admission(pod)),
    refuseResize: (pod) => refuseResize(admission(pod)),
    roomMade: () => manager().roomMade(),
    publish: (pod, next) => status.publish(manager().apiObject(pod) ?? pod, next),
    published: (pod) => status.flush(pod.metadata.uid!),
    async deleteFromApi(pod) {
      await kube.delete(pods, nameOf(pod), { namespace: namespaceOf(pod), gracePeriodSeconds: 0 }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error;
      });
    },
    forget: status.forget,
  };
}

export function testPod(name: string, spec: object = {}): Pod {
  return {
    apiVersion: "v1", kind: "Pod",
    metadata: { name, namespace: "default", uid: `uid-${name}` },
    spec: {
      nodeName: "n1", restartPolicy: "Always", terminationGracePeriodSeconds: 30,
      containers: [{ name: "c", image: "busybox", imagePullPolicy: "IfNotPresent" }], ...spec,
    },
    status: { phase: "Pending" },
  } as unknown as Pod;
}
